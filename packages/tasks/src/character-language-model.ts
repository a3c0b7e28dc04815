import { assertSettings, foldIn, tensor, type Key } from "@seqmix/tensor";
import { hostRandom } from "./host-random.js";
import { splits, type Batch, type Split, type Task } from "./task.js";

/** Settings of {@link characterLanguageModel}. */
export type CharacterLanguageModelConfig = {
  /** L, the characters a model reads at once. */
  readonly length: number;
  /** Part of the text, from its end, that is for testing; in (0, 1). */
  readonly testFraction: number;
  /** Part of the text, before the test part, that is for validation; in (0, 1). */
  readonly validationFraction: number;
};

/** The defaults of {@link characterLanguageModel}: windows of 256 characters; 90, 5 and 5 hundredths of the text. */
export const characterLanguageModelDefaults: CharacterLanguageModelConfig = {
  length: 256,
  testFraction: 0.05,
  validationFraction: 0.05,
};

/** The task of {@link characterLanguageModel}, with the text it was made from. */
export interface CharacterLanguageModelTask extends Task<CharacterLanguageModelConfig> {
  /** The character of each token, in the order of code points. */
  readonly vocabulary: readonly string[];
  /** The text as tokens, by split. */
  readonly parts: Readonly<Record<Split, Int32Array>>;
}

/**
 * Character-level language modelling of a text: guess each next character, measured in bits per character.
 *
 * The vocabulary is the set of characters (code points) of the whole text, so that every character of every split has a
 * probability. The text is cut by position into train, validation and test. Training windows start anywhere in their
 * split; evaluation reads its split from end to end in windows that do not overlap, and counts every character but the
 * first once. A window starts with no memory of the one before.
 * @param text At least as long as the splits need: each must hold `length` + 1 characters.
 * @param settings What differs from {@link characterLanguageModelDefaults}; `id` names the text.
 * @throws RangeError for settings the text cannot meet.
 */
export function characterLanguageModel(
  text: string,
  settings: Partial<CharacterLanguageModelConfig> & { readonly id?: string } = {},
): CharacterLanguageModelTask {
  const share = { above: 0, below: 1 };
  assertSettings("characterLanguageModel", settings, {
    id: "own",
    length: "own",
    testFraction: share,
    validationFraction: share,
  });
  const { id = "characters", ...chosen } = settings;
  const config: CharacterLanguageModelConfig = { ...characterLanguageModelDefaults, ...chosen };
  const { length, testFraction, validationFraction } = config;
  if (!Number.isInteger(length) || length < 1)
    throw new RangeError(
      `characterLanguageModel: expected a whole number of at least 1 for length, got ${length}; change length`,
    );
  if (!(testFraction > 0 && validationFraction > 0 && testFraction + validationFraction < 1))
    throw new RangeError(
      `characterLanguageModel: expected positive validation and test fractions that leave something to train on, got ${validationFraction} and ${testFraction}; lower them`,
    );
  const characters = [...text];
  const vocabulary = [...new Set(characters)].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!);
  const codes = new Map(vocabulary.map((character, code) => [character, code]));
  const all = Int32Array.from(characters, (character) => codes.get(character)!);

  const testStart = Math.round(all.length * (1 - testFraction));
  const validationStart = Math.round(all.length * (1 - testFraction - validationFraction));
  const parts: Record<Split, Int32Array> = {
    train: all.subarray(0, validationStart),
    validation: all.subarray(validationStart, testStart),
    test: all.subarray(testStart),
  };
  for (const split of splits)
    if (parts[split].length < length + 1)
      throw new RangeError(
        `characterLanguageModel: expected at least ${length + 1} characters in the ${split} split for windows of length ${length}, got ${parts[split].length}; lower length or use a longer text`,
      );

  /** Windows of `part` at the given starts; a window that reaches past the end is masked there. */
  const windows = (part: Int32Array, starts: readonly number[]): Batch => {
    const inputs = new Int32Array(starts.length * length);
    const targets = new Int32Array(starts.length * length);
    const mask = new Float32Array(starts.length * length);
    starts.forEach((start, row) => {
      // The last character is a target only.
      const count = Math.max(0, Math.min(length, part.length - 1 - start));
      inputs.set(part.subarray(start, start + count), row * length);
      targets.set(part.subarray(start + 1, start + 1 + count), row * length);
      mask.fill(1, row * length, row * length + count);
    });
    const shape = [starts.length, length];
    return { inputs: tensor(inputs, shape), targets: tensor(targets, shape), mask: tensor(mask, shape) };
  };

  return {
    id,
    config,
    input: { vocabSize: vocabulary.length },
    output: { classes: vocabulary.length },
    answers: "positions",
    length,
    metric: "bitsPerChar",
    chance: Math.log2(vocabulary.length),
    vocabulary,
    parts,
    batch(key: Key, split: Split, batchSize: number): Batch {
      const random = hostRandom(foldIn(key, split));
      const part = parts[split];
      return windows(
        part,
        Array.from({ length: batchSize }, () => random.integer(part.length - length)),
      );
    },
    *evaluation(split, batchSize) {
      const part = parts[split];
      for (let first = 0; first < part.length - 1; first += batchSize * length)
        yield windows(
          part,
          Array.from({ length: batchSize }, (_, row) => first + row * length),
        );
    },
  };
}
