/** What the report of a sweep says of several tasks, of seeds, and of published numbers. */
import { parseHTML } from "linkedom";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { spreadOf, type CellSummary } from "../results/cells.js";
import type { Row } from "../results/results.js";
import { meanRows } from "./mean-rows.js";
import { reportPage } from "./page.js";
import { sizesOf, sweepTable, type SweepReport } from "./sweep-section.js";
import { taskTable } from "./task-table.js";
import { writeReport } from "./write-report.js";

const row = (task: string, name: string, seed: number, accuracy: number): Row => ({
  trial: `${task}:mamba:dModel=64;L=40;name=${name};seed=${seed}`,
  task,
  mixer: "mamba",
  device: "cpu",
  deviceDescription: "2 threads",
  seed,
  status: "done",
  metric: "accuracy",
  metrics: { accuracy, chance: 0.1 },
  validation: { accuracy },
  parameters: 1000,
  stateBytes: 1024,
  tokensPerSecond: 1000 * (seed + 1),
  wallSeconds: 1,
  curve: [
    { step: 1, tokens: 40, loss: 2 + seed },
    { step: 2, tokens: 80, loss: 1 + seed, validation: accuracy },
  ],
  commit: "0123abc",
  versions: {},
  machine: "a machine",
  config: { L: 40, seed },
  finished: "2026-01-01T00:00:00.000Z",
});

function cell(task: string, name: string, accuracies: readonly number[]): CellSummary {
  const test = spreadOf(accuracies);
  return {
    task,
    mixer: "mamba",
    name,
    series: name,
    changed: {},
    settings: {},
    rates: [],
    seeds: [0, 1],
    rows: accuracies.map((accuracy, seed) => row(task, name, seed, accuracy)),
    lr: 0.01,
    metric: "accuracy",
    test,
    validation: test,
    beyond: { "L=80": test! },
    parameters: 1000,
    stateBytes: 1024,
    flops: 1e6,
    tokensPerSecond: undefined,
    diverged: 0,
    failed: 0,
  };
}

const cells = ["copying", "recall"].flatMap((task, k) => [
  cell(task, "one", [0.5 + k / 4, 0.7 + k / 4]),
  cell(task, "other", [0.25, 0.25]),
]);
const report: SweepReport = {
  name: "s",
  scale: "laptop",
  cells,
  sweep: {
    task: ["copying", "recall"],
    mixers: ["mamba"],
    published: [
      { row: "one", value: 0.9, task: "copying", source: "A paper" },
      { row: "one", value: 0.8, task: "copying", beyond: "L=80", source: "A paper" },
      { row: "other", value: 8.71, task: "recall", of: "perplexity", source: "A paper" },
    ],
    plots: [{ title: "Accuracy against memory", x: "stateBytes" }],
  },
};

test("a model and a task for each cell of the table that is cited; with one task there is none", () => {
  const table = taskTable(cells)!;
  expect(table.columns.map(({ title }) => title)).toEqual(["model", "copying", "recall"]);
  expect(table.cells).toEqual([
    ["one", "60.0 % ± 14.1", "85.0 % ± 14.1"],
    ["other", "25.0 % ± 0.0", "25.0 % ± 0.0"],
  ]);
  expect(taskTable(cells.slice(0, 2))).toBeUndefined();
});

test("published numbers stand in a column for each length and each metric that they are of", () => {
  const { columns, cells: lines } = sweepTable(report);
  const at = (title: string): number => columns.findIndex((column) => column.title === title);
  const titles = ["published", "published, L=80", "published, perplexity"];
  expect(lines.map((line) => titles.map((title) => line[at(title)]))).toEqual([
    ["90.0 %", "80.0 %", "-"],
    ["-", "-", "-"],
    ["-", "-", "-"],
    ["-", "-", "8.71"],
  ]);
});

test("figures draw the mean over seeds, and every task by itself", () => {
  const [mean] = meanRows(cells);
  expect(mean!.curve).toEqual([
    { step: 1, tokens: 40, loss: 2.5 },
    { step: 2, tokens: 80, loss: 1.5, validation: 0.6 },
  ]);
  expect(mean!.tokensPerSecond).toBe(1500);
  const rows = cells.flatMap((each) => each.rows);
  const page = parseHTML(reportPage(rows, { title: "t", tasks: {}, sweep: report })).document;
  const captions = [...page.querySelectorAll("figcaption")].map((caption) => caption.textContent);
  expect(captions.slice(0, 3)).toEqual([
    "Accuracy against memory: copying",
    "Accuracy against memory: recall",
    "Training",
  ]);
  const training = [...page.querySelectorAll("figure")][2]!;
  expect(training.querySelectorAll('[aria-label="line"] path')).toHaveLength(2);
});

test("how a mixer was sized is said once, with its task where tasks differ", () => {
  const sized = cells.map((each) => ({ ...each, matched: each.name === "one" ? "a" : `in ${each.task}` }));
  expect(sizesOf({ ...report, cells: sized })).toEqual([
    "one: a",
    "other: in copying (copying)",
    "other: in recall (recall)",
  ]);
});

test("the command of a report names the device that all rows are of", async () => {
  const folder = mkdtempSync(join(tmpdir(), "seqmix-report-"));
  const rows = cells.flatMap((each) => each.rows);
  const commandOf = async (some: readonly Row[]): Promise<string> => {
    await writeReport(folder, some, { sweep: report });
    return /- command: (.*)/.exec(readFileSync(join(folder, "report.md"), "utf8"))![1]!;
  };
  const onGpu = rows.map((each): Row => ({ ...each, device: "webgpu" }));
  expect(await commandOf(rows)).toBe("`pnpm bench sweep s --scale laptop`");
  expect(await commandOf(onGpu)).toBe("`pnpm bench sweep s --scale laptop --device webgpu`");
  expect(await commandOf([...rows, ...onGpu])).toBe("`pnpm bench sweep s --scale laptop`");
  rmSync(folder, { recursive: true });
});
