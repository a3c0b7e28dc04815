/** A question put to many trials: a baseline, what is changed about it, and what is expected. */
import { didYouMean } from "../commands/nearest-name.js";
import { UsageError } from "../commands/usage-error.js";
import type { CellSummary } from "../results/cells.js";
import type { Setting, Settings } from "../trials/settings.js";

/** How large a sweep runs: in a minute on two cores to see that it works, on a laptop, or with the published settings. */
export const SCALES = ["smoke", "laptop", "paper"] as const;

/** One of {@link SCALES}. */
export type Scale = (typeof SCALES)[number];

/** What mixers are made equal in before they are compared. */
export const MATCHES = ["parameters", "stateBytes", "flops"] as const;

/** One of {@link MATCHES}. */
export type Match = (typeof MATCHES)[number];

/** A mixer of a sweep with settings of its own. */
export interface SweepMixer {
  /** Id of the mixer. */
  readonly mixer: string;
  /** Name in tables, e.g. "S4D, real"; the id by default. */
  readonly name?: string;
  /** Name of the line that it is a point of in figures; its name by default. */
  readonly series?: string;
  /** Settings of its trials, over the baseline and the changes. */
  readonly settings?: Settings;
  /** false: its size stays as the settings say where the others are matched. */
  readonly matched?: boolean;
}

/** A task of a sweep with settings of its own. */
export interface SweepTask {
  /** Id of the task. */
  readonly task: string;
  /** Settings of its trials, under those of the mixers. */
  readonly settings?: Settings;
}

/** What is run. A scale may put other values in the place of these; settings are merged. */
export interface SweepPlan {
  /** The task, or several: ids, or with settings. */
  readonly task: string | SweepTask | readonly (string | SweepTask)[];
  /** The mixers: ids, or with settings; "*" is every other one. The first is what `match` sizes the others to. */
  readonly mixers: readonly (string | SweepMixer)[];
  /** Settings of every trial that differ from the defaults. */
  readonly baseline?: Settings;
  /** Values to try, by setting. */
  readonly changes?: Readonly<Record<string, readonly Setting[]>>;
  /** "one-at-a-time" (default): the baseline, and each value with the rest as in the baseline. "grid": all combinations of the values. */
  readonly combine?: "one-at-a-time" | "grid";
  /** Every combination is run with each seed; [0] by default. */
  readonly seeds?: readonly number[];
  /**
   * Learning rates. Each is tried with the first seed; the one that is best on the validation split is used with all seeds,
   * for every mixer and setting by itself.
   */
  readonly rates?: readonly number[];
  /** Size every mixer to the first one, within 2 %. */
  readonly match?: Match;
}

/** A published number, to stand beside those that are found. */
export interface Published {
  /** Name of the row: the mixer's name in the sweep, with its changed settings if there are any. */
  readonly row: string;
  /** In the task's metric: accuracy from 0 to 1. */
  readonly value: number;
  /** What it is, where that is not the task's metric: "perplexity of language". It stands as it is, in a column of its own. */
  readonly of?: string;
  /** The task, if the sweep has several. */
  readonly task?: string;
  /** The harder form of the task that it is of, e.g. "L=1024"; the test split by default. */
  readonly beyond?: string;
  /** Paper and table. */
  readonly source: string;
}

/** Whether something that was expected was found. */
export interface Statement {
  /** What was found, in one sentence with its numbers. */
  readonly text: string;
  /** undefined: it cannot be said, since trials are missing. */
  readonly holds: boolean | undefined;
}

/** What is expected of a sweep. */
export interface Expectation {
  /** The sentence of the paper that is tested. */
  readonly claim: string;
  /** Where it stands. */
  readonly source: string;
  /** Judges what was found at laptop scale and above. */
  check(cells: readonly CellSummary[]): readonly Statement[];
}

/** A figure of the report: the test metric against a number of each row. */
export interface SweepPlot {
  readonly title: string;
  /** "stateBytes", "parameters", "flops", "length" (how far a trained model carries), or a setting. */
  readonly x: string;
  /** "test" by default, "tokensPerSecond" or "peakBytes". */
  readonly y?: "test" | "tokensPerSecond" | "peakBytes" | "secondsPerSequence";
  /** Logarithmic x axis. */
  readonly log?: boolean;
}

