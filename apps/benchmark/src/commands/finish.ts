import { join, relative } from "node:path";
import type { Row } from "../results/results.js";
import { summaryTable, wordsOf } from "../results/summary.js";
import { formatTable } from "../report/table.js";
import { findings, sweepTable, verdictWord, type SweepReport } from "../report/sweep-section.js";
import { writeReport } from "../report/write-report.js";
import { writeFileAtomically } from "../results/atomic-file.js";
import { summarizeCells } from "../sweeps/run-sweep.js";
import type { MatchedCell } from "../sweeps/match.js";

/**
 * Prints the table of the trials asked for, and writes the report of all trials of the folder. With `json` the rows are
 * printed already, and all this goes to the error stream.
 * @returns The exit code: 0 when every trial finished; one that diverged has finished.
 */
export async function finish(
  rows: readonly Row[],
  all: readonly Row[],
  { out, json = false }: { readonly out: string; readonly json?: boolean },
  verdict?: string,
): Promise<number> {
  const say = json ? console.error : console.log;
  const { columns, cells } = summaryTable(rows);
  say(`\n${formatTable(columns, cells)}\n\n${wordsOf(columns)}`);
  const report = await writeReport(out, all, { verdict });
  say(`Results and report: ${relative(process.cwd(), report) || report}`);
  for (const { trial, error } of rows.filter(({ status }) => status === "failed"))
    console.error(`Failed: ${trial}: ${error}`);
  if (verdict) say(verdict);
  return rows.some(({ status }) => status === "failed") ? 1 : 0;
}

/** What a folder remembers of the sweep that its results are of, so that the report can be written again. */
export interface SweepOrigin {
  /** Name of the question, or the path of its file. */
  readonly question: string;
  readonly scale: SweepReport["scale"];
  readonly cells: readonly MatchedCell[];
}

/** The file of a {@link SweepOrigin} in a folder of results. */
export const ORIGIN_FILE = "sweep.json";

/**
 * {@link finish} for a sweep: prints its table and what was found.
 * @returns The exit code. A finding that is not as expected is a result, not a failure.
 */
export async function finishSweep(
  { question, ...asked }: Pick<SweepReport, "name" | "sweep" | "scale"> & SweepOrigin,
  rows: readonly Row[],
  all: readonly Row[],
  { out, json = false }: { readonly out: string; readonly json?: boolean },
): Promise<number> {
  const say = json ? console.error : console.log;
  const report: SweepReport = { ...asked, cells: withMatches(asked.cells, all) };
  const origin: SweepOrigin = { question, scale: asked.scale, cells: asked.cells };
  writeFileAtomically(join(out, ORIGIN_FILE), `${JSON.stringify(origin)}\n`);
  const { columns, cells } = sweepTable(report);
  say(`\n${asked.sweep.question ?? asked.name}\n\n${formatTable(columns, cells)}\n\n${wordsOf(columns)}`);
  for (const { name, matched } of report.cells) if (matched) say(`Sized: ${name}: ${matched}`);
  for (const statement of findings(report)) say(`${verdictWord(statement)}: ${statement.text}`);
  const page = await writeReport(out, all, { sweep: report });
  say(`Results and report: ${relative(process.cwd(), page) || page}`);
  const failed = rows.filter(({ status }) => status === "failed");
  for (const { trial, error } of failed) console.error(`Failed: ${trial}: ${error}`);
  return failed.length > 0 ? 1 : 0;
}

/** Cells with what was found of them. */
export const withMatches = (cells: readonly MatchedCell[], rows: readonly Row[]): SweepReport["cells"] =>
  summarizeCells(cells, rows).map((summary, k) => {
    const matched = cells[k]!.matched;
    return matched === undefined ? summary : { ...summary, matched };
  });
