/** Rows of a sweep by cell: means and spreads over seeds, at the learning rate that validation chose. */
import { chosenRate } from "../sweeps/rounds.js";
import type { Cell } from "../sweeps/sweep.js";
import type { Settings } from "../trials/settings.js";
import type { Row } from "./results.js";

/** Numbers over seeds. */
export interface Spread {
  readonly values: readonly number[];
  readonly mean: number;
  /** Of the sample, n - 1; 0 for one value. */
  readonly deviation: number;
  readonly min: number;
  readonly max: number;
}

/** A cell with what was found. */
export interface CellSummary extends Cell {
  /** The rows at the chosen learning rate, one a seed. */
  readonly rows: readonly Row[];
  /** The learning rate; undefined while none is chosen. */
  readonly lr: number | undefined;
  readonly metric: string;
  /** Over seeds; undefined if no trial finished. */
  readonly test: Spread | undefined;
  readonly validation: Spread | undefined;
  /** The metric where the task is made harder, by its name, e.g. "L=512". */
  readonly beyond: Readonly<Record<string, Spread>>;
  readonly parameters: number | undefined;
  readonly stateBytes: number | null | undefined;
  readonly flops: number | undefined;
  readonly tokensPerSecond: Spread | undefined;
  /** Trials that did not finish, of all that were run for the cell. */
  readonly diverged: number;
  readonly failed: number;
}

/** Mean, deviation and range; undefined for no values. */
export function spreadOf(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return {
    values,
    mean,
    deviation: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0,
    min: Math.min(...values),
    max: Math.max(...values),
  };
}

/** Sums up the rows of each cell. @param rowOf The row of a cell's trial, if there is one. */
export const summarize = (
  cells: readonly Cell[],
  rowOf: (cell: Cell, settings: Settings) => Row | undefined,
): readonly CellSummary[] => cells.map((cell) => summaryOf(cell, (settings) => rowOf(cell, settings)));

function summaryOf(cell: Cell, rowOf: (settings: Settings) => Row | undefined): CellSummary {
  const { settings, rates, seeds } = cell;
  const first = rates.map((lr) => [lr, rowOf({ ...settings, lr, seed: seeds[0]! })] as const);
  const lr = chosenRate(first);
  const chosen = rates.length === 0 ? {} : { lr: lr ?? NaN };
  const rows = seeds.flatMap((seed) => rowOf({ ...settings, ...chosen, seed }) ?? []);
  const all = [...new Set([...first.flatMap(([, row]) => row ?? []), ...rows])];
  const done = rows.filter(({ status }) => status === "done");
  const any = all.find(({ status }) => status !== "failed") ?? all[0];
  const metric = any?.metric ?? "accuracy";
  return {
    ...cell,
    rows,
    lr: rates.length === 0 ? (any && Number(any.config["lr"])) : lr,
    metric,
    test: spreadOf(done.map(({ metrics }) => metrics[metric]!)),
    validation: spreadOf(done.map(({ validation }) => validation[metric]!)),
    beyond: beyondOf(done),
    parameters: any?.parameters,
    stateBytes: any?.stateBytes,
    flops: any?.flops,
    tokensPerSecond: spreadOf(done.map(({ tokensPerSecond }) => tokensPerSecond)),
    diverged: all.filter(({ status }) => status === "diverged").length,
    failed: all.filter(({ status }) => status === "failed").length,
  };
}

function beyondOf(rows: readonly Row[]): Readonly<Record<string, Spread>> {
  const names = [...new Set(rows.flatMap(({ beyond = {} }) => Object.keys(beyond)))];
  return Object.fromEntries(
    names.map((name) => [name, spreadOf(rows.flatMap(({ beyond }) => beyond?.[name] ?? []))!]),
  );
}
