/** The page in headless Chromium: trains on the software adapter, comes back from its address, is read and downloaded. */
import { findChromium } from "@seqmix/software-gpu";
import { readFileSync } from "node:fs";
import { chromium, type Browser, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { scalingPage } from "../src/report/scaling-page.js";
import type { ScalingRow } from "../src/sweeps/scaling.js";
import { readRows } from "./training/read-rows.js";

/** Building the page, and a training run on a busy machine. */
const TIMEOUT = 180_000;

const trial = (mixer: string): string =>
  `selective-copying:${mixer}:dataTokens=2;dModel=16;L=8;nLayers=1;seed=0;steps=160`;

const manyRows: readonly ScalingRow[] = Array.from({ length: 12 }, (_, k) =>
  [256, 512].map((L) => ({
    mixer: `m${k}`,
    work: "prefill" as const,
    L,
    batch: 1,
    dModel: 64,
    seconds: (k + 1) * L,
    runs: 3,
    peakBytes: L,
  })),
).flat();

const rowsOfASweep = readFileSync(
  new URL("../../../docs/results/discretization/results.jsonl", import.meta.url),
  "utf8",
);

describe("the page", () => {
  let browser: Browser;
  let served: { readonly url: string; close(): Promise<void> };
  /** What each page complained of: one that is closed while it computes may complain of that. */
  const complaints = new Map<Page, string[]>();

  beforeAll(async () => {
    const { servePage } = (await import(new URL("./build.mjs", import.meta.url).href)) as {
      servePage(): Promise<typeof served>;
    };
    served = await servePage();
    const { executable, env, args } = findChromium();
    browser = await chromium.launch({ executablePath: executable, env, headless: true, args: [...args] });
  }, TIMEOUT);
  afterAll(async () => {
    await browser?.close();
    await served?.close();
  });

  async function open(hash: string): Promise<Page> {
    const page = await browser.newPage();
    page.setDefaultTimeout(TIMEOUT);
    const own: string[] = [];
    complaints.set(page, own);
    page.on("pageerror", (error) => own.push(error.message));
    page.on("console", (message) => message.type() === "error" && own.push(message.text()));
    await page.goto(`${served.url}${hash}`);
    await page.getByRole("heading", { level: 2 }).waitFor();
    return page;
  }

  test(
    "trains on WebGPU to a threshold, downloads its rows, steps through a state, and comes back from its address",
    async () => {
      const page = await open(`#/train?trial=${trial("minGru")}&device=webgpu`);
      await page.getByRole("button", { name: "Train", exact: true }).click();
      await page.getByText("runs in software").waitFor();
      await page.locator(".progress", { hasText: "done" }).waitFor();

      const downloading = page.waitForEvent("download");
      await page.getByRole("button", { name: "Download JSONL" }).click();
      const { rows, others } = readRows(readFileSync(await (await downloading).path(), "utf8"));
      expect(others).toBe(0);
      expect(rows.map(({ trial, status, device }) => ({ trial, status, device }))).toEqual([
        { trial: trial("minGru"), status: "done", device: "webgpu" },
      ]);
      // A guess is right once in fourteen times.
      expect(rows[0]!.metrics["accuracy"]).toBeGreaterThan(0.4);
      expect(rows[0]!.curve.at(-1)!.loss).toBeLessThan(rows[0]!.curve[0]!.loss);

      await page.getByRole("link", { name: "Look into a state" }).click();
      await page.getByRole("button", { name: "Read" }).click();
      await page.getByText("answers right").waitFor();
      const slider = page.getByRole("slider", { name: "position", exact: true });
      const before = Number(await slider.inputValue());
      await slider.press("ArrowRight");
      expect(Number(await slider.inputValue())).toBe(before + 1);
      expect(await page.locator(".tokens li").count()).toBe(8);

      await page.goto(`${served.url}#/train?trial=${trial("minGru")}&trial=${trial("s4d")}`);
      await page.reload();
      expect(await page.getByRole("checkbox", { checked: true }).evaluateAll((all) => all.length)).toBe(2);
      expect(await page.getByLabel("steps", { exact: true }).inputValue()).toBe("160");
      expect(complaints.get(page)).toEqual([]);
      await page.close();
    },
    TIMEOUT,
  );

  test(
    "a trial that does not exist is one sentence, and files that are no results are counted",
    async () => {
      const page = await open("#/train?trial=selective-copying:mambo");
      expect(await page.getByRole("alert").innerText()).toContain("did you mean mamba?");
      await page.getByLabel("open results").setInputFiles({
        name: "results.jsonl",
        mimeType: "application/jsonl",
        buffer: Buffer.from('{"trial": 1}\nnonsense\n'),
      });
      await page.getByText("2 that are none").waitFor();

      // Files that are dropped on any view are shown, and do not take the page's place.
      await page.getByRole("link", { name: "Duality" }).click();
      const dropped = await page.evaluateHandle((text) => {
        const data = new DataTransfer();
        data.items.add(new File([text], "results.jsonl"));
        return data;
      }, rowsOfASweep);
      await page.dispatchEvent("h1", "dragover", { dataTransfer: dropped });
      await page.dispatchEvent("h1", "drop", { dataTransfer: dropped });
      await page.getByRole("cell", { name: "s4d" }).first().waitFor();
      await page.getByRole("link", { name: "HiPPO memory" }).click();
      await page.getByRole("link", { name: "Train" }).click();
      const kept = page.getByRole("cell", { name: "s4d" });
      await expect.poll(() => kept.count()).toBe(rowsOfASweep.trim().split("\n").length);
      expect(complaints.get(page)).toEqual([]);
      await page.close();
    },
    TIMEOUT,
  );

  test(
    "HiPPO memory and duality draw what they compute",
    async () => {
      const page = await open("#/memory");
      const error = page.getByText("root mean square error");
      await error.waitFor();
      const errorNow = async (): Promise<number> => Number(/error ([\d.]+)/.exec(await error.innerText())![1]);
      const coarse = await errorNow();
      await page.getByRole("slider", { name: "coefficients N" }).fill("48");
      await expect.poll(errorNow).toBeLessThan(coarse / 2);
      // A stroke across the signal is read back too.
      const recalled = page.locator(".recalled");
      const before = await recalled.getAttribute("d");
      const box = (await page.locator("svg.signal").boundingBox())!;
      await page.mouse.move(box.x + 0.2 * box.width, box.y + 0.5 * box.height);
      await page.mouse.down();
      await page.mouse.move(box.x + 0.5 * box.width, box.y + 0.1 * box.height, { steps: 4 });
      await page.mouse.up();
      await expect.poll(() => recalled.getAttribute("d")).not.toBe(before);
      await page.getByRole("link", { name: "Duality" }).click();
      const rows = page.locator("tbody tr");
      await rows.nth(2).waitFor();
      for (const text of await rows.allInnerTexts()) expect(Number(text.split("\t")[2])).toBeLessThan(1e-5);
      // On a phone every view is as wide as the screen: what is wider scrolls by itself.
      await page.setViewportSize({ width: 390, height: 800 });
      for (const view of ["Train", "Look into a state", "HiPPO memory", "Duality"]) {
        await page.getByRole("link", { name: view }).click();
        await page.getByRole("heading", { level: 2 }).waitFor();
        if (view === "Duality") await rows.nth(2).waitFor();
        expect(await page.evaluate(() => document.documentElement.scrollWidth), view).toBeLessThanOrEqual(390);
      }
      expect(complaints.get(page)).toEqual([]);
      await page.close();
    },
    TIMEOUT,
  );

  test(
    "pressing a name of a figure shows its line alone, and again all",
    async () => {
      const page = await browser.newPage();
      await page.setContent(scalingPage(manyRows, "somewhere"));
      const opaque = (): Promise<number> =>
        page
          .locator(".series")
          .evaluateAll((all) => all.filter((each) => getComputedStyle(each).opacity === "1").length);
      const all = await opaque();
      await page.getByRole("button", { name: "m11", exact: true }).press("Enter");
      // Its line, its points and its name, in the figure of time and in that of memory.
      expect(await opaque()).toBe(6);
      await page.getByRole("button", { name: "m11", exact: true }).press("Enter");
      expect(await opaque()).toBe(all);
      await page.close();
    },
    TIMEOUT,
  );
});