/** A sweep: a file exports one made by {@link defineSweep}. */
export interface Sweep extends SweepPlan {
  /** What is asked, in one sentence. */
  readonly question?: string;
  readonly expected?: Expectation;
  readonly published?: readonly Published[];
  readonly plots?: readonly SweepPlot[];
  /** What is other at a scale; "laptop" is the sweep as it stands unless it says otherwise. */
  readonly scales?: Partial<Readonly<Record<Scale, Partial<SweepPlan>>>>;
}

/** The same sweep, with its type checked. */
export const defineSweep = (sweep: Sweep): Sweep => sweep;

/** Trials that differ in learning rate and seed alone: one row of a sweep's table. */
export interface Cell {
  /** Id of the task. */
  readonly task: string;
  /** Id of the mixer. */
  readonly mixer: string;
  /** Name in tables: the mixer's, and the settings that are changed. */
  readonly name: string;
  /** Name of the mixer alone, which tells series of a figure apart. */
  readonly series: string;
  /** What is changed about the baseline. */
  readonly changed: Settings;
  /** All settings but learning rate and seed that differ from the defaults. */
  readonly settings: Settings;
  /** Its size stays where the others are matched. */
  readonly fixed?: true;
  /** Learning rates to choose from; empty: the one of the settings or the defaults. */
  readonly rates: readonly number[];
  readonly seeds: readonly number[];
}

const COMBINATIONS = ["one-at-a-time", "grid"] as const;
const PLAN_FIELDS = ["task", "mixers", "baseline", "changes", "combine", "seeds", "rates", "match"] as const;
const FIELDS = [...PLAN_FIELDS, "question", "expected", "published", "plots", "scales"] as const;

/**
 * The plan of a sweep at a scale. What the scale says wins over what its task says of that scale, which wins over the baseline.
 * @param ofTask Settings of a task at this scale.
 * @throws UsageError for fields that do not exist.
 */
export function planAt(sweep: Sweep, scale: Scale, ofTask: (task: string) => Settings = () => ({})): SweepPlan {
  assertFields(sweep, FIELDS, "a sweep");
  for (const each of sweep.published ?? [])
    assertFields(each, ["row", "value", "of", "task", "beyond", "source"], "a published number of a sweep");
  for (const each of sweep.plots ?? []) assertFields(each, ["title", "x", "y", "log"], "a plot of a sweep");
  for (const name of Object.keys(sweep.scales ?? {}))
    if (!(SCALES as readonly string[]).includes(name))
      throw new UsageError(`Unknown scale "${name}" of a sweep${didYouMean(name, SCALES)}`);
  const other = sweep.scales?.[scale] ?? {};
  assertFields(other, PLAN_FIELDS, `scale ${scale} of a sweep`);
  const { question: _, expected: __, published: ___, plots: ____, scales: _____, ...plan } = sweep;
  const { baseline: above, ...lists } = other;
  const task = tasksOf({ ...plan, ...lists }).map((each) => {
    assertFields(each, ["task", "settings"], "a task of a sweep");
    const { task: id, settings } = each;
    // Settings of a scale's own list of tasks are the scale's.
    const all = other.task ? { ...ofTask(id), ...settings, ...above } : { ...settings, ...ofTask(id), ...above };
    return Object.keys(all).length > 0 ? { task: id, settings: all } : id;
  });
  return { ...plan, ...lists, task };
}

/**
 * The cells of a plan, without duplicates, in the order task, mixer, change.
 * @throws UsageError for a combination that does not exist, lists without values, and seeds or rates in two places.
 */
