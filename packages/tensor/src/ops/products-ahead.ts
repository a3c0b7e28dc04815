/**
 * Products of a recurrence's step whose operands are there for all steps before the first one runs, as those of the states
 * kept for a gradient with the weights: one product of all steps, instead of a small one in each.
 */
import { sortCalls } from "../graph/calls.js";
import { callOp, type Call, type Tensor } from "../graph/tensor.js";
import { matmul } from "./matmul.js";

/** Elements of a product for each of its left operand, at most: what is kept of all steps is not to be much more than their states. */
const LARGEST = 4;

/** A product of a step [R M], and those of all steps. @internal */
export interface ProductAhead {
  readonly product: Tensor;
  /** Those of all steps [L R M], given the left operands of all steps and what stands for a constant. */
  all(stacked: (known: Tensor) => Tensor, constant: (x: Tensor) => Tensor): Tensor;
}

/**
 * @param results What a step puts out.
 * @param known Tensors of the step whose values of all steps are there.
 * @param constants What every step reads. @internal
 */
export function productsAhead(
  results: readonly Tensor[],
  known: readonly Tensor[],
  constants: readonly Tensor[],
): ProductAhead[] {
  const fixed = new Set(constants);
  const calls = sortCalls(results, (call) => (fixed.has(call.outputs[0]!) ? [] : call.inputs));
  for (const { inputs, outputs } of calls) if (inputs.every((x) => fixed.has(x))) for (const x of outputs) fixed.add(x);
  return calls.flatMap(({ op, attributes, inputs, outputs }): ProductAhead[] => {
    const [[left, right], [product]] = [inputs, outputs] as [[Tensor, Tensor], [Tensor]];
    if (op.name !== "matmul" || attributes !== undefined || product.shape.length !== 2) return [];
    if (!known.includes(left) || !fixed.has(right) || product.size > LARGEST * left.size) return [];
    return [{ product, all: (stacked, constant) => matmul(stacked(left), rebuilt([right], constant)[0]!) }];
  });
}

/**
 * Tensors with others in the place of some that they are computed from.
 * @param replacement What comes in the place of a tensor; the tensor itself where it stays. @internal
 */
export function rebuilt(roots: readonly Tensor[], replacement: (x: Tensor) => Tensor): Tensor[] {
  const done = new Map<Tensor, Tensor>();
  const of = (x: Tensor): Tensor => done.get(x) ?? replacement(x);
  const stays = ({ outputs }: Call): boolean => outputs.every((x) => of(x) === x);
  for (const call of sortCalls(roots, (each) => (stays(each) ? each.inputs : []))) {
    const inputs = call.inputs.map(of);
    if (!stays(call) || inputs.every((x, k) => x === call.inputs[k])) continue;
    callOp(call.op, inputs, call.attributes).forEach((x, k) => done.set(call.outputs[k]!, x));
  }
  return roots.map(of);
}
