import { defineTask, laptopBudget } from "./define-task.js";
import { doubledLengths } from "./doubled-lengths.js";
import { generatedTask } from "./generated-task.js";
import type { Task } from "./task.js";

/** Settings of {@link induction}. */
export type InductionConfig = {
  /** Tokens, of which the last is the special one. At least 3. */
  readonly vocabSize: number;
  /** Length; at least 3. */
  readonly L: number;
  /** A trained model is also asked at twice, four times, .. the length up to this one; 0: only at L. */
  readonly longest: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * Induction heads: what followed the special token when it was seen before?
 *
 *     inputs   4 9 2 > 7 5 1 0 8 >      > special (V-1)
 *     target                     7      at the last position
 *
 * All other tokens are uniform; the special token stands at a uniform place and at the end.
 *
 * Source: Gu and Dao, Mamba, 2023, section 4.1.2; `generate_induction_head` of the Safari code base.
 */
export const induction = defineTask<InductionConfig>({
  id: "induction",
  family: "recall",
  summary: "say what followed the special token when it was seen before, at lengths never trained on",
  defaults: { vocabSize: 16, L: 64, longest: 1024, evaluationSequences: 256 },
  limits: { vocabSize: { least: 3 }, L: { least: 3 }, longest: { least: 0 } },
  training: { ...laptopBudget, steps: 3000, batch: 16, lr: 2e-3 },
  scales: {
    smoke: { vocabSize: 6, L: 8, longest: 32, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: { L: 256, longest: 2 ** 20, steps: 204_800, batch: 8, lr: 1e-3, warmup: 0, weightDecay: 0 },
  },
  make: inductionTask,
  definition:
    "A sequence of uniform tokens holds one special token at a uniform place, and ends with it again; the token that followed it the first time is due.",
  tests:
    "In-context copying by content, and whether what was learned at one length carries to others: the state must keep one token for as long as it takes, and ignore everything else.",
  source:
    "Gu and Dao, Mamba (2023), section 4.1.2 and appendix E.1: vocabulary 16, trained at length 256, tested at 64 to 1,048,576; Dao et al., H3 (2022), section 3.1, for length 30.",
  published: [
    ["MHA, absolute positions", "58.6 % at 512, 26.6 % at 1,024, 7.8 % at 16,384"],
    ["MHA, RoPE", "83.6 % at 512, 31.3 % at 1,024, 5.5 % at 16,384"],
    ["MHA, xPos", "99.6 % at 512, 67.6 % at 1,024, 7.8 % at 16,384"],
    ["H3", "80.9 % at 512, 39.5 % at 1,024, 7.4 % at 1,048,576"],
    ["Hyena", "100 % at 512, 44.1 % at 1,024, 9.8 % at 1,048,576"],
    ["Mamba", "100 % from 64 to 1,048,576"],
  ].map(([model, value]) => ({
    model: model!,
    value: value!,
    setting: "trained at 256; 2 layers",
    source: "Gu and Dao, Mamba (2023), Table 11",
  })),
  symbols: ({ vocabSize }) => [...Array.from({ length: vocabSize - 1 }, (_, k) => String(k)), ">"],
});

function inductionTask(config: InductionConfig): Task<InductionConfig> {
  const { vocabSize, L } = config;
  const special = vocabSize - 1;
  const beyond = doubledLengths(config, inductionTask);
  return {
    ...generatedTask({
      id: "induction",
      config,
      input: { vocabSize },
      output: { classes: vocabSize },
      answers: "positions",
      length: L,
      metric: "accuracy",
      chance: 1 / special,
      example(random, { inputs, targets, mask }) {
        for (let t = 0; t < L - 1; t++) inputs[t] = random.integer(special);
        const place = random.integer(L - 2);
        inputs[place] = inputs[L - 1] = special;
        targets[L - 1] = inputs[place + 1]!;
        mask[L - 1] = 1;
      },
    }),
    ...(beyond && { beyond }),
  };
}
