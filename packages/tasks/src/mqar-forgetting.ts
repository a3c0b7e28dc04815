import { defineTask, laptopBudget } from "./define-task.js";
import { multiQueryRecall } from "./multi-query-recall.js";

/** Settings of {@link mqarForgetting}. */
export type MqarForgettingConfig = {
  /** V: keys are 1 .. V/2-1, values V/2 .. V-1; more than L. */
  readonly vocabSize: number;
  /** Length; even, with room for pairs, updates and questions. */
  readonly L: number;
  /** Pairs of a key and a value. */
  readonly pairs: number;
  /** Keys that get another value; at most `pairs`. */
  readonly updates: number;
  /** Exponent of the distances of the questions; 1: uniform, smaller: near ones. */
  readonly power: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * Multi-query associative recall where some keys get another value, and the latest counts.
 *
 * Source: `forgetting_mqar` of the Zoology code base. There an update's value differs from the value of another key than the
 * one it is for, so that it may repeat it by chance; here, as its documentation says, from the key's own.
 */
export const mqarForgetting = defineTask<MqarForgettingConfig>({
  id: "mqar-forgetting",
  family: "recall",
  summary: "multi-query associative recall where some keys get a new value, and the latest counts",
  defaults: { vocabSize: 256, L: 64, pairs: 8, updates: 4, power: 0.01, evaluationSequences: 500 },
  limits: { power: { least: 1e-9, most: 1, real: true } },
  training: { ...laptopBudget, steps: 3000, lr: 3e-3 },
  scales: {
    smoke: { vocabSize: 20, L: 16, pairs: 2, updates: 1, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: {
      vocabSize: 8192,
      L: 256,
      pairs: 16,
      updates: 8,
      steps: 25_000,
      batch: 256,
      lr: 1e-3,
      dModel: 128,
      evaluationSequences: 3000,
    },
  },
  make(config) {
    const { vocabSize, L, pairs, updates } = config;
    const context = 2 * (pairs + updates);
    const half = vocabSize >> 1;
    if (L % 2 === 1 || vocabSize <= L || context + 2 * pairs > L || updates > pairs || pairs > half - 1)
      throw new RangeError(
        `mqar-forgetting: expected an even L of at least ${context + 2 * pairs} for ${pairs} pairs and ${updates} updates of them, below vocabSize, got L=${L} and vocabSize=${vocabSize}; change one`,
      );
    return multiQueryRecall<MqarForgettingConfig>({
      id: "mqar-forgetting",
      config,
      firstValue: half,
      noise: true,
      pairs(random) {
        const keys = random.distinct(pairs, half - 1).map((key) => key + 1);
        const values = random.distinct(pairs, vocabSize - half).map((value) => value + half);
        const shown = keys.flatMap((key, k) => [key, values[k]!]);
        for (const k of random.distinct(updates, pairs)) {
          // Any value but the one before.
          const other = half + random.integer(vocabSize - half - 1);
          values[k] = other >= values[k]! ? other + 1 : other;
          shown.push(keys[k]!, values[k]!);
        }
        return { keys: keys.map((key) => [key]), values, shown };
      },
    });
  },
  definition:
    "As MQAR, but behind the pairs some of the keys stand again with another value. Every key is asked for once, and its latest value is due.",
  tests: "Whether a state can replace what it holds: additive updates keep both values, delta rules and gates do not.",
  source: "`forgetting_mqar` of the Zoology code base: 8 pairs with 4 updates; (L, pairs) from (64, 4) to (2048, 256).",
});
