import { parseHTML } from "linkedom";
import { expect, test } from "vitest";
import type { Row } from "../results/results.js";
import { reportPage } from "./page.js";

const row = (task: string, mixer: string, more: Partial<Row> = {}): Row => {
  const metric = task === "moby-dick" ? "bitsPerChar" : "accuracy";
  return {
    trial: `${task}:${mixer}:dModel=64;L=40;seed=${more.seed ?? 0}`,
    task,
    mixer,
    device: "cpu",
    deviceDescription: "2 threads",
    seed: 0,
    status: "done",
    metric,
    metrics: { [metric]: 0.5, chance: 0.07, ...(metric === "bitsPerChar" ? { trigram: 2.9 } : {}) },
    validation: { [metric]: 0.5 },
    parameters: 67_000,
    stateBytes: mixer === "attention" ? 40_960 : 16_384,
    tokensPerSecond: 30_000,
    wallSeconds: 65,
    curve: [
      { step: 10, tokens: 1000, loss: 3 },
      { step: 20, tokens: 2000, loss: 2, validation: 0.5 },
    ],
    commit: "0123abc",
    versions: { node: "20.20.2" },
    machine: "a machine",
    config: { dModel: 64, lr: 0.01, seed: 0 },
    finished: "2026-01-01T00:00:00.000Z",
    ...more,
  };
};
const parse = (html: string): Document => parseHTML(html).document as unknown as Document;
const text = { title: "t <&>", verdict: "All went well.", tasks: { "moby-dick": "a text" } };

test("the page has the table, a section with figures for each task, and how it was made", () => {
  const rows = ["selective-copying", "moby-dick"].flatMap((task) =>
    ["mamba", "s4d", "attention"].map((mixer) => row(task, mixer)),
  );
  const page = parse(reportPage(rows, text));
  expect(page.querySelectorAll("main > section:first-child tbody tr")).toHaveLength(6);
  expect([...page.querySelectorAll("section h2")].map((h) => h.textContent)).toEqual([
    "Results",
    "selective-copying",
    "moby-dick",
    "How it was made",
  ]);
  expect(page.querySelectorAll("figure svg")).toHaveLength(8);
  expect(page.querySelector("h1")!.textContent).toBe("t <&>");
  expect(page.querySelector(".verdict")!.textContent).toBe("All went well.");
  // One line a trial in the training charts, in the colour of its mixer in the legend.
  const [training] = page.querySelectorAll("figure svg");
  const lines = [...training!.querySelectorAll('[aria-label="line"] path')];
  expect(lines.map((line) => line.getAttribute("stroke"))).toEqual([
    "var(--series-0)",
    "var(--series-1)",
    "var(--series-2)",
  ]);
  for (const fact of ["cpu (2 threads)", "a machine", "0123abc", "node 20.20.2", ...rows.map(({ trial }) => trial)])
    expect(page.body.textContent).toContain(fact);
});

test("the page loads nothing from elsewhere", () => {
  const html = reportPage([row("moby-dick", "mamba")], text);
  expect(html.replaceAll(/xmlns(:\w+)?="[^"]*"/g, "")).not.toMatch(/https?:|<script [^>]|<link|@import|url\(/);
});

test("trials that did not finish are listed with the reason, and figures do without them", () => {
  const diverged = row("selective-copying", "s4d", {
    status: "diverged",
    divergedAt: 23,
    metrics: { chance: 0.07 },
    validation: {},
  });
  const failed = row("selective-copying", "attention", {
    status: "failed",
    error: "no <memory>",
    metrics: { chance: 0.07 },
    validation: {},
    curve: [],
    tokensPerSecond: 0,
  });
  const page = parse(reportPage([diverged, failed], { title: "t", tasks: {} }));
  const [first, second] = page.querySelectorAll("section ul:not(.legend):not(.trials) li");
  expect(first!.textContent).toBe(
    "selective-copying:s4d:dModel=64;L=40;seed=0: diverged, its loss was no longer a number at step 23",
  );
  expect(second!.textContent).toContain("failed, no <memory>");
  expect(page.querySelector(".verdict")).toBeNull();
});

test("several seeds are summed up, and the best setting by validation is marked", () => {
  const at = (lr: number, seed: number, validation: number, test: number): Row =>
    row("selective-copying", "mamba", {
      trial: `selective-copying:mamba:dModel=64;L=40;lr=${lr};seed=${seed}`,
      seed,
      config: { dModel: 64, lr, seed },
      validation: { accuracy: validation },
      metrics: { accuracy: test, chance: 0.07 },
    });
  const page = parse(
    reportPage([at(0.1, 0, 0.5, 0.9), at(0.1, 1, 0.7, 0.8), at(0.2, 0, 0.8, 0.6), at(0.2, 1, 0.9, 0.5)], {
      title: "t",
      tasks: {},
    }),
  );
  const cells = [...page.querySelectorAll("h3 + .scroll tbody tr")].map((tr) =>
    [...tr.querySelectorAll("td")].map((td) => td.textContent),
  );
  expect(cells).toEqual([
    ["selective-copying", "mamba", "dModel=64;L=40;lr=0.1", "2 of 2", "60.0 %", "85.0 %", "80.0 % to 90.0 %", ""],
    [
      "selective-copying",
      "mamba",
      "dModel=64;L=40;lr=0.2",
      "2 of 2",
      "85.0 %",
      "55.0 %",
      "50.0 % to 60.0 %",
      "by validation",
    ],
  ]);
});
