import { relative } from "node:path";
import type { Row } from "../results/results.js";
import { summaryTable, wordsOf } from "../results/summary.js";
import { formatTable } from "../report/table.js";
import { writeReport } from "../report/write-report.js";

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
  const report = await writeReport(out, all, verdict);
  say(`Results and report: ${relative(process.cwd(), report) || report}`);
  for (const { trial, error } of rows.filter(({ status }) => status === "failed"))
    console.error(`Failed: ${trial}: ${error}`);
  if (verdict) say(verdict);
  return rows.some(({ status }) => status === "failed") ? 1 : 0;
}
