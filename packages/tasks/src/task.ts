import type { Key, Tensor } from "@seqmix/tensor";

/** Part of a task's data: what is trained on, what choices are made by, and what is reported. */
export type Split = "train" | "validation" | "test";

/** Every split, in the order of a text. */
export const splits = ["train", "validation", "test"] as const satisfies readonly Split[];

/**
 * What a task is judged by: the fraction of right answers (higher is better), bits per character (lower is better), or the
 * normalised mean squared error: the squared error over the variance of the targets of the split (lower is better).
 */
export type TaskMetric = "accuracy" | "bitsPerChar" | "nmse";

/** Settings of a task by name. */
export type TaskSettings = Readonly<Record<string, number | string | boolean>>;

/** What a sequence is made of: tokens 0 .. vocabSize-1, or real vectors of `channels` numbers. */
export type TaskInput =
  | {
      /** Tokens V. */
      readonly vocabSize: number;
    }
  | {
      /** Numbers at a position. */
      readonly channels: number;
    };

/** What an answer is: one class out of 0 .. classes-1, or `numbers` real numbers. */
export type TaskOutput =
  | {
      /** Classes of an answer. */
      readonly classes: number;
    }
  | {
      /** Real numbers of an answer. */
      readonly numbers: number;
    };

/**
 * Sequences and the right answers. Host tensors: nothing runs to make them.
 * A is L for tasks that ask at every position, else the answers to a sequence as a whole.
 */
export type Batch = {
  /** Tokens, i32 [B L], or real vectors, f32 [B L channels]. */
  readonly inputs: Tensor;
  /** The right answers: classes, i32 [B A], or numbers, f32 [B A numbers]; 0 where the mask is 0. */
  readonly targets: Tensor;
  /** 1 where the answer counts for loss and metric, else 0; f32 [B A]. */
  readonly mask: Tensor;
  /** Where sequences are padded behind their end: 1 at the positions that are there, f32 [B L]. */
  readonly present?: Tensor;
  /** Where several sequences are packed into one: 1 at the first position of each, i32 [B L]. */
  readonly resets?: Tensor;
};

/** A task: where sequences come from and what counts as success. */
export interface Task<C extends TaskSettings = TaskSettings> {
  /** Name in trials and reports, e.g. "selective-copying". */
  readonly id: string;
  /** The complete settings. */
  readonly config: C;
  /** What a sequence is made of. */
  readonly input: TaskInput;
  /** What an answer is. */
  readonly output: TaskOutput;
  /** "positions": one answer at each position (of which the mask tells those that count); a number: so many of the whole sequence. */
  readonly answers: "positions" | number;
  /** L, the positions of a sequence. */
  readonly length: number;
  /** The metric's name. */
  readonly metric: TaskMetric;
  /** The metric of a guess that has not seen the sequence: uniform among the possible answers, or the mean of the targets. */
  readonly chance: number;
  /** Random sequences of a split: the same key gives the same batch, always and everywhere. */
  batch(key: Key, split: Split, batchSize: number): Batch;
  /**
   * The fixed sequences a split is measured by, the same for every batch size, in batches of one size; the last one is filled
   * up with sequences whose mask is 0. Tasks whose training sequences are always new have none for "train".
   */
  evaluation(split: Split, batchSize: number): Iterable<Batch>;
  /** The same task made harder, by name (e.g. "L=512"): what a trained model is asked as well, to see how far it carries. */
  readonly beyond?: Readonly<Record<string, Task>>;
}
