import { defineTask, laptopBudget } from "./define-task.js";
import { generatedTask } from "./generated-task.js";
import { madPaper, madSource } from "./mad-recall.js";

/** Settings of {@link madSelectiveCopying}. */
export type MadSelectiveCopyingConfig = {
  /** V: the last token asks, the one before is blank, the others are data. At least 3. */
  readonly vocabSize: number;
  /** M, the tokens to copy. */
  readonly dataTokens: number;
  /** Length; more than 2M + 1. */
  readonly L: number;
  /** Training sequences in all; 0: always new ones. */
  readonly trainSequences: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * Selective copying of MAD: data tokens among blanks, then a token that asks, then blanks at which the data is due in order.
 *
 *     inputs   . 3 . . 7 1  > . . .      . blank (V-2), > asks (V-1)
 *     targets                 3 7 1
 *
 * Blanks stand in front of data tokens, each in front of a uniform one; none follows the last, as in the source.
 */
export const madSelectiveCopying = defineTask<MadSelectiveCopyingConfig>({
  id: "mad-selective-copying",
  family: "copying",
  summary: "MAD: repeat the data tokens that stood among blanks",
  defaults: { vocabSize: 16, dataTokens: 16, L: 256, trainSequences: 0, evaluationSequences: 256 },
  limits: { vocabSize: { least: 3 }, trainSequences: { least: 0 } },
  training: { ...laptopBudget, lr: 3e-3 },
  scales: {
    smoke: { vocabSize: 6, dataTokens: 3, L: 16, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: madPaper,
  },
  make(config) {
    const { vocabSize, dataTokens, L } = config;
    const blanks = L - 2 * dataTokens - 1;
    if (blanks < 1)
      throw new RangeError(
        `mad-selective-copying: expected L of at least ${2 * dataTokens + 2} for ${dataTokens} data tokens, got ${L}; raise it`,
      );
    const [blank, ask] = [vocabSize - 2, vocabSize - 1];
    return generatedTask({
      id: "mad-selective-copying",
      config,
      input: { vocabSize },
      output: { classes: vocabSize },
      answers: "positions",
      length: L,
      metric: "accuracy",
      chance: 1 / (vocabSize - 2),
      example(random, { inputs, targets, mask }) {
        const before = new Array<number>(dataTokens).fill(0);
        for (let k = 0; k < blanks; k++) before[random.integer(dataTokens)]!++;
        inputs.fill(blank);
        let t = 0;
        for (let k = 0; k < dataTokens; k++) {
          t += before[k]!;
          inputs[t++] = targets[L - dataTokens + k] = random.integer(vocabSize - 2);
        }
        inputs[t] = ask;
        mask.fill(1, L - dataTokens);
      },
    });
  },
  definition:
    "Data tokens with random numbers of blanks between them, a token that asks, and as many blanks as data tokens; at those the data is due in order.",
  tests: "Whether a model chooses by content what goes into its state, at a density of one in sixteen.",
  source: `${madSource}: vocabulary 16, length 256, 16 tokens; changed to vocabularies of 32 to 128, lengths of 512 and 1024, and 32 to 96 tokens. A sequence of 96 does not fit into 256 there either; its length is 512.`,
});
