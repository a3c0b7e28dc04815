/** Sentences about what a sweep found, each with whether it holds. */
import type { CellSummary, Spread } from "../results/cells.js";
import { formatMetric } from "../report/format.js";
import type { Statement } from "./sweep.js";

/** The cell of a name. @throws Error if the sweep has none: a mistake in its expectation. */
export function cellNamed(cells: readonly CellSummary[], name: string, task?: string): CellSummary {
  const found = cells.find((cell) => cell.name === name && (task === undefined || cell.task === task));
  if (!found)
    throw new Error(`expected a row "${name}" of the sweep, got ${cells.map((cell) => cell.name).join("; ")}`);
  return found;
}

/** Which number of a cell is meant. */
export interface Which {
  /** A harder task's name, e.g. "L=512"; the test split by default. */
  readonly beyond?: string;
}

const spreadOf = (cell: CellSummary, { beyond }: Which): Spread | undefined =>
  beyond === undefined ? cell.test : cell.beyond[beyond];

const whereOf = ({ beyond }: Which): string => (beyond === undefined ? "" : ` at ${beyond}`);

/** "97.2 % ± 0.4 over 3 seeds". */
function said(cell: CellSummary, spread: Spread): string {
  const { mean, deviation, values } = spread;
  const plusMinus = cell.metric === "accuracy" ? (deviation * 100).toFixed(1) : deviation.toPrecision(2);
  return `${formatMetric(cell.metric, mean)}${values.length > 1 ? ` ± ${plusMinus} over ${values.length} seeds` : " (one seed)"}`;
}

function compared(
  cell: CellSummary,
  bound: number,
  which: Which,
  word: string,
  holds: (mean: number) => boolean,
): Statement {
  const spread = spreadOf(cell, which);
  const expected = `${word} ${formatMetric(cell.metric, bound)}`;
  if (!spread)
    return { text: `${cell.name}${whereOf(which)}: no result where ${expected} was expected.`, holds: undefined };
  return {
    text: `${cell.name}${whereOf(which)} reaches ${said(cell, spread)}; ${expected} was expected.`,
    holds: holds(spread.mean),
  };
}

/** The mean of a cell is at least so much. */
export const atLeast = (cell: CellSummary, bound: number, which: Which = {}): Statement =>
  compared(cell, bound, which, "at least", (mean) => mean >= bound);

/** The mean of a cell is at most so much. */
export const atMost = (cell: CellSummary, bound: number, which: Which = {}): Statement =>
  compared(cell, bound, which, "at most", (mean) => mean <= bound);

/** The mean of one cell is higher than that of another by more than both deviations together. */
export function higher(one: CellSummary, other: CellSummary, which: Which = {}): Statement {
  const [a, b] = [spreadOf(one, which), spreadOf(other, which)];
  const names = `${one.name} above ${other.name}${whereOf(which)}`;
  if (!a || !b) return { text: `${names}: no result.`, holds: undefined };
  return {
    text: `${names} was expected: ${said(one, a)} and ${said(other, b)}.`,
    holds: a.mean - b.mean > a.deviation + b.deviation,
  };
}

/** "97.2 %". */
export const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
