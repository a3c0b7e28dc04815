import { defineTask, laptopBudget } from "./define-task.js";
import { generatedTask } from "./generated-task.js";

/** Settings of {@link copying}. */
export type CopyingConfig = {
  /** A: token 0 is blank, A-1 is the marker, the data tokens are 1 .. A-2. At least 3. */
  readonly vocabSize: number;
  /** M, the tokens to copy; at most half of L. */
  readonly dataTokens: number;
  /** Length: the data tokens, blanks, and M markers. */
  readonly L: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * Copying: remember the tokens at the beginning and say them again after a stretch of blanks.
 *
 *     inputs   3 7 1 . . . . .  > > >      . blank (0), > marker
 *     targets                   3 7 1      only the markers count
 *
 * Source: the copying task of the S4 code base (`src/dataloaders/datasets/copying.py`), after Arjovsky et al., 2016.
 */
export const copying = defineTask<CopyingConfig>({
  id: "copying",
  family: "copying",
  summary: "repeat the first tokens after a long stretch of blanks",
  defaults: { vocabSize: 10, dataTokens: 10, L: 120, evaluationSequences: 1000 },
  limits: { vocabSize: { least: 3 } },
  training: laptopBudget,
  scales: {
    smoke: { L: 12, dataTokens: 3, vocabSize: 6, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: { L: 3072, dataTokens: 1024, vocabSize: 64 },
  },
  make(config) {
    const { vocabSize, dataTokens, L } = config;
    if (2 * dataTokens > L)
      throw new RangeError(
        `copying: expected at most ${Math.floor(L / 2)} data tokens for L=${L}, which holds them and as many answers, got ${dataTokens}; raise L or lower dataTokens`,
      );
    return generatedTask({
      id: "copying",
      config,
      input: { vocabSize },
      output: { classes: vocabSize },
      answers: "positions",
      length: L,
      metric: "accuracy",
      chance: 1 / (vocabSize - 2),
      example(random, { inputs, targets, mask }) {
        const markers = L - dataTokens;
        for (let k = 0; k < dataTokens; k++) inputs[k] = targets[markers + k] = 1 + random.integer(vocabSize - 2);
        inputs.fill(vocabSize - 1, markers);
        mask.fill(1, markers);
      },
    });
  },
  definition:
    "Data tokens, uniform over the alphabet without blank and marker, stand at the beginning; blanks follow, then as many markers as data tokens, and at the k-th marker the k-th data token is due.",
  tests:
    "How many tokens a state holds, over what distance. All gaps are the same, so that a linear time-invariant model can solve it by a long convolution.",
  source:
    "`CopyingTrainDataset` of the S4 code base (10 tokens of 8 kinds over 100 blanks; `s4-copying`: 1024 tokens, alphabet 64); Arjovsky, Shah and Bengio, Unitary Evolution Recurrent Neural Networks (2016), section 4.1.",
  symbols: ({ vocabSize }) => [".", ...Array.from({ length: vocabSize - 2 }, (_, k) => String(k + 1)), ">"],
});
