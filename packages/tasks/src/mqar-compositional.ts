import { defineTask, laptopBudget } from "./define-task.js";
import { multiQueryRecall } from "./multi-query-recall.js";

/** Settings of {@link mqarCompositional}. */
export type MqarCompositionalConfig = {
  /** V: first keys are 1 .. V/3-1, second keys V/3 .. 2V/3-1, values 2V/3 .. V-1; more than L. */
  readonly vocabSize: number;
  /** Length; even, at least 6 r^2. */
  readonly L: number;
  /** r: each of r first keys goes with each of r second keys. */
  readonly sideKeys: number;
  /** Exponent of the distances of the questions; 1: uniform, smaller: near ones. */
  readonly power: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * Multi-query associative recall with keys of two tokens, of which neither alone tells the value.
 *
 *     inputs    a x 5  b y 7  b x 6  a y 8   b x .        first keys a b, second keys x y
 *     targets                                  6          due at the second key
 *
 * Source: `compositional_mqar` of the Zoology code base.
 */
export const mqarCompositional = defineTask<MqarCompositionalConfig>({
  id: "mqar-compositional",
  family: "recall",
  summary: "multi-query associative recall with keys of two tokens, of which neither alone tells the value",
  defaults: { vocabSize: 255, L: 64, sideKeys: 3, power: 0.01, evaluationSequences: 500 },
  limits: { power: { least: 1e-9, most: 1, real: true } },
  training: { ...laptopBudget, steps: 3000, lr: 3e-3 },
  scales: {
    smoke: { vocabSize: 33, L: 24, sideKeys: 2, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: {
      vocabSize: 8192,
      L: 256,
      sideKeys: 5,
      steps: 25_000,
      batch: 256,
      lr: 1e-3,
      dModel: 128,
      evaluationSequences: 3000,
    },
  },
  make(config) {
    const { vocabSize, L, sideKeys } = config;
    const pairs = sideKeys ** 2;
    const third = Math.floor(vocabSize / 3);
    if (L % 2 === 1 || vocabSize <= L || 6 * pairs > L || sideKeys > third - 1)
      throw new RangeError(
        `mqar-compositional: expected an even L of at least ${6 * pairs} for ${pairs} keys, below vocabSize, got L=${L} and vocabSize=${vocabSize}; change one`,
      );
    return multiQueryRecall<MqarCompositionalConfig>({
      id: "mqar-compositional",
      config,
      firstValue: 2 * third,
      noise: true,
      pairs(random) {
        const firsts = random.distinct(sideKeys, third - 1).map((key) => key + 1);
        const seconds = random.distinct(sideKeys, third).map((key) => key + third);
        const keys = random.shuffled(firsts.flatMap((first) => seconds.map((second) => [first, second] as const)));
        const values = random.distinct(pairs, vocabSize - 2 * third).map((value) => value + 2 * third);
        return { keys, values, shown: keys.flatMap((key, k) => [...key, values[k]!]) };
      },
    });
  },
  definition:
    "Every one of r first keys goes with every one of r second keys, and each of the r² combinations has a value of its own; they are shown in random order. Behind them every combination stands once more, at distances that follow a power law, and at its second key the value is due.",
  tests: "Whether a key can be made of two tokens: a model must combine neighbours before it looks anything up.",
  source: "`compositional_mqar` of the Zoology code base.",
});
