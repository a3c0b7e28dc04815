/** One line of results.jsonl, read back; the command line and the page read it alike. */
import { UsageError } from "../commands/usage-error.js";
import type { Row } from "./results.js";

/** The form of rows that this version writes; rows without a number are of the first. */
const FORMAT = 1;

/**
 * The row of a line, or undefined where the line is none.
 * @throws UsageError for a row of a form that a later version writes.
 */
export function parseRow(line: string): Row | undefined {
  try {
    const row = JSON.parse(line) as Partial<Row> | null;
    const whole =
      typeof row?.trial === "string" &&
      typeof row.task === "string" &&
      typeof row.mixer === "string" &&
      ["done", "diverged", "failed"].includes(row.status ?? "") &&
      typeof row.metric === "string" &&
      [row.metrics, row.validation, row.config].every((part) => typeof part === "object" && part !== null) &&
      [row.seed, row.parameters, row.tokensPerSecond, row.wallSeconds].every((n) => typeof n === "number") &&
      Array.isArray(row.curve);
    if (whole && (row.format ?? 1) > FORMAT) throw new NewerFormat(row.format!);
    return whole ? ({ ...unknownOrigin, ...row } as Row) : undefined;
  } catch (error) {
    if (error instanceof NewerFormat) throw error;
    return undefined;
  }
}

/** Rows that only a later version understands are no damage, and must not be moved or mixed. */
class NewerFormat extends UsageError {
  constructor(format: number) {
    super(
      `Expected results in form ${FORMAT} or earlier, got form ${format}, which a newer version wrote; use that version or another folder`,
    );
  }
}

/** What a row says of where it comes from, if it does not: rows of other versions and of other programs are results too. */
const unknownOrigin: Pick<Row, "device" | "deviceDescription" | "commit" | "versions" | "machine" | "finished"> = {
  device: "unknown",
  deviceDescription: "unknown",
  commit: "unknown",
  versions: {},
  machine: "unknown",
  finished: "",
};
