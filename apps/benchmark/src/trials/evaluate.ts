import { accuracy, bitsPerChar } from "@seqmix/nn";
import {
  compile,
  DeviceLostError,
  dispose,
  mul,
  square,
  sum,
  type Device,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import type { Batch, Split, Task } from "@seqmix/tasks";
import { lossOf } from "./loss.js";
import type { Model } from "./model.js";

/** Sums over a batch of which a metric is made; `weight` counts answers. */
type Sums = {
  readonly weight: Tensor;
  /** Right answers, nats, or squared errors. */
  readonly total: Tensor;
  /** Of numbers: targets, and their squares. */
  readonly targets?: Tensor;
  readonly squares?: Tensor;
};

/** Measuring was asked to stop; what it had measured is nothing yet. */
export class MeasuringStopped extends Error {
  override readonly name = "MeasuringStopped";
}

const never = (): boolean => false;

/**
 * The task's metric over all sequences of a split, each answer that counts weighing the same.
 * @returns A function that throws MeasuringStopped after the batch in which `stopAsked` says so.
 */
export function evaluation(
  task: Task,
  model: Model,
  batchSize: number,
  device: Device,
): (split: Split, params: Tree, stopAsked?: () => boolean) => Promise<number> {
  const measureBatch = compile(
    (params: Tree, batch: Batch): Sums => sumsOf(task, model.answers(params, batch), batch),
    {
      device,
    },
  );
  return async (split, params, stopAsked = never) => {
    const sums: Record<keyof Sums, number> = { weight: 0, total: 0, targets: 0, squares: 0 };
    for (const batch of task.evaluation(split, batchSize)) {
      const result = await measureBatch(params, batch);
      for (const name of Object.keys(result) as (keyof Sums)[]) sums[name] += await result[name]!.item();
      dispose(result);
      dispose(batch);
      if (stopAsked()) throw new MeasuringStopped("stopped");
    }
    const mean = sums.total / sums.weight;
    switch (task.metric) {
      case "accuracy":
        return mean;
      case "bitsPerChar":
        return bitsPerChar(mean);
      case "nmse":
        return mean / (sums.squares / sums.weight - (sums.targets / sums.weight) ** 2);
    }
  };
}

function sumsOf({ metric, output }: Task, answers: Tensor, { targets, mask }: Batch): Sums {
  const weight = sum(mask);
  if (metric === "accuracy") return { weight, total: mul(accuracy(answers, targets, mask), weight) };
  const total = mul(lossOf({ output }, answers, { targets, mask }), weight);
  if (metric === "bitsPerChar") return { weight, total };
  // Targets outside the mask are 0; each answer weighs 1, whatever its numbers.
  const perAnswer = (values: Tensor): Tensor => mul(sum(values), 1 / targets.shape[2]!);
  return { weight, total, targets: perAnswer(targets), squares: perAnswer(square(targets)) };
}

/**
 * The metric of a trained model on the test split of each harder form of its task, by its name. Batches are smaller where
 * sequences are longer. A form that the model cannot take (longer than its positions, or than memory) is left out.
 */
export async function evaluateBeyond(
  { beyond = {}, length }: Task,
  model: Model,
  batchSize: number,
  device: Device,
  params: Tree,
  stopAsked: () => boolean = never,
): Promise<Readonly<Record<string, number>>> {
  const found: Record<string, number> = {};
  for (const [name, task] of Object.entries(beyond)) {
    const batch = Math.max(1, Math.floor((batchSize * length) / task.length));
    try {
      const value = await evaluation(task, model, batch, device)("test", params, stopAsked);
      if (Number.isFinite(value)) found[name] = value;
    } catch (error) {
      if (error instanceof DeviceLostError || error instanceof MeasuringStopped) throw error;
    }
  }
  return found;
}
