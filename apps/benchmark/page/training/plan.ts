/** The form of the train view: a task, mixers, and settings, and the trials that they make. */
import type { AnyMixer } from "@seqmix/mixer";
import type { TaskEntry } from "@seqmix/tasks";
import { parseSetting, type Settings } from "../../src/trials/settings.js";
import { defaultsOf, mixerSettingsOf, parseTrial, trialOf, type Registry } from "../../src/trials/trial.js";

/** What the form says. */
export interface Plan {
  readonly task: string;
  readonly mixers: readonly string[];
  /** Settings that all trials share, where they differ from the defaults. */
  readonly shared: Settings;
  /** Each mixer's own settings as text, "name=value;...". */
  readonly own: Readonly<Record<string, string>>;
}

/** Trials to begin with: a model that selects and one that cannot. */
export const exampleTrials = [
  "selective-copying:mamba:dModel=64;L=40;seed=0",
  "selective-copying:s4d:dModel=64;dState=16;init=real;L=40;seed=0",
] as const;

/** The plan that trials were made by; shared settings are the first one's. @throws UsageError for a trial that does not exist. */
export function planOf(trials: readonly string[], registry: Registry): Plan {
  const parsed = trials.map((text) => parseTrial(text, registry));
  const own: Record<string, string> = {};
  let shared: Settings = {};
  for (const [k, { task, mixer, settings }] of parsed.entries()) {
    const defaults = defaultsOf(task, mixer);
    const names = Object.keys(mixerSettingsOf(mixer, task));
    const changed = Object.entries(settings).filter(([name, value]) => value !== defaults[name]);
    const text = changed.filter(([name]) => names.includes(name)).map(([name, value]) => `${name}=${value}`);
    if (text.length > 0) own[mixer.id] = text.join(";");
    if (k === 0) shared = Object.fromEntries(changed.filter(([name]) => !names.includes(name)));
  }
  return { task: parsed[0]?.task.id ?? "", mixers: parsed.map(({ mixer }) => mixer.id), shared, own };
}

/** The identities of a plan's trials. @throws UsageError for a setting that does not exist. */
export function trialsOf({ task, mixers, shared, own }: Plan, registry: Registry): readonly string[] {
  return mixers.map((mixer) => {
    const base = trialOf(task, mixer, shared, registry);
    const text = own[mixer]?.trim() ?? "";
    return text === "" ? base.identity : parseTrial(`${base.identity};${text}`, registry).identity;
  });
}

/** Settings that trials of a task share, with their defaults: those of the task, the network and training. */
export function sharedDefaults(task: TaskEntry, mixer: AnyMixer): Settings {
  const names = Object.keys(mixerSettingsOf(mixer, task));
  return Object.fromEntries(Object.entries(defaultsOf(task, mixer)).filter(([name]) => !names.includes(name)));
}

/** The plan with one shared setting changed; the default is not kept. */
export function withShared(plan: Plan, name: string, text: string, defaults: Settings): Plan {
  const { [name]: _, ...others } = plan.shared;
  const value = parseSetting(text, defaults[name]!);
  return { ...plan, shared: value === undefined || value === defaults[name] ? others : { ...others, [name]: value } };
}
