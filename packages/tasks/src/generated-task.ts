import { foldIn, key as keyOf, tensor, type Key, type Tensor } from "@seqmix/tensor";
import { hostRandom, type HostRandom } from "./host-random.js";
import type { Batch, Split, Task, TaskSettings } from "./task.js";

/** Values of one example to fill in; zeros at first. */
export interface ExampleValues {
  /** L tokens, or L times `channels` numbers. */
  readonly inputs: Int32Array | Float32Array;
  /** A classes, or A times `numbers` numbers. */
  readonly targets: Int32Array | Float32Array;
  /** A ones and zeros. */
  readonly mask: Float32Array;
  /** Of tasks with `padded`: L ones and zeros. */
  readonly present: Float32Array;
  /** Of tasks with `packed`: L ones and zeros. */
  readonly resets: Int32Array;
}

/** A task whose sequences are made of random numbers: everything of a {@link Task} but its batches, and how one example is made. */
export interface Generator<C extends TaskSettings> extends Omit<Task<C>, "batch" | "evaluation" | "config"> {
  /** The complete settings. */
  readonly config: C & {
    /** Sequences that a split is measured by. */
    readonly evaluationSequences: number;
    /** Training sequences in all; 0 or absent: they are always new. */
    readonly trainSequences?: number;
  };
  /** Sequences are shorter than L and padded: the example fills `present`. */
  readonly padded?: boolean;
  /** Sequences are packed into one: the example fills `resets`. */
  readonly packed?: boolean;
  /** Makes one example, out of the random numbers alone. */
  example(random: HostRandom, values: ExampleValues, split: Split): void;
}

/**
 * The task of a generator. A training batch draws one example after another from one stream of random numbers; where the
 * training set is finite, it draws which of its sequences to make. Those and the sequences of an evaluation come each from a
 * key of its own, whatever the size of the batches.
 */
export function generatedTask<C extends TaskSettings>(generator: Generator<C>): Task<C> {
  const { example, padded: _, packed: __, ...task } = generator;
  const { evaluationSequences, trainSequences = 0 } = generator.config;
  const source = foldIn(keyOf(0), `${generator.id} evaluation`);
  const fixed = (split: Split, index: number): HostRandom => hostRandom(foldIn(foldIn(source, split), index));
  return {
    ...task,
    batch(key: Key, split: Split, batchSize: number): Batch {
      const random = hostRandom(foldIn(key, split));
      const finite = split === "train" && trainSequences > 0;
      return examples(generator, batchSize, (values) =>
        example(finite ? fixed(split, random.integer(trainSequences)) : random, values, split),
      );
    },
    *evaluation(split, batchSize) {
      const count = split === "train" ? trainSequences : evaluationSequences;
      if (count === 0)
        throw new RangeError(
          `${generator.id}: expected "validation" or "test", got "train", whose sequences are always new; use batch`,
        );
      for (let first = 0; first < count; first += batchSize)
        yield examples(generator, batchSize, (values, row) => {
          example(fixed(split, first + row), values, split);
          if (first + row >= count) {
            values.mask.fill(0);
            values.targets.fill(0);
          }
        });
    },
  };
}

/** A task whose sequences are given: everything of a {@link Task} but its batches, and how one of them is written. */
export interface Collection<C extends TaskSettings> extends Omit<Generator<C>, "example" | "config"> {
  /** The complete settings. */
  readonly config: C;
  /** Sequences of each split. */
  readonly sizes: Readonly<Record<Split, number>>;
  /** Writes one sequence of a split. */
  example(index: number, values: ExampleValues, split: Split): void;
}

/** The task of a collection: a training batch draws sequences of its split, an evaluation goes through all of them. */
export function collectionTask<C extends TaskSettings>(collection: Collection<C>): Task<C> {
  const { example, sizes, padded: _, packed: __, ...task } = collection;
  return {
    ...task,
    batch(key, split, batchSize) {
      const random = hostRandom(foldIn(key, split));
      return examples(collection, batchSize, (values) => example(random.integer(sizes[split]), values, split));
    },
    *evaluation(split, batchSize) {
      for (let first = 0; first < sizes[split]; first += batchSize)
        yield examples(collection, batchSize, (values, row) => {
          const index = first + row;
          example(index % sizes[split], values, split);
          if (index >= sizes[split]) {
            values.mask.fill(0);
            values.targets.fill(0);
          }
        });
    },
  };
}

/** A batch whose rows `fill` makes, one after another. */
function examples(
  { input, output, answers, length, padded, packed }: Omit<Generator<TaskSettings>, "example" | "config">,
  batchSize: number,
  fill: (values: ExampleValues, row: number) => void,
): Batch {
  const A = answers === "positions" ? length : answers;
  const inputs = field(
    "vocabSize" in input ? "i32" : "f32",
    batchSize,
    length,
    "channels" in input ? input.channels : 0,
  );
  const targets = field("classes" in output ? "i32" : "f32", batchSize, A, "numbers" in output ? output.numbers : 0);
  const mask = field("f32", batchSize, A);
  const present = field("f32", padded ? batchSize : 0, length);
  const resets = field("i32", packed ? batchSize : 0, length);
  for (let row = 0; row < batchSize; row++)
    fill(
      {
        inputs: inputs.row(row),
        targets: targets.row(row),
        mask: mask.row(row),
        present: present.row(row),
        resets: resets.row(row),
      },
      row,
    );
  return {
    inputs: inputs.tensor(),
    targets: targets.tensor(),
    mask: mask.tensor(),
    ...(padded && { present: present.tensor() }),
    ...(packed && { resets: resets.tensor() }),
  };
}

const arrayTypes = { i32: Int32Array, f32: Float32Array } as const;

/** One array of a batch, [rows columns] or [rows columns width], by rows. */
function field<D extends keyof typeof arrayTypes>(
  dtype: D,
  rows: number,
  columns: number,
  width = 0,
): { row(index: number): InstanceType<(typeof arrayTypes)[D]>; tensor(): Tensor } {
  const size = columns * (width || 1);
  const values = new arrayTypes[dtype](rows * size);
  return {
    row: (index) => values.subarray(index * size, (index + 1) * size) as InstanceType<(typeof arrayTypes)[D]>,
    tensor: () => tensor(values, width === 0 ? [rows, columns] : [rows, columns, width]),
  };
}
