/** What the forms of multi-query associative recall share: pairs are shown, then every key is asked for once. */
import { generatedTask } from "./generated-task.js";
import type { HostRandom } from "./host-random.js";
import { fillZeros, powerLawPlaces } from "./power-law-places.js";
import type { Task, TaskSettings } from "./task.js";

/** Pairs of a sequence. */
export interface ShownPairs {
  /** Tokens of each key, as many for each. */
  readonly keys: readonly (readonly number[])[];
  /** The value that is due for each key. */
  readonly values: readonly number[];
  /** Tokens with which the pairs are shown, first in the sequence. */
  readonly shown: readonly number[];
}

/** A form of multi-query associative recall. */
export interface MultiQueryRecall<C extends TaskSettings> {
  readonly id: string;
  readonly config: C & {
    readonly vocabSize: number;
    readonly L: number;
    /** Exponent of the distances of the questions. */
    readonly power: number;
    readonly evaluationSequences: number;
  };
  /** The least value; values go up to the end of the vocabulary. */
  readonly firstValue: number;
  /** Whether positions that are neither pair nor question hold uniform tokens, else 0. */
  readonly noise: boolean;
  /** Draws the pairs of a sequence. */
  pairs(random: HostRandom): ShownPairs;
}

/** Questions stand at distances that follow a power law, with room for a key and one token more each; the value is due at the end of the key. */
export function multiQueryRecall<C extends TaskSettings>(form: MultiQueryRecall<C>): Task<C> {
  const { id, config, firstValue, noise, pairs } = form;
  const { vocabSize, L, power } = config;
  return generatedTask<C>({
    id,
    config,
    input: { vocabSize },
    output: { classes: vocabSize },
    answers: "positions",
    length: L,
    metric: "accuracy",
    chance: 1 / (vocabSize - firstValue),
    example(random, { inputs, targets, mask }) {
      const { keys, values, shown } = pairs(random);
      inputs.set(shown);
      const width = keys[0]!.length;
      const slots = Math.floor((L - shown.length) / (width + 1));
      powerLawPlaces(random, keys.length, slots, power).forEach((place, k) => {
        const start = shown.length + (width + 1) * place;
        inputs.set(keys[k]!, start);
        targets[start + width - 1] = values[k]!;
        mask[start + width - 1] = 1;
      });
      if (noise) fillZeros(random, inputs, vocabSize);
    },
  });
}
