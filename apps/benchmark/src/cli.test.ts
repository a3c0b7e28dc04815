/** The built command line as a user starts it: a process of its own. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ChildProcess } from "node:child_process";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bench as benchIn, buildBench, linesOf, type Ended } from "./testing/bench-process.js";
import type { Row } from "./results/results.js";

let folder: string;
beforeAll(async () => {
  await buildBench();
  folder = mkdtempSync(join(tmpdir(), "seqmix-cli-"));
}, 300_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bench = (args: readonly string[], onOutput?: (child: ChildProcess, output: string) => void): Promise<Ended> =>
  benchIn(folder, args, onOutput);
const rowsOf = (out: string): Row[] => linesOf(join(folder, out));

const small =
  "selective-copying:attention:dataTokens=2;positions=6;dModel=8;nLayers=1;nHeads=2;batch=4;warmup=2;steps=";

test.each([
  [["run", "selective-copying:mambo"], 'error: Unknown mixer "mambo"; did you mean mamba?'],
  [["run", "selectiv-copying:mamba"], 'error: Unknown task "selectiv-copying"; did you mean selective-copying?'],
  [
    ["run", "selective-copying:mamba:dstate=8"],
    'error: Unknown setting "dstate" of selective-copying:mamba; did you mean dState?',
  ],
  [
    ["run", "selective-copying:mamba:dataTokens=40;positions=32"],
    "expected at most 32 data tokens for 32 positions (L=72), got 40",
  ],
  [["run", "selective-copying:mamba", "--device", "cpo"], 'error: Unknown device "cpo"; did you mean cpu?'],
  [["run", "selective-copying:mamba", "--threads", "zero"], "Expected a whole number from 1 to 256"],
  [["decoding", "--patience", "-3"], "Expected a number above 0, at most 3600"],
  [["gradient-norms", "--seed", "x"], "Expected a whole number from 0 to 2147483647"],
  [["state-collapse", "--rate", "fast"], "Expected a number above 0, at most 1"],
  [["scaling", "--mixers", "mambo"], 'Unknown mixer "mambo"; did you mean mamba?'],
  [
    ["run", "selective-copying:mamba", "--device", "cpu", "--device", "webgpu"],
    "error: Option --device is given twice;",
  ],
  [["run"], "missing required argument 'trial'"],
  [["quickstart", "--ot", "x"], "Did you mean --out?"],
  [["quickstrat"], "Did you mean quickstart?"],
  [["report", "nowhere"], "error: Expected results in"],
  [["sweep", "nowhere.ts"], "error: Expected a sweep file at"],
])("%j is a mistake: exit code 2, one sentence, nothing written", async (args, message) => {
  const { code, output } = await bench(args);
  expect(output).toContain(message);
  expect(output).not.toContain("    at ");
  expect(code).toBe(2);
  expect(existsSync(join(folder, "results"))).toBe(false);
});

test("a results folder that cannot be written is a mistake", async () => {
  writeFileSync(join(folder, "file"), "");
  const { code, output } = await bench(["run", `${small}4`, "--out", "file/results"]);
  expect(output).toContain("error: Cannot write results into file/results");
  expect(code).toBe(2);
});

test("list names tasks, mixers, devices and defaults", async () => {
  const { code, output } = await bench(["list"]);
  expect(code).toBe(0);
  for (const name of [
    "selective-copying",
    "moby-dick",
    "mamba",
    "s4d",
    "attention",
    "reference",
    "dModel=64",
    "dState=16",
  ])
    expect(output).toContain(name);
});

test("run trains, writes rows and a report, and a second run finds them finished", async () => {
  const first = await bench(["run", `${small}6;seed=0`, `${small}6;seed=1`, "--jobs", "1", "--out", "twice"]);
  expect(first.code).toBe(0);
  const rows = rowsOf("twice");
  expect(rows.map(({ status, seed, device }) => ({ status, seed, device }))).toEqual(
    [0, 1].map((seed) => ({ status: "done", seed, device: "cpu" })),
  );
  for (const row of rows) {
    expect(row.trial).toMatch(
      /^selective-copying:attention:batch=4;dataTokens=2;dModel=8;L=8;nHeads=2;nLayers=1;seed=[01];steps=6;warmup=2$/,
    );
    expect(row.metrics["chance"]).toBeCloseTo(1 / 14, 12);
    expect(row.metrics["accuracy"]).toBeGreaterThanOrEqual(0);
    expect(row.curve.at(-1)).toMatchObject({ step: 6, tokens: 6 * 4 * 8 });
    expect(row.versions["node"]).toBe(process.versions.node);
  }
  expect(readFileSync(join(folder, "twice", "report.html"), "utf8")).toContain(rows[1]!.trial);
  expect(readdirSync(join(folder, "twice")).sort()).toEqual([
    "report.html",
    "report.md",
    "report.tex",
    "results.jsonl",
  ]);

  const second = await bench(["run", `${small}6;seed=1`, `${small}6;seed=0`, "--out", "twice"]);
  expect(second.output).toContain("2 of 2 trials are finished in twice already");
  expect(second.code).toBe(0);
  expect(rowsOf("twice")).toEqual(rows);
});

test("Ctrl-C saves and says how to go on; the next run ends with the numbers of an uninterrupted one", async () => {
  const args = ["run", `${small}20`, `${small}400`, "--jobs", "1", "--threads", "1", "--out"];
  // The first trial has ended when something is printed: the second begins.
  let sent = false;
  const stopped = await bench([...args, "stopped"], (child) => {
    if (!sent) child.kill("SIGINT");
    sent = true;
  });
  expect(stopped.output).toMatch(/Stopped.* and saved in stopped; the same command goes on from there\./);
  expect(stopped.code).toBe(130);
  expect(rowsOf("stopped")).toHaveLength(1);
  const [resumed, whole] = [await bench([...args, "stopped"]), await bench([...args, "whole"])];
  expect([resumed.code, whole.code]).toEqual([0, 0]);
  const numbers = ({ metrics, validation, curve }: Row): unknown => ({ metrics, validation, curve });
  expect(rowsOf("stopped").map(numbers)).toEqual(rowsOf("whole").map(numbers));
}, 60_000);

test("a damaged results line is reported and kept aside", async () => {
  mkdirSync(join(folder, "damaged"));
  writeFileSync(join(folder, "damaged", "results.jsonl"), '{"trial":"selective-copying:mam');
  const { code, output } = await bench(["run", `${small}3`, "--out", "damaged"]);
  expect(output).toContain("1 line was no result and moved to results.corrupt.jsonl");
  expect(code).toBe(0);
  expect(rowsOf("damaged")).toHaveLength(1);
  expect(readFileSync(join(folder, "damaged", "results.corrupt.jsonl"), "utf8")).toBe(
    '{"trial":"selective-copying:mam\n',
  );
});

test("a sweep file in TypeScript runs, and its report sums up", async () => {
  const settings = "dataTokens: 2, L: 8, dModel: 8, nLayers: 1, nHeads: 2, batch: 4, warmup: 1";
  writeFileSync(
    join(folder, "rates.ts"),
    `import { defineSweep, type Sweep } from "@seqmix/benchmark";\nexport const sweep: Sweep = defineSweep({ task: "selective-copying", mixers: ["attention"], baseline: { ${settings}, steps: 3, lr: 0.01 }, changes: { lr: [0.01, 0.02] } });\n`,
  );
  const { code, output } = await bench(["sweep", "rates.ts"]);
  expect(output).toContain("lr=0.02");
  expect(code).toBe(0);
  expect(rowsOf("results/rates-laptop")).toHaveLength(2);
  expect(readdirSync(folder).filter((name) => name.endsWith(".mjs"))).toEqual([]);

  writeFileSync(join(folder, "broken.js"), "export const sweep = 1;\n");
  const broken = await bench(["sweep", "broken.js"]);
  expect(broken.output).toContain('error: Expected broken.js to export defineSweep({ task, mixers, ... }) as "sweep"');
  expect(broken.code).toBe(2);
});
