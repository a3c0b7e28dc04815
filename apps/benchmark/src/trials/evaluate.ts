import { setImmediate } from "node:timers/promises";
import { forwardLanguageModel, type LanguageModelConfig, type LanguageModelParameters } from "@seqmix/mixer";
import { accuracy, bitsPerChar, crossEntropy } from "@seqmix/nn";
import { dispose, mul, realize, sum, type Device } from "@seqmix/tensor";
import type { Split, Task } from "@seqmix/tasks";

/** The task's metric over all sequences of a split, each position that counts weighing the same. */
export async function evaluate(
  task: Task,
  split: Split,
  model: LanguageModelConfig,
  params: LanguageModelParameters,
  batchSize: number,
  device: Device,
): Promise<number> {
  let total = 0;
  let count = 0;
  for (const batch of task.evaluation(split, batchSize)) {
    const [logits] = forwardLanguageModel(model, params, batch.tokens);
    const measure = task.metric === "accuracy" ? accuracy : crossEntropy;
    const weight = sum(batch.mask);
    const result = { total: mul(measure(logits, batch.labels, batch.mask), weight), weight };
    await realize(result, { device });
    const [part, positions] = await Promise.all([result.total.item(), result.weight.item()]);
    total += part;
    count += positions;
    dispose(result);
    dispose({ ...batch });
    // As in training: signals and progress bars get their turn.
    await setImmediate();
  }
  return task.metric === "accuracy" ? total / count : bitsPerChar(total / count);
}
