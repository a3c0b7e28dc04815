import { defineTask, laptopBudget } from "./define-task.js";
import { generatedTask } from "./generated-task.js";

/** Settings of {@link associativeRecall}. */
export type AssociativeRecallConfig = {
  /** Tokens: keys, as many values, and the marker in front of the question. Odd, at least 5. */
  readonly vocabSize: number;
  /** Length: pairs, the marker and the key that is asked for; even. */
  readonly L: number;
  /** Training sequences in all; 0: always new ones. */
  readonly trainSequences: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * Associative recall: which value belongs to the key?
 *
 *     inputs   a 3 c 1 b 2 a 3  > c      keys a b c, values 1 2 3, > marker
 *     target                      1      at the last position
 *
 * Every key has a value, drawn anew for each sequence; pairs of uniform keys follow each other, and one of the keys that
 * occurred, uniform among them, is asked for.
 *
 * Source: `generate_assoc_recall` of the Safari code base with `allow_dot=False`; Fu et al., H3, 2022, section 3.1.
 */
export const associativeRecall = defineTask<AssociativeRecallConfig>({
  id: "associative-recall",
  family: "recall",
  summary: "say the value that stood behind a key",
  defaults: { vocabSize: 19, L: 42, trainSequences: 0, evaluationSequences: 500 },
  limits: { vocabSize: { least: 5 }, L: { least: 4 }, trainSequences: { least: 0 } },
  training: laptopBudget,
  scales: {
    smoke: { vocabSize: 7, L: 10, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: { trainSequences: 5000, dModel: 32, steps: 60_000, lr: 5e-4, weightDecay: 0.1 },
  },
  make(config) {
    const { vocabSize, L } = config;
    if (vocabSize % 2 === 0 || L % 2 === 1)
      throw new RangeError(
        `associative-recall: expected an odd vocabSize (keys, values and a marker) and an even L, got ${vocabSize} and ${L}; change one`,
      );
    const keys = (vocabSize - 1) / 2;
    return generatedTask({
      id: "associative-recall",
      config,
      input: { vocabSize },
      output: { classes: vocabSize },
      answers: "positions",
      length: L,
      metric: "accuracy",
      chance: 1 / keys,
      example(random, { inputs, targets, mask }) {
        const valueOf = Array.from({ length: keys }, () => keys + random.integer(keys));
        const present = new Set<number>();
        for (let t = 0; t < L - 2; t += 2) {
          const key = random.integer(keys);
          inputs[t] = key;
          inputs[t + 1] = valueOf[key]!;
          present.add(key);
        }
        const key = [...present][random.integer(present.size)]!;
        inputs[L - 2] = vocabSize - 1;
        inputs[L - 1] = key;
        targets[L - 1] = valueOf[key]!;
        mask[L - 1] = 1;
      },
    });
  },
  definition:
    "Keys and values alternate; every key has one value, drawn anew for each sequence. Behind a marker one of the keys that occurred stands again, and its value is due.",
  tests:
    "Binding by content: which of many stored values belongs to a key. Models with fixed convolutions cannot; H3's two shifts and a product can.",
  source:
    "`generate_assoc_recall` of the Safari code base (vocabulary 20, length 40; 5,000 training sequences, 2 layers of width 32); Dao, Fu, Saab, Thomas, Rudra and Ré, Hungry Hungry Hippos (2022), section 3.1.",
  published: [
    ["random", "25.0 %"],
    ["S4D", "86.0 %"],
    ["GSS", "78.0 %"],
    ["H3", "99.8 %"],
    ["attention", "100 %"],
  ].map(([model, value]) => ({
    model: model!,
    value: value!,
    source: "Dao et al., Hungry Hungry Hippos (2022), Table 2",
  })),
  symbols: ({ vocabSize }) => [
    ...Array.from({ length: (vocabSize - 1) / 2 }, (_, k) => String.fromCodePoint(97 + k)),
    ...Array.from({ length: (vocabSize - 1) / 2 }, (_, k) => String(k)),
    ">",
  ],
});
