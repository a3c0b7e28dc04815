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

/** Whether the mean of one cell is above that of another by more than both deviations together, or below. */
function compareTwo(one: CellSummary, other: CellSummary, which: Which, word: "above" | "below"): Statement {
  const [a, b] = [spreadOf(one, which), spreadOf(other, which)];
  const names = `${one.name} ${word} ${other.name}${whereOf(which)}`;
  if (!a || !b) return { text: `${names}: no result.`, holds: undefined };
  const difference = word === "above" ? a.mean - b.mean : b.mean - a.mean;
  return {
    text: `${names} was expected: ${said(one, a)} and ${said(other, b)}.`,
    holds: difference > a.deviation + b.deviation,
  };
}

/** The mean of one cell is above that of another by more than both deviations together. */
export const higher = (one: CellSummary, other: CellSummary, which: Which = {}): Statement =>
  compareTwo(one, other, which, "above");

/** The mean of one cell is below that of another by more than both deviations together: better, for an error. */
export const lower = (one: CellSummary, other: CellSummary, which: Which = {}): Statement =>
  compareTwo(one, other, which, "below");

/** The means of two cells differ by no more than both deviations together, or by a tenth of the larger. */
export function same(one: CellSummary, other: CellSummary): Statement {
  const [a, b] = [one.test, other.test];
  const names = `${one.name} and ${other.name} about the same`;
  if (!a || !b) return { text: `${names}: no result.`, holds: undefined };
  const tolerance = Math.max(a.deviation + b.deviation, Math.max(Math.abs(a.mean), Math.abs(b.mean)) / 10);
  return {
    text: `${names} was expected: ${said(one, a)} and ${said(other, b)}.`,
    holds: Math.abs(a.mean - b.mean) <= tolerance,
  };
}

/** Means rise from the first cell to the last, none falling by more than both deviations on the way. */
export function rising(cells: readonly CellSummary[]): Statement {
  const spreads = cells.map(({ test }) => test);
  const names = `${cells[0]!.name} to ${cells.at(-1)!.name}: rising`;
  if (spreads.some((spread) => !spread)) return { text: `${names}: no result.`, holds: undefined };
  const known = spreads as Spread[];
  const steady = known.every(
    (spread, k) => k === 0 || known[k - 1]!.mean - spread.mean <= spread.deviation + known[k - 1]!.deviation,
  );
  const [first, last] = [known[0]!, known.at(-1)!];
  return {
    text: `${names} was expected: ${cells.map((cell, k) => formatMetric(cell.metric, known[k]!.mean)).join(", ")}.`,
    holds: steady && last.mean - first.mean > first.deviation + last.deviation,
  };
}
