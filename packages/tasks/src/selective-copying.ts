import { foldIn, key as keyOf, tensor, type Key } from "@seqmix/tensor";
import { hostRandom } from "./host-random.js";
import type { Batch, Split, Task } from "./task.js";

/** Settings of {@link selectiveCopying}. */
export type SelectiveCopyingConfig = {
  /** A: token 0 is blank, A-1 is the marker, the data tokens are 1 .. A-2. At least 3. */
  readonly vocabSize: number;
  /** M, the tokens to copy; at most `positions`. */
  readonly dataTokens: number;
  /** Length of the first part, over which the data tokens are scattered. */
  readonly positions: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/** The defaults of {@link selectiveCopying}: 8 tokens of 14 scattered over 32 positions. */
export const selectiveCopyingDefaults: SelectiveCopyingConfig = {
  vocabSize: 16,
  dataTokens: 8,
  positions: 32,
  evaluationSequences: 1000,
};

/**
 * Selective copying: remember the tokens that matter, forget the blanks between them, and say them again in order.
 *
 *     tokens  . . 3 . 7 . . 1 . .  > > >      . blank (0), > marker
 *     labels                       3 7 1      only the markers count
 *
 * Data tokens are uniform over 1 .. A-2 and lie at sorted random positions of the first part; then come M markers,
 * where the answers are due. L = positions + M. Models whose dynamics do not depend on the input can time a lag but
 * not choose what to keep.
 *
 * Source: the copying task with `variable=True` of the S4 code base (`src/dataloaders/datasets/copying.py`); Gu and Dao,
 * Mamba, 2023, section 4.1.1.
 * @throws RangeError for settings that no sequence can meet.
 */
export function selectiveCopying(settings: Partial<SelectiveCopyingConfig> = {}): Task<SelectiveCopyingConfig> {
  const config: SelectiveCopyingConfig = { ...selectiveCopyingDefaults, ...settings };
  const { vocabSize, dataTokens, positions, evaluationSequences } = config;
  for (const [name, value] of Object.entries(config))
    if (!Number.isInteger(value) || value < 1)
      throw new RangeError(
        `selectiveCopying: expected a whole number of at least 1 for ${name}, got ${value}; change ${name}`,
      );
  if (vocabSize < 3)
    throw new RangeError(
      `selectiveCopying: expected vocabSize of at least 3 (a blank, a marker and one data token), got ${vocabSize}; raise it`,
    );
  if (dataTokens > positions)
    throw new RangeError(
      `selectiveCopying: expected at most ${positions} data tokens for ${positions} positions, got ${dataTokens}; raise positions or lower dataTokens`,
    );
  const length = positions + dataTokens;
  const marker = vocabSize - 1;

  const batch = (key: Key, split: Split, batchSize: number): Batch => {
    const random = hostRandom(foldIn(key, split));
    const tokens = new Int32Array(batchSize * length);
    const labels = new Int32Array(batchSize * length);
    const mask = new Float32Array(batchSize * length);
    for (let row = 0; row < batchSize; row++) {
      const start = row * length;
      const answers = start + positions;
      // Selection sampling (Knuth, The Art of Computer Programming 2, algorithm S): every sorted subset is equally likely.
      let placed = 0;
      for (let position = 0; position < positions && placed < dataTokens; position++) {
        if (random.integer(positions - position) >= dataTokens - placed) continue;
        const token = 1 + random.integer(vocabSize - 2);
        tokens[start + position] = token;
        labels[answers + placed++] = token;
      }
      tokens.fill(marker, answers, answers + dataTokens);
      mask.fill(1, answers, answers + dataTokens);
    }
    const shape = [batchSize, length];
    return { tokens: tensor(tokens, shape), labels: tensor(labels, shape), mask: tensor(mask, shape) };
  };

  return {
    id: "selective-copying",
    config,
    vocabSize,
    length,
    metric: "accuracy",
    chance: 1 / (vocabSize - 2),
    batch,
    *evaluation(split, batchSize) {
      if (split === "train")
        throw new RangeError(
          'selectiveCopying: expected "validation" or "test", got "train", whose sequences are always new; use batch',
        );
      // The same sequences for every model and seed; training keys are folds of other names.
      const source = foldIn(keyOf(0), "selective-copying evaluation");
      for (let first = 0; first < evaluationSequences; first += batchSize) {
        const all = batch(foldIn(source, first), split, batchSize);
        const real = Math.min(batchSize, evaluationSequences - first);
        if (real === batchSize) yield all;
        else
          yield {
            ...all,
            mask: tensor(
              Float32Array.from({ length: batchSize * length }, (_, i) =>
                Number(i < real * length && i % length >= positions),
              ),
              [batchSize, length],
            ),
          };
      }
    },
  };
}
