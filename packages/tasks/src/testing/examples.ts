/** Batches as arrays, one example after another, for tests. */
import { key } from "@seqmix/tensor";
import type { Batch, Split, Task } from "../task.js";

/** One sequence of a batch and its answers. */
export interface Example {
  /** L tokens, or L vectors. */
  readonly inputs: readonly number[];
  /** A classes, or A vectors one behind the other. */
  readonly targets: readonly number[];
  readonly mask: readonly number[];
  readonly present?: readonly number[];
  readonly resets?: readonly number[];
}

/** The sequences of a batch. */
export async function examplesOf(batch: Batch): Promise<Example[]> {
  const rows = new Array<Record<string, number[]>>();
  for (const [name, x] of Object.entries(batch)) {
    const values = [...(await x.data())];
    const size = values.length / x.shape[0]!;
    for (let row = 0; row < x.shape[0]!; row++) (rows[row] ??= {})[name] = values.slice(row * size, (row + 1) * size);
  }
  return rows as unknown as Example[];
}

/** Random sequences of a task. */
export const draw = (task: Task, count: number, split: Split = "train", seed = 7): Promise<Example[]> =>
  examplesOf(task.batch(key(seed), split, count));

/** What is asked of a sequence of one answer a position: the positions that count, and what is right there. */
export const asked = ({ mask, targets }: Example): (readonly [position: number, answer: number])[] =>
  mask.flatMap((counts, t) => (counts === 1 ? [[t, targets[t]!] as const] : []));
