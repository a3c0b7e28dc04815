/** Results from a file, as the command line writes them and as this page offers them. */
import type { Row } from "../../src/results/results.js";

/** What a file holds. */
export interface ReadRows {
  readonly rows: readonly Row[];
  /** Lines that are no results. */
  readonly others: number;
}

/** Reads a results.jsonl; the latest line of a trial counts. */
export function readRows(text: string): ReadRows {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const found = lines.map(readRow);
  const latest = new Map(found.flatMap((row) => (row ? [[row.trial, row] as const] : [])));
  return { rows: [...latest.values()], others: found.filter((row) => !row).length };
}

function readRow(line: string): Row | undefined {
  try {
    const row = JSON.parse(line) as Partial<Row> | null;
    const whole =
      [row?.trial, row?.task, row?.mixer, row?.metric, row?.status].every((part) => typeof part === "string") &&
      [row?.metrics, row?.validation, row?.config].every((part) => typeof part === "object" && part !== null) &&
      [row?.parameters, row?.tokensPerSecond, row?.wallSeconds].every((part) => typeof part === "number") &&
      Array.isArray(row?.curve);
    return whole ? (row as Row) : undefined;
  } catch {
    return undefined;
  }
}
