/** Loop kernels of a sequence that share buffers. */
import { nodesOf, product, roots, type LoopKernel } from "@seqmix/tensor/backend";

/** A kernel of a sequence; buffers are numbered through the whole sequence: the first one's inputs, its outputs, then intermediate results. */
export interface NumberedKernel {
  readonly kernel: LoopKernel;
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}

/** The inputs that a kernel reads. */
const inputsOf = (kernel: LoopKernel): ReadonlySet<number> =>
  new Set([...nodesOf(roots(kernel))].flatMap((node) => (node.op === "load" ? [node.input] : [])));

/** Elements of the largest tensor that a kernel reads or writes. */
export const largestOf = (kernel: LoopKernel): number =>
  Math.max(product(kernel.extents), ...[...inputsOf(kernel)].map((input) => kernel.inputs[input]!.size));

/** Whether a kernel binds no more than `limit` buffers, even if its reduction is divided, which adds one of partial results each. */
export function fitsBuffers(kernel: LoopKernel, limit: number): boolean {
  return inputsOf(kernel).size + kernel.outputs.length + kernel.reductions.length <= limit;
}
