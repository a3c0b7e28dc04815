import { relative } from "node:path";
import type { Row } from "../results/results.js";
import { summaryTable } from "../results/summary.js";
import { formatTable } from "../report/table.js";
import { writeReport } from "../report/write-report.js";

/**
 * Prints the table of the trials asked for, and writes the report of all trials of the folder.
 * @returns The exit code: 0 when every trial finished; one that diverged has finished.
 */
export async function finish(
  rows: readonly Row[],
  all: readonly Row[],
  folder: string,
  verdict?: string,
): Promise<number> {
  const { columns, cells } = summaryTable(rows);
  console.log(`\n${formatTable(columns, cells)}\n`);
  const report = await writeReport(folder, all, verdict);
  console.log(`Results and report: ${relative(process.cwd(), report) || report}`);
  for (const { trial, error } of rows.filter(({ status }) => status === "failed"))
    console.error(`Failed: ${trial}: ${error}`);
  if (verdict) console.log(verdict);
  return rows.some(({ status }) => status === "failed") ? 1 : 0;
}
