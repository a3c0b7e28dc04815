/** Many trials from a few lines: a baseline, and what is changed about it. */
import { didYouMean } from "../commands/nearest-name.js";
import { UsageError } from "../commands/usage-error.js";
import type { Settings, Setting } from "../trials/settings.js";

/** A sweep: a file exports one made by {@link defineSweep}. */
export interface Sweep {
  /** Id of the task. */
  readonly task: string;
  /** Ids of the mixers. */
  readonly mixers: readonly string[];
  /** Settings of every trial that differ from the defaults. */
  readonly baseline?: Settings;
  /** Values to try, by setting. */
  readonly changes?: Readonly<Record<string, readonly Setting[]>>;
  /** "one-at-a-time" (default): the baseline, and each value with the rest as in the baseline. "grid": all combinations of the values. */
  readonly combine?: "one-at-a-time" | "grid";
  /** Every combination is run with each seed; [0] by default. */
  readonly seeds?: readonly number[];
}

/** The same sweep, with its type checked. */
export const defineSweep = (sweep: Sweep): Sweep => sweep;

const COMBINATIONS = ["one-at-a-time", "grid"] as const;
const FIELDS = ["task", "mixers", "baseline", "changes", "combine", "seeds"] as const;

/**
 * Mixer and settings of each trial of a sweep, without duplicates.
 * @throws UsageError for a field or a combination that does not exist, lists without values, and seeds in two places.
 */
export function expandSweep(sweep: Sweep): readonly { readonly mixer: string; readonly settings: Settings }[] {
  assertSweep(sweep);
  const { mixers, baseline = {}, changes = {}, combine = "one-at-a-time", seeds } = sweep;
  const { seed: seedChanges, ...others } = changes;
  const entries = Object.entries(others);
  const variants: Settings[] =
    combine === "grid"
      ? entries.reduce<Settings[]>(
          (before, [name, values]) =>
            before.flatMap((settings) => values.map((value) => ({ ...settings, [name]: value }))),
          [baseline],
        )
      : [baseline, ...entries.flatMap(([name, values]) => values.map((value) => ({ ...baseline, [name]: value })))];
  const unique = [
    ...new Map(variants.map((settings) => [JSON.stringify(Object.entries(settings).sort()), settings])).values(),
  ];
  const each = seeds ?? seedChanges ?? [baseline["seed"] ?? 0];
  return mixers.flatMap((mixer) =>
    unique.flatMap((settings) => each.map((seed) => ({ mixer, settings: { ...settings, seed } }))),
  );
}

function assertSweep(sweep: Sweep): void {
  const { changes = {}, combine = "one-at-a-time", seeds, baseline = {} } = sweep;
  for (const field of Object.keys(sweep))
    if (!(FIELDS as readonly string[]).includes(field))
      throw new UsageError(`Unknown field "${field}" of a sweep${didYouMean(field, FIELDS)}`);
  if (!COMBINATIONS.includes(combine))
    throw new UsageError(`Unknown combination "${combine}" of a sweep${didYouMean(combine, COMBINATIONS)}`);
  for (const [name, values] of Object.entries({ ...changes, ...(seeds && { seeds }) }))
    if (!Array.isArray(values) || values.length === 0)
      throw new UsageError(
        `Expected a list of values for ${name} of a sweep, got ${JSON.stringify(values)}; write [value, ...]`,
      );
  const places = [
    seeds && "seeds",
    changes["seed"] && "changes.seed",
    baseline["seed"] !== undefined && "baseline.seed",
  ];
  const found = places.filter((place) => typeof place === "string");
  if (found.length > 1)
    throw new UsageError(`Expected the seeds of a sweep in one place, got ${found.join(" and ")}; keep \`seeds\``);
}
