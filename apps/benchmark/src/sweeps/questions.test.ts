/** Every question that comes with the app runs at smoke scale, all in the same two workers. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { mixers } from "@seqmix/catalog";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { withMatches } from "../commands/finish.js";
import { writeReport } from "../report/write-report.js";
import type { Row } from "../results/results.js";
import { buildBench, cli } from "../testing/bench-process.js";
import { runTrials } from "../trials/run-trials.js";
import { builtInSweeps } from "./built-in.js";
import { cellsOf, dueExperiments, planOf } from "./run-sweep.js";
import type { Sweep } from "./sweep.js";

const questions = await Promise.all(
  builtInSweeps.map(async ({ name, file }) => {
    const { sweep } = (await import(file)) as { sweep: Sweep };
    return { name, file, sweep, cells: cellsOf(planOf(sweep, "smoke")) };
  }),
);
let folder: string;
let rows: readonly Row[];
beforeAll(async () => {
  await buildBench();
  folder = mkdtempSync(join(tmpdir(), "seqmix-questions-"));
  const all = questions.flatMap(({ cells }) => cells);
  const stream = { write: () => true } as unknown as NodeJS.WriteStream;
  rows = await runTrials((found) => dueExperiments(all, found), { device: "cpu", out: folder, entry: cli, stream });
}, 300_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("the table of architectures has every mixer", () => {
  const { sweep } = questions.find(({ name }) => name === "architectures")!;
  const compared = planOf(sweep, "laptop").mixers.map((each) => (typeof each === "string" ? each : each.mixer));
  expect(compared.toSorted()).toEqual(mixers.map(({ id }) => id).toSorted());
});

describe.each(questions)("$name", ({ name, file, sweep, cells }) => {
  test("every trial of the smoke scale is done, and the report has the table", async () => {
    const found = withMatches(cells, rows);
    for (const cell of found) {
      expect(cell.test?.values.length, cell.name).toBe(cell.seeds.length);
      expect(cell.failed + cell.diverged, cell.name).toBe(0);
    }
    const own = rows.filter(({ trial }) => found.some((cell) => cell.rows.some((row) => row.trial === trial)));
    const page = await writeReport(folder, own, { sweep: { name, sweep, scale: "smoke", cells: found } });
    const text = readFileSync(page, "utf8");
    for (const cell of found) expect(text).toContain(`>${cell.name}<`);
  });

  test("its expectation names rows of the laptop and paper scales, and every published number a row", () => {
    for (const scale of ["laptop", "paper"] as const) {
      // Sizing is left out: it takes as long as a small sweep.
      const { match: _, ...plan } = planOf(sweep, scale);
      const found = withMatches(cellsOf(plan), []);
      for (const { holds } of sweep.expected?.check(found) ?? []) expect(holds).toBeUndefined();
      for (const { row } of sweep.published ?? []) expect(found.map((cell) => cell.name)).toContain(row);
    }
  });

  test("has a README and a question", () => {
    expect(existsSync(join(dirname(file), "README.md"))).toBe(true);
    expect(sweep.question).toMatch(/\?$/);
  });
});
