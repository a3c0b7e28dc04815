import { foldIn, key as keyOf } from "@seqmix/tensor";
import { defineTask, laptopBudget } from "./define-task.js";
import { generatedTask } from "./generated-task.js";
import { hostRandom } from "./host-random.js";
import { madPaper, madSource } from "./mad-recall.js";

/** Settings of {@link madMemorization}. */
export type MadMemorizationConfig = {
  /** V: the last token asks, half of the others are keys, half values. At least 5. */
  readonly vocabSize: number;
  /** Length: keys, and after each a token that asks; even. */
  readonly L: number;
  /** Training sequences in all; 0: always new ones. */
  readonly trainSequences: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * Memorization of MAD: values that belong to keys in all sequences, so that the parameters must hold them.
 *
 *     inputs   a > c > b >      > asks (V-1)
 *     targets    3   1   2      the same for every sequence
 */
export const madMemorization = defineTask<MadMemorizationConfig>({
  id: "mad-memorization",
  family: "memory",
  summary: "MAD: values of keys that are the same in all sequences, held by the parameters",
  defaults: { vocabSize: 256, L: 32, trainSequences: 0, evaluationSequences: 256 },
  limits: { vocabSize: { least: 5 }, L: { least: 2 }, trainSequences: { least: 0 } },
  training: { ...laptopBudget, lr: 3e-3 },
  scales: {
    smoke: { vocabSize: 9, L: 8, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: { ...madPaper, trainSequences: 256 },
  },
  make(config) {
    const { vocabSize, L } = config;
    if (L % 2 === 1) throw new RangeError(`mad-memorization: expected an even L, got ${L}; change it`);
    const half = Math.floor((vocabSize - 1) / 2);
    const values = hostRandom(foldIn(keyOf(12345), "mad-memorization"))
      .distinct(half, vocabSize - 1 - half)
      .map((value) => half + value);
    return generatedTask({
      id: "mad-memorization",
      config,
      input: { vocabSize },
      output: { classes: vocabSize },
      answers: "positions",
      length: L,
      metric: "accuracy",
      chance: 1 / half,
      example(random, { inputs, targets, mask }) {
        for (let t = 0; t < L; t += 2) {
          inputs[t] = random.integer(half);
          inputs[t + 1] = vocabSize - 1;
          targets[t + 1] = values[inputs[t]!]!;
          mask[t + 1] = 1;
        }
      },
    });
  },
  definition:
    "Uniform keys, each followed by a token that asks; its value is due, which is the same in every sequence and every split.",
  tests: "What the parameters of a model hold, rather than its state.",
  source: `${madSource}: vocabulary 256, length 32, 256 training sequences; changed to vocabularies of 512 to 8192.`,
});
