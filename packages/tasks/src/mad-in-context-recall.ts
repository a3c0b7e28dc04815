import { defineTask, laptopBudget } from "./define-task.js";
import { generatedTask } from "./generated-task.js";
import { madPaper, madSource, recallPairs, writeNextTokens } from "./mad-recall.js";

/** Settings of {@link madInContextRecall}. */
export type MadInContextRecallConfig = {
  /** V: the first half are keys, the second values. Even. */
  readonly vocabSize: number;
  /** Positions: one less than tokens in the pairs, so odd. */
  readonly L: number;
  /** Training sequences in all; 0: always new ones. */
  readonly trainSequences: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * In-context recall of MAD: pairs of a key and its value; whenever a key occurs again, its value is due.
 *
 *     inputs    a 3 c 1 a     values belong to keys within a sequence
 *     target            3
 */
export const madInContextRecall = defineTask<MadInContextRecallConfig>({
  id: "mad-in-context-recall",
  family: "recall",
  summary: "MAD: say the value of a key whenever it occurs again",
  defaults: { vocabSize: 16, L: 127, trainSequences: 0, evaluationSequences: 256 },
  limits: { vocabSize: { least: 4 }, L: { least: 3 }, trainSequences: { least: 0 } },
  training: { ...laptopBudget, lr: 3e-3 },
  scales: { smoke: { vocabSize: 6, L: 15, steps: 60, warmup: 5, evaluationSequences: 64 }, paper: madPaper },
  make(config) {
    const { vocabSize, L } = config;
    if (vocabSize % 2 === 1 || L % 2 === 0)
      throw new RangeError(
        `mad-in-context-recall: expected an even vocabSize and an odd L (pairs, shifted by one), got ${vocabSize} and ${L}; change one`,
      );
    const half = vocabSize / 2;
    return generatedTask({
      id: "mad-in-context-recall",
      config,
      input: { vocabSize },
      output: { classes: vocabSize },
      answers: "positions",
      length: L,
      metric: "accuracy",
      chance: 1 / half,
      example(random, values, split) {
        const pairs = { keys: half, values: half, noise: 0, noiseShare: 0, length: L + 1 };
        const { tokens, answers } = recallPairs(random, pairs);
        writeNextTokens(values, tokens, answers, split);
      },
    });
  },
  definition:
    "Pairs of a key and its value follow each other; values are drawn anew for each sequence. Whenever a key has occurred before, its value is due; the last key always has. In training every next token is due, as in a language model.",
  tests: "Recall by content in its plainest form.",
  source: `${madSource}: vocabulary 16, length 128; changed one at a time to vocabularies of 32 to 128, lengths of 256 to 1024, and 800 to 6,400 training sequences.`,
});
