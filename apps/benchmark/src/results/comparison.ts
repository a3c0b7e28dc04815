/** Two sets of rows side by side, trial by trial, summed up over seeds. */
import { formatCount, formatMetric } from "../report/format.js";
import type { Table } from "../report/table.js";
import { spreadOf, type Spread } from "./cells.js";
import { isHigherBetter } from "./metrics.js";
import type { Row } from "./results.js";

/** Trials that differ in the seed alone, in both sets. */
export interface ComparedGroup {
  /** The identity without its seed. */
  readonly trials: string;
  readonly metric: string;
  readonly before: Spread;
  readonly after: Spread;
  /** After less before, seed by seed. */
  readonly difference: Spread;
  /** "better" or "worse" where the mean difference is more than its deviation and seeds are at least two; else "same". */
  readonly change: "better" | "worse" | "same";
  /** Tokens a second after over before; undefined if one was not measured. */
  readonly speed: number | undefined;
}

/** What two sets of rows have in common, and what not. */
export interface Comparison {
  readonly groups: readonly ComparedGroup[];
  /** What must be known to read the table, a sentence each. */
  readonly notes: readonly string[];
}

/** Compares rows with the same identity. */
export function compareResults(before: readonly Row[], after: readonly Row[]): Comparison {
  const later = new Map(after.map((row) => [row.trial, row]));
  const earlier = new Set(before.map(({ trial }) => trial));
  const pairs = before.flatMap((row) => {
    const other = later.get(row.trial);
    return other ? [[row, other] as const] : [];
  });
  const groups = new Map<string, (readonly [Row, Row])[]>();
  for (const pair of pairs) {
    const name = pair[0].trial.replace(/;?seed=\d+/, "");
    groups.set(name, [...(groups.get(name) ?? []), pair]);
  }
  return {
    groups: [...groups].flatMap(([trials, members]) => groupOf(trials, members) ?? []),
    notes: [
      ...count(before.length - pairs.length, "only before"),
      ...count(after.filter(({ trial }) => !earlier.has(trial)).length, "only after"),
      ...count(pairs.filter(([a, b]) => a.status !== b.status).length, "ended differently", pairs),
      ...differing(pairs, "device", (row) => `${row.device} (${row.deviceDescription})`),
      ...differing(pairs, "machine", (row) => row.machine),
      ...differing(pairs, "version", (row) => `${row.versions["seqmix"] ?? "unknown"} ${row.commit.slice(0, 12)}`),
      ...differing(pairs, "trials at once", (row) => String(row.jobs ?? 1)),
    ],
  };
}

function groupOf(trials: string, pairs: readonly (readonly [Row, Row])[]): ComparedGroup | undefined {
  const done = pairs.filter(([a, b]) => a.status === "done" && b.status === "done");
  if (done.length === 0) return undefined;
  const { metric } = done[0]![0];
  const valueOf = (row: Row): number => row.metrics[metric]!;
  const difference = spreadOf(done.map(([a, b]) => valueOf(b) - valueOf(a)))!;
  const sure = done.length > 1 && Math.abs(difference.mean) > difference.deviation;
  const speeds = done.map(([a, b]) => b.tokensPerSecond / a.tokensPerSecond).filter((x) => Number.isFinite(x) && x > 0);
  return {
    trials,
    metric,
    before: spreadOf(done.map(([a]) => valueOf(a)))!,
    after: spreadOf(done.map(([, b]) => valueOf(b)))!,
    difference,
    change: sure ? (difference.mean > 0 === isHigherBetter(metric) ? "better" : "worse") : "same",
    speed: spreadOf(speeds)?.mean,
  };
}

const count = (n: number, what: string, of?: readonly unknown[]): readonly string[] =>
  n === 0 ? [] : [`${n}${of ? ` of ${of.length}` : ""} trial${n === 1 && !of ? "" : "s"} ${what}.`];

/** Whether the two sets come from different places, which explains differences. */
function differing(pairs: readonly (readonly [Row, Row])[], what: string, of: (row: Row) => string): readonly string[] {
  const distinct = (rows: readonly Row[]): string => [...new Set(rows.map(of))].sort().join(", ");
  const [a, b] = [distinct(pairs.map(([row]) => row)), distinct(pairs.map(([, row]) => row))];
  return a === b ? [] : [`Another ${what}: ${a} before, ${b} after.`];
}

/** The table of a comparison. */
export function comparisonTable(groups: readonly ComparedGroup[]): Table {
  const signed = (metric: string, value: number): string =>
    metric === "accuracy" ? `${value >= 0 ? "+" : ""}${(value * 100).toFixed(1)} points` : `${value >= 0 ? "+" : ""}${value.toPrecision(2)}`;
  return {
    columns: [
      { title: "trials" },
      { title: "seeds", number: true },
      { title: "before", number: true },
      { title: "after", number: true },
      { title: "difference", number: true },
      { title: "", explanation: "better or worse by more than the differences of the seeds vary" },
      { title: "speed", number: true },
    ],
    cells: groups.map(({ trials, metric, before, after, difference, change, speed }) => [
      trials,
      formatCount(before.values.length),
      formatMetric(metric, before.mean),
      formatMetric(metric, after.mean),
      signed(metric, difference.mean),
      change,
      speed === undefined ? "-" : `${speed.toFixed(2)}x`,
    ]),
  };
}
