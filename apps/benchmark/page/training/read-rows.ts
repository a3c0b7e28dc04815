/** Results from a file, as the command line writes them and as this page offers them. */
import { parseRow } from "../../src/results/parse-row.js";
import type { Row } from "../../src/results/results.js";

/** What a file holds. */
export interface ReadRows {
  readonly rows: readonly Row[];
  /** Lines that are no results. */
  readonly others: number;
}

/** Reads a results.jsonl; the latest line of a trial counts. @throws UsageError for rows of a later version. */
export function readRows(text: string): ReadRows {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const found = lines.map(parseRow);
  const latest = new Map(found.flatMap((row) => (row ? [[row.trial, row] as const] : [])));
  return { rows: [...latest.values()], others: found.filter((row) => !row).length };
}
