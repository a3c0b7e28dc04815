import { characterLanguageModel, type CharacterLanguageModelTask } from "./character-language-model.js";
import type { PublishedResult, TaskData, TaskEntry } from "./define-task.js";
import { interpolatedTrigram } from "./interpolated-trigram.js";
import type { Task } from "./task.js";

/** Settings of a text's language modelling as a task of trials. */
export type TextConfig = {
  /** Characters that a model reads at once. */
  readonly L: number;
};

/** What tells one text from another. */
export interface TextSource {
  /** Name in trials. */
  readonly id: string;
  /** One line for lists. */
  readonly summary: string;
  /** The files that the text lies in, one behind the other, UTF-8. */
  readonly data: readonly TaskData[];
  /** For its page. */
  readonly definition: string;
  /** For its page. */
  readonly source: string;
  /** Published results on this text. */
  readonly published?: readonly PublishedResult[];
}

/** Character-level language modelling of a text out of a package, with a trigram model as its bar. */
export function textEntry({ data, ...about }: TextSource): TaskEntry<TextConfig> {
  // One task a text and length, and one trigram model, however many trials ask.
  const made = new WeakMap<Uint8Array, Map<number, Task<TextConfig>>>();
  const bars = new WeakMap<Task, number>();
  return {
    ...about,
    family: "text",
    defaults: { L: 128 },
    training: { steps: 1000, batch: 16, lr: 5e-3, warmup: 50, clip: 1, weightDecay: 0.01 },
    scales: { smoke: { L: 32, steps: 20, warmup: 5, batch: 4 } },
    data,
    make({ L }, read) {
      if (!read)
        throw new RangeError(
          `${about.id}: expected a way to read ${data[0]!.file} of the package ${data[0]!.package}, got none; call entry.make with one`,
        );
      const files = data.map((file) => read(file));
      const lengths = made.get(files[0]!) ?? new Map<number, Task<TextConfig>>();
      made.set(files[0]!, lengths);
      const task =
        lengths.get(L) ?? textTask(files.map((bytes) => new TextDecoder().decode(bytes)).join("\n"), about.id, L);
      lengths.set(L, task);
      return task;
    },
    baselines(task) {
      const { parts, vocabulary } = task as unknown as CharacterLanguageModelTask;
      const trigram = bars.get(task) ?? interpolatedTrigram({ ...parts, vocabSize: vocabulary.length }).bitsPerChar;
      bars.set(task, trigram);
      return { trigram };
    },
    tests: "Everything at once, at a small size: spelling within a few characters, words and names over hundreds.",
  };
}

function textTask(text: string, id: string, L: number): Task<TextConfig> {
  return { ...characterLanguageModel(text, { id, length: L }), config: { L } };
}
