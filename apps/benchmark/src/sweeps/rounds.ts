/** Which trials of a sweep are due: learning rates with the first seed, then the best one with the others. */
import type { Row } from "../results/results.js";
import type { Settings } from "../trials/settings.js";
import { isBetter } from "../results/metrics.js";
import type { Cell } from "./sweep.js";

/** Settings of a cell's trials that can be run, given the rows of those that were. */
export function dueTrials(cell: Cell, rowOf: (settings: Settings) => Row | undefined): readonly Settings[] {
  const { settings, rates, seeds } = cell;
  if (rates.length === 0) return seeds.map((seed) => ({ ...settings, seed }));
  const first = rates.map((lr) => ({ ...settings, lr, seed: seeds[0]! }));
  const rate = chosenRate(first.map((each) => [Number(each.lr), rowOf(each)]));
  if (rate === undefined) return first;
  return [...first, ...seeds.slice(1).map((seed) => ({ ...settings, lr: rate, seed }))];
}

/** The learning rate whose validation is best; undefined while a trial is missing, and if none ended with a number. */
export function chosenRate(tried: readonly (readonly [rate: number, row: Row | undefined])[]): number | undefined {
  let best: { readonly rate: number; readonly value: number } | undefined;
  for (const [rate, row] of tried) {
    if (!row) return undefined;
    const value = row.validation[row.metric];
    if (value !== undefined && (!best || isBetter(row.metric, value, best.value))) best = { rate, value };
  }
  return best?.rate;
}
