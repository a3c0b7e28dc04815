import { crossEntropy, meanSquaredError } from "@seqmix/nn";
import { broadcastTo, expandDims, type Tensor } from "@seqmix/tensor";
import type { Batch, Task } from "@seqmix/tasks";

/** What training lowers: the cross entropy of classes in nats, or the mean squared error of numbers, over the answers that count. */
export function lossOf(
  { output }: Pick<Task, "output">,
  answers: Tensor,
  { targets, mask }: Pick<Batch, "targets" | "mask">,
): Tensor {
  return "classes" in output
    ? crossEntropy(answers, targets, mask)
    : meanSquaredError(answers, targets, broadcastTo(expandDims(mask, 2), targets.shape));
}
