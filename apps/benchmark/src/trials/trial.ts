/**
 * A trial is one training run, and its identity is one string:
 *
 *     selective-copying:mamba:dModel=64;L=40;seed=0
 *     task             :mixer:settings
 *
 * It selects the trial on the command line, names it in results, and is what a run resumes by. The canonical form has
 * dModel, L, seed and every setting that differs from its default, sorted by name.
 */
import type { AnyMixer } from "@seqmix/mixer";
import { networkDefaults, trainingDefaults } from "./budgets.js";
import { didYouMean } from "../commands/nearest-name.js";
import { parseSetting, sortSettings, type Settings } from "./settings.js";
import { messageOf, UsageError } from "../commands/usage-error.js";
import type { TaskEntry } from "./tasks.js";

/** One training run. */
export interface Trial {
  /** The identity in canonical form. */
  readonly identity: string;
  readonly task: TaskEntry;
  readonly mixer: AnyMixer;
  /** Every setting, defaults included, sorted by name. */
  readonly settings: Settings;
}

/** What trials can be made of. */
export interface Registry {
  readonly tasks: readonly TaskEntry[];
  readonly mixers: readonly AnyMixer[];
}

/** Settings that are always part of the identity. */
const always = ["dModel", "L", "seed"];

/**
 * Reads an identity string in any order of settings.
 * @throws UsageError naming the part that is unknown, with the nearest known name.
 */
export function parseTrial(text: string, registry: Registry): Trial {
  const [taskId = "", mixerId, settingsText, ...surplus] = text.split(":");
  if (mixerId === undefined || surplus.length > 0)
    throw new UsageError(`Expected a trial as task:mixer:setting=value;..., got "${text}"`);
  const { task, mixer } = find(taskId, mixerId, registry);
  const defaults = defaultsOf(task, mixer);
  const given: Record<string, number | string | boolean> = {};
  for (const part of (settingsText ?? "").split(";")) {
    if (part.trim() === "") continue;
    const [name = "", value, ...more] = part.split("=").map((each) => each.trim());
    if (value === undefined || more.length > 0)
      throw new UsageError(`Expected setting=value in "${text}", got "${part.trim()}"`);
    if (Object.hasOwn(given, name)) throw new UsageError(`Setting ${name} is given twice in "${text}"; leave one out`);
    // An alias stands for a number; other names must be known.
    const like = Object.hasOwn(defaults, name) ? defaults[name]! : 0;
    if (!Object.hasOwn(defaults, name) && !isAlias(task, name)) throw unknownSetting(name, task, mixer, defaults);
    const parsed = parseSetting(value, like);
    if (parsed === undefined)
      throw new UsageError(`Expected a ${typeof like} for ${name} in "${text}", got "${value}"`);
    given[name] = parsed;
  }
  return makeTrial(task, mixer, given);
}

/**
 * The trial of a task, a mixer, and settings other than the defaults.
 * @throws UsageError for unknown names.
 */
export function trialOf(taskId: string, mixerId: string, given: Settings, registry: Registry): Trial {
  const { task, mixer } = find(taskId, mixerId, registry);
  const defaults = defaultsOf(task, mixer);
  for (const name of Object.keys(given))
    if (!Object.hasOwn(defaults, name) && !isAlias(task, name)) throw unknownSetting(name, task, mixer, defaults);
  return makeTrial(task, mixer, given);
}

/** The same trial with another seed. */
export const withSeed = (trial: Trial, seed: number): Trial =>
  makeTrial(trial.task, trial.mixer, { ...trial.settings, seed });

/** All settings of the trials of a task and a mixer, with their defaults. */
export function defaultsOf(task: TaskEntry, mixer: AnyMixer): Settings {
  return {
    ...task.defaults,
    ...mixerSettingsOf(mixer, task),
    ...networkDefaults,
    ...task.network,
    ...trainingDefaults,
    ...task.training,
    seed: 0,
  };
}

/**
 * The settings a mixer adds to those of the network. In the trials of a task those whose name the task has too are called
 * `mixer.name`: `lmu.dt` beside the `dt` of `delay`.
 */
export function mixerSettingsOf(mixer: AnyMixer, task?: TaskEntry): Settings {
  const { dModel: _, ...own } = mixer.config as unknown as Settings;
  if (!task) return own;
  return Object.fromEntries(Object.entries(own).map(([name, value]) => [nameInTrial(name, mixer, task), value]));
}

/** The mixer's settings of a trial, by the names that the mixer has for them. */
export const mixerConfigOf = ({ task, mixer, settings }: Pick<Trial, "task" | "mixer" | "settings">): Settings =>
  Object.fromEntries(
    Object.keys(mixerSettingsOf(mixer)).map((name) => [name, settings[nameInTrial(name, mixer, task)]!]),
  );

const nameInTrial = (name: string, mixer: AnyMixer, task: TaskEntry): string =>
  Object.hasOwn(task.defaults, name) || isAlias(task, name) ? `${mixer.id}.${name}` : name;

function makeTrial(task: TaskEntry, mixer: AnyMixer, given: Settings): Trial {
  const resolved = withoutAliases(task, given);
  const usual = defaultsOf(task, mixer);
  const { warmup } = withShortWarmup({
    ...usual,
    ...(resolved["steps"] !== undefined && { steps: resolved["steps"] }),
  });
  const defaults: Settings = { ...usual, ...(warmup !== undefined && { warmup }) };
  const settings = sortSettings({ ...defaults, ...resolved });
  const named = Object.entries(settings).filter(([name, value]) => always.includes(name) || value !== defaults[name]);
  return {
    identity: `${task.id}:${mixer.id}:${named.map(([name, value]) => `${name}=${value}`).join(";")}`,
    task,
    mixer,
    settings,
  };
}

function withoutAliases(task: TaskEntry, given: Settings): Settings {
  try {
    return task.aliases?.resolve(given) ?? given;
  } catch (error) {
    throw new UsageError(messageOf(error), { cause: error });
  }
}

/** The default warm-up is too long for a short run: there it is a tenth of the steps. */
function withShortWarmup(defaults: Settings): Settings {
  const { warmup, steps } = defaults;
  if (Number(warmup) < Number(steps)) return defaults;
  return { ...defaults, warmup: Math.max(0, Math.floor(Number(steps) / 10)) };
}

function find(taskId: string, mixerId: string, { tasks, mixers }: Registry): { task: TaskEntry; mixer: AnyMixer } {
  const task = tasks.find(({ id }) => id === taskId);
  if (!task)
    throw new UsageError(
      `Unknown task "${taskId}"${didYouMean(
        taskId,
        tasks.map(({ id }) => id),
      )}`,
    );
  const mixer = mixers.find(({ id }) => id === mixerId);
  if (!mixer)
    throw new UsageError(
      `Unknown mixer "${mixerId}"${didYouMean(
        mixerId,
        mixers.map(({ id }) => id),
      )}`,
    );
  return { task, mixer };
}

const isAlias = (task: TaskEntry, name: string): boolean => task.aliases?.names.includes(name) ?? false;

const unknownSetting = (name: string, task: TaskEntry, mixer: AnyMixer, defaults: Settings): UsageError =>
  new UsageError(`Unknown setting "${name}" of ${task.id}:${mixer.id}${didYouMean(name, Object.keys(defaults))}`);
