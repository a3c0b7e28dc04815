import { mixers } from "@seqmix/catalog";
import { cpu } from "@seqmix/tensor";
import { parseHTML } from "linkedom";
import { expect, test } from "vitest";
import { scalingPage } from "../report/scaling-page.js";
import { crossovers, measureScaling, SCALING_WORK, type ScalingRow } from "./scaling.js";

const row = (mixer: string, L: number, seconds: number): ScalingRow => ({
  mixer,
  work: "prefill",
  L,
  batch: 1,
  dModel: 8,
  seconds,
  peakBytes: L * 100,
  runs: 3,
});
const rows = [64, 128, 256, 512].flatMap((L) => [
  row("linear", L, L * 1e-5),
  row("quadratic", L, (L * L * 1e-5) / 200),
  row("slow", L, 1),
]);

test("a crossover is where the order turns for good", () => {
  expect(crossovers(rows)).toEqual([{ work: "prefill", short: "quadratic", long: "linear", from: 256 }]);
  // Faster once by accident is no crossover.
  const noisy = rows.map((each) => (each.mixer === "slow" && each.L === 128 ? { ...each, seconds: 1e-9 } : each));
  expect(crossovers(noisy).filter(({ long }) => long === "slow")).toEqual([]);
});

test("time and memory of mixers forward, backward and for one more element", async () => {
  for (const id of ["mamba", "attention", "hyena"]) {
    const mixer = mixers.find((each) => each.id === id)!;
    for (const work of SCALING_WORK) {
      const device = cpu({ threads: 1 });
      const found = await measureScaling({ mixer, work, L: 16, batch: 1, dModel: 8 }, device);
      if (id === "hyena" && work === "decode") expect(found.error).toMatch(/recurrent/);
      else {
        expect(found.error, `${id} ${work}`).toBeUndefined();
        expect(found.seconds).toBeGreaterThan(0);
        expect(found.peakBytes).toBeGreaterThan(16 * 8 * 4);
      }
      await device.close();
    }
  }
}, 60_000);

test("a mixer whose parameters bound the length gets room for it; settings and their label are the row's", async () => {
  const device = cpu({ threads: 1 });
  const hyena = mixers.find(({ id }) => id === "hyena")!;
  const settings = { filterOrder: 4 };
  const label = "hyena:filterOrder=4";
  const long = { mixer: hyena, settings, label, work: "prefill", L: 2048, batch: 1, dModel: 4, enough: 0.01 } as const;
  const found = await measureScaling(long, device);
  expect(found.seconds, found.error).toBeGreaterThan(0);
  expect(found.mixer).toBe(label);
  await device.close();
});

test("a length that is too much is a row with the reason", async () => {
  const device = cpu({ threads: 1 });
  const hyena = mixers.find(({ id }) => id === "hyena")!;
  const found = await measureScaling(
    { mixer: hyena, settings: { lMax: 8 }, work: "prefill", L: 16, batch: 1, dModel: 4 },
    device,
  );
  expect(found.seconds).toBeUndefined();
  expect(found.error).toMatch(/8/);
  await device.close();
});

test("the page has the numbers of its figures", () => {
  const page = parseHTML(scalingPage(rows, "somewhere")).document as unknown as Document;
  expect(page.querySelectorAll("figure svg")).toHaveLength(2);
  expect(page.querySelectorAll("figure details tbody tr")).toHaveLength(2 * rows.length);
  expect(page.querySelector("section > details")!.textContent).toContain("quadratic");
});
