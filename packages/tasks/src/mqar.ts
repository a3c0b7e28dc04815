import { defineTask, laptopBudget } from "./define-task.js";
import { multiQueryRecall } from "./multi-query-recall.js";

/** Settings of {@link mqar}. */
export type MqarConfig = {
  /** V: keys are 1 .. V/2-1, values V/2 .. V-1; more than L. */
  readonly vocabSize: number;
  /** Length; even, with room for the pairs and as many questions. */
  readonly L: number;
  /** Pairs of a key and a value. */
  readonly pairs: number;
  /** Times the pairs are shown. */
  readonly passes: number;
  /** Exponent of the distances of the questions; 1: uniform, smaller: near ones. */
  readonly power: number;
  /** Whether positions that are neither pair nor question hold uniform tokens, else 0. */
  readonly noise: boolean;
  /** Training sequences in all; 0: always new ones. */
  readonly trainSequences: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * Multi-query associative recall: values of several keys, each asked for once.
 *
 *     inputs    2 8 4 7 0 0 4 0 0 0 0 0 2 0 0       pairs (2, 8) and (4, 7), then the keys again
 *     targets               7           8           due at the key; what follows it is not its value
 *
 * Source: `multiquery_ar` of the Zoology code base (`zoology/data/multiquery_ar.py`); Arora et al., Zoology, 2023.
 */
export const mqar = defineTask<MqarConfig>({
  id: "mqar",
  family: "recall",
  summary: "multi-query associative recall: the values of many keys, each asked for somewhere behind",
  defaults: {
    vocabSize: 256,
    L: 64,
    pairs: 8,
    passes: 1,
    power: 0.01,
    noise: true,
    trainSequences: 0,
    evaluationSequences: 500,
  },
  limits: { power: { least: 1e-9, most: 1, real: true }, trainSequences: { least: 0 } },
  training: { ...laptopBudget, steps: 3000, lr: 3e-3 },
  scales: {
    smoke: { vocabSize: 20, L: 16, pairs: 2, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: {
      vocabSize: 8192,
      L: 256,
      pairs: 16,
      trainSequences: 100_000,
      evaluationSequences: 3000,
      steps: 25_000,
      batch: 256,
      lr: 1e-3,
      dModel: 128,
    },
  },
  make(config) {
    const { vocabSize, L, pairs, passes, noise } = config;
    const context = 2 * pairs * passes;
    if (L % 2 === 1 || vocabSize <= L || context + 2 * pairs > L || pairs > (vocabSize >> 1) - 1)
      throw new RangeError(
        `mqar: expected an even L of at least ${context + 2 * pairs} for ${pairs} pairs, below vocabSize, got L=${L} and vocabSize=${vocabSize}; change one`,
      );
    const half = vocabSize >> 1;
    return multiQueryRecall<MqarConfig>({
      id: "mqar",
      config,
      firstValue: half,
      noise,
      pairs(random) {
        const keys = random.distinct(pairs, half - 1).map((key) => key + 1);
        const values = random.distinct(pairs, vocabSize - half).map((value) => value + half);
        const once = keys.flatMap((key, k) => [key, values[k]!]);
        return { keys: keys.map((key) => [key]), values, shown: Array.from({ length: passes }, () => once).flat() };
      },
    });
  },
  definition:
    "Pairs of different keys and different values stand at the beginning. Behind them every key stands once more, at distances that follow a power law, and at each of those positions its value is due. All other positions hold uniform tokens, which may be keys or values by chance.",
  tests:
    "How many bindings a state holds: accuracy rises with the state's size, and a state of b bits cannot answer more. Attention keeps everything and solves it at any width.",
  source:
    "Arora, Eyuboglu, Timalsina, Johnson, Poli, Zou, Rudra and Ré, Zoology (2023), `multiquery_ar`: vocabulary 8192; (L, pairs) of (64, 4), (128, 8), (256, 16), (512, 64); 100,000 training and 3,000 test sequences; widths 64 to 512, best of four learning rates.",
  published: [
    {
      model: "attention",
      value: "100 % at width 64 for all lengths",
      source: "Arora et al., Zoology (2023), Figure 2",
    },
    {
      model: "gated convolutions",
      value: "above 90 % only at a width of at least the length",
      source: "Arora et al., Zoology (2023), Figure 2",
    },
  ],
});