export function expandSweep(plan: SweepPlan): readonly Cell[] {
  assertPlan(plan);
  const { mixers, baseline = {}, changes = {}, combine = "one-at-a-time", seeds, rates = [] } = plan;
  const { seed: seedChanges, ...others } = changes;
  const { seed: baselineSeed, ...base } = baseline;
  const each = seeds ?? (seedChanges as readonly number[] | undefined) ?? [Number(baselineSeed ?? 0)];
  const cells = tasksOf(plan).flatMap(({ task, settings: ofTask = {} }) =>
    mixers.map(mixerOf).flatMap(({ mixer, name = mixer, series = name, settings: ofMixer = {}, matched = true }) =>
      variantsOf(others, combine).map((changed): Cell => {
        const shown = Object.entries(changed).map(([key, value]) => `${key}=${value}`);
        return {
          task,
          mixer,
          name: [name, ...shown].join(", "),
          series,
          changed,
          settings: { ...base, ...ofTask, ...changed, ...ofMixer },
          ...(!matched && { fixed: true }),
          rates,
          seeds: each,
        };
      }),
    ),
  );
  const key = ({ task, mixer, settings, fixed }: Cell): string =>
    JSON.stringify([task, mixer, Object.entries(settings).sort(), fixed]);
  const seen = new Set<string>();
  return cells.filter((cell) => !seen.has(key(cell)) && seen.add(key(cell)));
}

const tasksOf = ({ task }: SweepPlan): readonly SweepTask[] =>
  (Array.isArray(task) ? (task as readonly (string | SweepTask)[]) : [task as string | SweepTask]).map((each) =>
    typeof each === "string" ? { task: each } : each,
  );

const mixerOf = (each: string | SweepMixer): SweepMixer => (typeof each === "string" ? { mixer: each } : each);

/** What is changed about the baseline, nothing at first. */
function variantsOf(
  changes: Readonly<Record<string, readonly Setting[]>>,
  combine: "one-at-a-time" | "grid",
): readonly Settings[] {
  const entries = Object.entries(changes);
  if (combine === "one-at-a-time")
    return [{}, ...entries.flatMap(([name, values]) => values.map((value) => ({ [name]: value })))];
  return entries.reduce<Settings[]>(
    (before, [name, values]) => before.flatMap((settings) => values.map((value) => ({ ...settings, [name]: value }))),
    [{}],
  );
}

function assertFields(given: object, known: readonly string[], what: string): void {
  for (const field of Object.keys(given))
    if (!known.includes(field)) throw new UsageError(`Unknown field "${field}" of ${what}${didYouMean(field, known)}`);
}

function assertPlan(plan: SweepPlan): void {
  const { changes = {}, combine = "one-at-a-time", seeds, rates, baseline = {}, match } = plan;
  assertFields(plan, PLAN_FIELDS, "a sweep");
  if (!Array.isArray(plan.mixers) || plan.mixers.length === 0 || tasksOf(plan).length === 0)
    throw new UsageError("Expected a task and a list of mixers in a sweep, got none; name at least one of each");
  for (const each of plan.mixers as readonly (string | SweepMixer)[])
    assertFields(mixerOf(each), ["mixer", "name", "series", "settings", "matched"], "a mixer of a sweep");
  if (!COMBINATIONS.includes(combine))
    throw new UsageError(`Unknown combination "${combine}" of a sweep${didYouMean(combine, COMBINATIONS)}`);
  if (match !== undefined && !MATCHES.includes(match))
    throw new UsageError(`Unknown match "${match}" of a sweep${didYouMean(match, MATCHES)}`);
  for (const [name, values] of Object.entries({ ...changes, ...(seeds && { seeds }), ...(rates && { rates }) }))
    if (!Array.isArray(values) || values.length === 0)
      throw new UsageError(
        `Expected a list of values for ${name} of a sweep, got ${JSON.stringify(values)}; write [value, ...]`,
      );
  inOnePlace("seeds", [seeds && "seeds", changes["seed"] && "changes.seed", "seed" in baseline && "baseline.seed"]);
  inOnePlace("learning rates", [rates && "rates", changes["lr"] && rates && "changes.lr"]);
}

function inOnePlace(what: string, places: readonly unknown[]): void {
  const found = places.filter((place) => typeof place === "string");
  if (found.length > 1)
    throw new UsageError(
      `Expected the ${what} of a sweep in one place, got ${found.join(" and ")}; keep \`${found[0]}\``,
    );
}
