import { forwardLanguageModel, type LanguageModelConfig, type LanguageModelParameters } from "@seqmix/mixer";
import { accuracy, bitsPerChar, crossEntropy } from "@seqmix/nn";
import { compile, dispose, mul, sum, type Device, type Tensor } from "@seqmix/tensor";
import type { Batch, Split, Task } from "@seqmix/tasks";

/** The task's metric over all sequences of a split, each position that counts weighing the same. */
export function evaluation(
  task: Task,
  model: LanguageModelConfig,
  batchSize: number,
  device: Device,
): (split: Split, params: LanguageModelParameters) => Promise<number> {
  const measure = task.metric === "accuracy" ? accuracy : crossEntropy;
  const measureBatch = compile(
    (params: LanguageModelParameters, { tokens, labels, mask }: Record<keyof Batch, Tensor>) => {
      const [logits] = forwardLanguageModel(model, params, tokens);
      const weight = sum(mask);
      return { total: mul(measure(logits, labels, mask), weight), weight };
    },
    { device },
  );
  return async (split, params) => {
    let total = 0;
    let count = 0;
    for (const batch of task.evaluation(split, batchSize)) {
      const result = await measureBatch(params, { ...batch });
      const [part, positions] = await Promise.all([result.total.item(), result.weight.item()]);
      total += part;
      count += positions;
      dispose(result);
      dispose({ ...batch });
    }
    return task.metric === "accuracy" ? total / count : bitsPerChar(total / count);
  };
}
