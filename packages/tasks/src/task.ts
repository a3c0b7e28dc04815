import type { Key, Tensor } from "@seqmix/tensor";

/** Part of a task's data: what is trained on, what choices are made by, and what is reported. */
export type Split = "train" | "validation" | "test";

/** Every split, in the order of a text. */
export const splits = ["train", "validation", "test"] as const satisfies readonly Split[];

/** What a task is judged by: the fraction of right tokens (higher is better), or bits per character (lower is better). */
export type TaskMetric = "accuracy" | "bitsPerChar";

/** Sequences with the token that is right at each position. Host tensors: nothing runs to make them. */
export interface Batch {
  /** i32 [B L] */
  readonly tokens: Tensor;
  /** The right answers, i32 [B L]; 0 where the mask is 0. */
  readonly labels: Tensor;
  /** 1 where the position counts for loss and metric, else 0; f32 [B L]. */
  readonly mask: Tensor;
}

/** A task: where sequences come from and what counts as success. */
export interface Task<C extends Readonly<Record<string, number>> = Readonly<Record<string, number>>> {
  /** Name in trials and reports, e.g. "selective-copying". */
  readonly id: string;
  /** The complete settings. */
  readonly config: C;
  /** Tokens are 0 .. vocabSize-1. */
  readonly vocabSize: number;
  /** L, the tokens of a sequence. */
  readonly length: number;
  /** The metric's name. */
  readonly metric: TaskMetric;
  /** The metric of a uniform guess among the possible answers. */
  readonly chance: number;
  /** Random sequences of a split: the same key gives the same batch, always and everywhere. */
  batch(key: Key, split: Split, batchSize: number): Batch;
  /**
   * The fixed sequences a split is measured by, in batches of one size; the last one is filled up with sequences whose mask is 0.
   * Synthetic tasks have none for "train": their training sequences are always new.
   */
  evaluation(split: Split, batchSize: number): Iterable<Batch>;
}
