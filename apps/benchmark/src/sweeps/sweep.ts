/** Many trials from a few lines: a baseline, and what is changed about it. */
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

/** Mixer and settings of each trial of a sweep, without duplicates. */
export function expandSweep({
  mixers,
  baseline = {},
  changes = {},
  combine = "one-at-a-time",
  seeds = [0],
}: Sweep): readonly { readonly mixer: string; readonly settings: Settings }[] {
  const entries = Object.entries(changes);
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
  return mixers.flatMap((mixer) =>
    unique.flatMap((settings) => seeds.map((seed) => ({ mixer, settings: { ...settings, seed } }))),
  );
}
