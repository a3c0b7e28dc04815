import type { Task, TaskSettings } from "./task.js";

/** What a task tests, by which lists are ordered. */
export const taskFamilies = [
  "copying",
  "recall",
  "state tracking",
  "memory",
  "classification",
  "series",
  "text",
] as const;

/** One of {@link taskFamilies}. */
export type TaskFamily = (typeof taskFamilies)[number];

/** How a trial of the task trains. */
export type TrainingBudget = {
  /** Updates. */
  readonly steps: number;
  /** Sequences an update. */
  readonly batch: number;
  /** Peak learning rate, reached after `warmup` updates; then half a cosine to 0. */
  readonly lr: number;
  /** Updates until the peak. */
  readonly warmup: number;
  /** Largest norm of the gradient. */
  readonly clip: number;
  /** Decoupled weight decay. */
  readonly weightDecay: number;
};

/** A budget of minutes on a laptop, from which tasks depart. */
export const laptopBudget: TrainingBudget = {
  steps: 1500,
  batch: 32,
  lr: 5e-3,
  warmup: 50,
  clip: 1,
  weightDecay: 0.01,
};

/** A number from a publication. */
export interface PublishedResult {
  /** Model or method. */
  readonly model: string;
  /** In the publication's unit. */
  readonly value: string;
  /** Settings it was measured under, where they matter. */
  readonly setting?: string;
  /** Publication and table. */
  readonly source: string;
}

/** What a setting may be, where it is not any whole number of at least 1. */
export interface SettingLimits {
  /** Least value; 1 by default. */
  readonly least?: number;
  /** Largest value. */
  readonly most?: number;
  /** Numbers between whole ones are fine. */
  readonly real?: boolean;
}

/** Names of numbers that stand for other settings. */
export interface TaskAliases {
  /** The names. */
  readonly names: readonly string[];
  /** The settings with what the aliases stand for in their place. @throws RangeError where both are given and do not fit. */
  resolve(given: TaskSettings): TaskSettings;
}

/** A file of an npm package that a task is made of. */
export interface TaskData {
  /** The package. */
  readonly package: string;
  /** Path of the file in it. */
  readonly file: string;
  /** Licence of the data, for display. */
  readonly license: string;
}

/** Gives the content of a file of {@link TaskData}. */
export type ReadData = (data: TaskData) => Uint8Array;

/** A task as a trial names it: its settings, its budget, and what a reader should know. */
export interface TaskEntry<C extends TaskSettings = TaskSettings> {
  /** Name in trials and reports, e.g. "selective-copying". */
  readonly id: string;
  /** What it tests. */
  readonly family: TaskFamily;
  /** One line for lists and reports. */
  readonly summary: string;
  /** The task's own settings; L is the length of a sequence in every task. */
  readonly defaults: C;
  /** What numbers may be, where it is not any whole number of at least 1. */
  readonly limits?: { readonly [K in keyof C]?: SettingLimits };
  /** Words that a setting may be. */
  readonly choices?: { readonly [K in keyof C]?: readonly string[] };
  /** Defaults of the training settings: minutes on a laptop. */
  readonly training: TrainingBudget;
  /** Where the network around the mixer differs from the usual one; `pooling` for tasks with answers of the whole sequence. */
  readonly network?: TaskSettings;
  /** Settings that differ at another scale: "smoke" takes seconds, "paper" has the published sizes. */
  readonly scales?: Readonly<Partial<Record<"smoke" | "paper", TaskSettings>>>;
  /** Numbers that stand for other settings, e.g. positions for L; `resolve` puts those in their place. */
  readonly aliases?: TaskAliases;
  /** Files the task needs; `make` asks for them. */
  readonly data?: readonly TaskData[];
  /** @throws RangeError for settings the task cannot meet. */
  make(settings: C, read?: ReadData): Task<C>;
  /** Results of simple models on the same test split, in the task's metric, by name. */
  baselines?(task: Task): Readonly<Record<string, number>>;
  /** For its page: what a sequence looks like and what is asked, in Markdown. */
  readonly definition: string;
  /** For its page: what a model needs to solve it. */
  readonly tests: string;
  /** Where the definition comes from. */
  readonly source: string;
  /** Published results. */
  readonly published?: readonly PublishedResult[];
  /** Whether the inputs are the pixels of a square image, row by row, for drawings. */
  readonly image?: boolean;
  /** Names of tokens in drawings, from 0 on; the numbers by default. */
  symbols?(settings: C): readonly string[];
}

/** Makes a task from the settings that differ from the defaults. */
export interface TaskFactory<C extends TaskSettings, Alias extends string = never> {
  (settings?: Partial<C> & Partial<Record<Alias, number>>): Task<C>;
  /** The task as a trial names it. */
  readonly entry: TaskEntry<C>;
}

/**
 * A task as a function of its settings, which are checked before anything is made.
 * @throws RangeError, from the function, for settings that the task does not have or cannot meet.
 */
export function defineTask<C extends TaskSettings, Alias extends string = never>(
  given: TaskEntry<C>,
): TaskFactory<C, Alias> {
  const entry: TaskEntry<C> = {
    ...given,
    make(settings, read) {
      check(given, settings);
      return given.make(settings, read);
    },
  };
  const factory = (settings: TaskSettings = {}): Task<C> =>
    entry.make({ ...entry.defaults, ...(entry.aliases?.resolve(settings) ?? settings) } as C);
  return Object.assign(factory, { entry }) as TaskFactory<C, Alias>;
}

function check<C extends TaskSettings>({ id, defaults, limits, choices }: TaskEntry<C>, settings: C): void {
  for (const [name, like] of Object.entries(defaults)) {
    const value = settings[name]!;
    const words = choices?.[name];
    if (words ? !words.includes(String(value)) : typeof value !== typeof like)
      throw new RangeError(
        `${id}: expected ${words ? words.join(" or ") : `a ${typeof like}`} for ${name}, got ${value}; change ${name}`,
      );
    if (typeof value === "number") checkNumber(id, name, value, limits?.[name]);
  }
}

function checkNumber(
  id: string,
  name: string,
  value: number,
  { least = 1, most = Infinity, real }: SettingLimits = {},
): void {
  if ((real ? Number.isFinite(value) : Number.isInteger(value)) && value >= least && value <= most) return;
  const range = most === Infinity ? `at least ${least}` : `${least} to ${most}`;
  throw new RangeError(
    `${id}: expected a ${real ? "number" : "whole number"} of ${range} for ${name}, got ${value}; change ${name}`,
  );
}

/** Whether a value is what {@link defineTask} returns. */
export const isTask = (value: unknown): value is TaskFactory<TaskSettings> =>
  typeof value === "function" && typeof (value as { entry?: { make?: unknown } }).entry?.make === "function";
