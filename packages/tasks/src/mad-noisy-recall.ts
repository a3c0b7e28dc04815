import { defineTask, laptopBudget } from "./define-task.js";
import { generatedTask } from "./generated-task.js";
import { madPaper, madSource, recallPairs, writeNextTokens } from "./mad-recall.js";

/** Settings of {@link madNoisyRecall}. */
export type MadNoisyRecallConfig = {
  /** Tokens in all: keys, as many values, and noise. */
  readonly vocabSize: number;
  /** Tokens of noise; `vocabSize` less them is even. */
  readonly noiseTokens: number;
  /** Share of pairs that are noise, in [0, 1). */
  readonly noiseShare: number;
  /** Positions: one less than tokens in the pairs, so odd. */
  readonly L: number;
  /** Training sequences in all; 0: always new ones. */
  readonly trainSequences: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/** Noisy in-context recall of MAD: in-context recall with pairs of noise between, of tokens that mean nothing. */
export const madNoisyRecall = defineTask<MadNoisyRecallConfig>({
  id: "mad-noisy-recall",
  family: "recall",
  summary: "MAD: say the value of a key whenever it occurs again, with noise between",
  defaults: {
    vocabSize: 32,
    noiseTokens: 16,
    noiseShare: 0.2,
    L: 127,
    trainSequences: 0,
    evaluationSequences: 256,
  },
  limits: {
    vocabSize: { least: 5 },
    noiseShare: { least: 0, most: 1 - 2 ** -20, real: true },
    L: { least: 3 },
    trainSequences: { least: 0 },
  },
  training: { ...laptopBudget, lr: 3e-3 },
  scales: {
    smoke: { vocabSize: 9, noiseTokens: 3, L: 15, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: madPaper,
  },
  make(config) {
    const { vocabSize, noiseTokens, noiseShare, L } = config;
    const half = (vocabSize - noiseTokens) / 2;
    if (!Number.isInteger(half) || half < 2 || L % 2 === 0)
      throw new RangeError(
        `mad-noisy-recall: expected as many keys as values beside the noise and an odd L, got vocabSize=${vocabSize}, noiseTokens=${noiseTokens} and L=${L}; change one`,
      );
    return generatedTask({
      id: "mad-noisy-recall",
      config,
      input: { vocabSize },
      output: { classes: vocabSize },
      answers: "positions",
      length: L,
      metric: "accuracy",
      chance: 1 / half,
      example(random, values, split) {
        const pairs = { keys: half, values: half, noise: noiseTokens, noiseShare, length: L + 1 };
        const { tokens, answers } = recallPairs(random, pairs);
        writeNextTokens(values, tokens, answers, split);
      },
    });
  },
  definition:
    "As MAD's in-context recall, but a share of the pairs are two tokens of noise, out of tokens of their own.",
  tests: "Whether irrelevant tokens stay out of the state.",
  source: `${madSource}: vocabulary 32 of which 16 are noise, share 0.2; changed to 0.4, 0.6 and 0.8.`,
});
