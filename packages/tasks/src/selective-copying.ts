import { defineTask } from "./define-task.js";
import { generatedTask } from "./generated-task.js";
import type { Task, TaskSettings } from "./task.js";

/** Settings of {@link selectiveCopying}. */
export type SelectiveCopyingConfig = {
  /** A: token 0 is blank, A-1 is the marker, the data tokens are 1 .. A-2. At least 3. */
  readonly vocabSize: number;
  /** M, the tokens to copy; at most half of L. */
  readonly dataTokens: number;
  /** Length: the positions over which the data tokens are scattered (`positions` sets it by those), and M markers. */
  readonly L: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

const defaults: SelectiveCopyingConfig = { vocabSize: 16, dataTokens: 8, L: 40, evaluationSequences: 1000 };

/**
 * Selective copying: remember the tokens that matter, forget the blanks between them, and say them again in order.
 *
 *     inputs   . . 3 . 7 . . 1 . .  > > >      . blank (0), > marker
 *     targets                       3 7 1      only the markers count
 *
 * Data tokens are uniform over 1 .. A-2 and lie at sorted random positions of the first part; then come M markers,
 * where the answers are due. Models whose dynamics do not depend on the input can time a lag but not choose what to keep.
 *
 * Source: the copying task with `variable=True` of the S4 code base (`src/dataloaders/datasets/copying.py`); Gu and Dao,
 * Mamba, 2023, section 4.1.1.
 */
export const selectiveCopying = defineTask<SelectiveCopyingConfig, "positions">({
  id: "selective-copying",
  family: "copying",
  summary: "remember data tokens scattered among blanks, and repeat them in order",
  defaults,
  limits: { vocabSize: { least: 3 } },
  training: { steps: 1500, batch: 32, lr: 5e-3, warmup: 50, clip: 1, weightDecay: 0.01 },
  scales: {
    smoke: { L: 12, dataTokens: 3, vocabSize: 6, steps: 60, warmup: 5 },
    paper: { L: 4096 + 16, dataTokens: 16, steps: 400_000, batch: 64, lr: 1e-4, warmup: 0 },
  },
  aliases: { names: ["positions"], resolve: lengthOfPositions },
  make: selectiveCopyingTask,
  definition:
    "Data tokens, uniform over the alphabet without blank and marker, lie at sorted random positions among blanks; behind them stand as many markers, and at the k-th marker the k-th data token is due.",
  tests:
    "Whether a model chooses by content what goes into its state: the gaps between data tokens are random, so that dynamics that do not depend on the input cannot time them.",
  source:
    "`CopyingTrainDataset` with `variable=True` of the S4 code base; Gu and Dao, Mamba (2023), section 4.1.1 (length 4096, 16 data tokens, vocabulary 16).",
  published: [
    ["S4 without gate", "18.3 %"],
    ["S6 without gate", "97.0 %"],
    ["H3", "57.0 %"],
    ["Hyena in H3's block", "30.1 %"],
    ["S6 in H3's block", "99.7 %"],
    ["S4 in Mamba's block", "56.4 %"],
    ["Hyena in Mamba's block", "28.4 %"],
    ["Mamba", "99.8 %"],
  ].map(([model, value]) => ({
    model: model!,
    value: value!,
    setting: "L 4096, 2 layers, D 64, 400,000 steps",
    source: "Gu and Dao, Mamba (2023), Table 1",
  })),
  symbols: ({ vocabSize }) => [".", ...Array.from({ length: vocabSize - 2 }, (_, k) => String(k + 1)), ">"],
});

function selectiveCopyingTask(config: SelectiveCopyingConfig): Task<SelectiveCopyingConfig> {
  const { vocabSize, dataTokens, L } = config;
  const positions = L - dataTokens;
  if (positions < 1)
    throw new RangeError(
      `selective-copying: expected at most ${Math.floor(L / 2)} data tokens for L=${L}, which holds their positions and as many answers, got ${dataTokens}; raise L or positions, or lower dataTokens`,
    );
  if (dataTokens > positions)
    throw new RangeError(
      `selective-copying: expected at most ${positions} data tokens for ${positions} positions (L=${L}), got ${dataTokens}; raise L or positions, or lower dataTokens`,
    );
  return generatedTask({
    id: "selective-copying",
    config,
    input: { vocabSize },
    output: { classes: vocabSize },
    answers: "positions",
    length: L,
    metric: "accuracy",
    chance: 1 / (vocabSize - 2),
    example(random, { inputs, targets, mask }) {
      // Selection sampling (Knuth, The Art of Computer Programming 2, algorithm S): every sorted subset is equally likely.
      let placed = 0;
      for (let position = 0; position < positions && placed < dataTokens; position++) {
        if (random.integer(positions - position) >= dataTokens - placed) continue;
        const token = 1 + random.integer(vocabSize - 2);
        inputs[position] = token;
        targets[positions + placed++] = token;
      }
      inputs.fill(vocabSize - 1, positions);
      mask.fill(1, positions);
    },
  });
}

/** `positions` as L. @throws RangeError if both are given and do not fit. */
function lengthOfPositions(given: TaskSettings): TaskSettings {
  const { positions, ...rest } = given;
  if (positions === undefined) return given;
  const dataTokens = Number(given["dataTokens"] ?? defaults.dataTokens);
  const L = Number(positions) + dataTokens;
  if (rest["L"] !== undefined && rest["L"] !== L)
    throw new RangeError(
      `positions=${positions} with ${dataTokens} data tokens makes L=${L}, but L=${rest["L"]} was given; leave one out`,
    );
  return { ...rest, L };
}
