/**
 * Sums over the steps of a recurrence of products that every step has: one product of all steps. The cotangent of a weight is
 * such a sum, and larger than its factors wherever a step has few rows.
 */
import { callOf } from "../graph/calls.js";
import type { Tensor } from "../graph/tensor.js";
import { matmul } from "./matmul.js";
import { reshape, transpose, type PermuteAttributes } from "./movement.js";
import { sum, type ReduceAttributes } from "./reduce.js";

/** Cotangents that the pullback of a step gives, before they are put together over the steps. @internal */
export interface PulledStep {
  readonly dState: readonly Tensor[];
  readonly dInputs: readonly Tensor[];
  readonly dConstants: readonly (Tensor | undefined)[];
  /** Tensors of the step whose values of all steps are there. */
  readonly known: readonly Tensor[];
}

/**
 * By constant, the sum of its cotangents over all steps, given those of `known` and of `kept` of all steps [L ...]; undefined
 * where it has to be carried from step to step. `kept` is what a step has to put out for that. @internal
 */
export function sumsOverSteps({ dConstants, known }: PulledStep): {
  readonly sums: readonly (((stacked: readonly Tensor[]) => Tensor) | undefined)[];
  readonly kept: readonly Tensor[];
} {
  const all = [...known];
  const found = dConstants.map((x) => x && sumOverSteps(x, () => false));
  for (const factor of found.flatMap((each) => each?.factors ?? [])) if (!all.includes(factor)) all.push(factor);
  const sums = dConstants.map((x, k) => {
    const how = found[k] ?? (x && sumOverSteps(x, (factor) => all.includes(factor)));
    return how && ((stacked: readonly Tensor[]) => how.total((factor) => stacked[all.indexOf(factor)]!));
  });
  return { sums, kept: all.slice(known.length) };
}

/** A sum over steps of what a step computes from some of its tensors. */
interface SumOverSteps {
  readonly factors: readonly Tensor[];
  /** The sum, given the factors of all steps [L ...]. */
  total(stacked: (factor: Tensor) => Tensor): Tensor;
}

/**
 * How the sum over steps of `x` is one product of all steps; undefined where it is none, or where its factors are larger.
 * @param isKept Whether all steps' values of a tensor are there anyway.
 */
function sumOverSteps(x: Tensor, isKept: (factor: Tensor) => boolean): SumOverSteps | undefined {
  const call = callOf(x);
  const name = call?.op.name;
  if (!call) return undefined;
  const [first, second] = call.inputs as [Tensor, Tensor | undefined];
  if (name === "permute" || name === "reshape") {
    const inner = sumOverSteps(first, isKept);
    return (
      inner && {
        factors: inner.factors,
        total: (stacked) =>
          name === "permute"
            ? transpose(inner.total(stacked), (call.attributes as PermuteAttributes).axes)
            : reshape(inner.total(stacked), x.shape),
      }
    );
  }
  if (name === "matmul" && call.attributes === undefined && x.shape.length === 2) return productOf(x, first, second!);
  if (name === "sum" && isKept(first)) {
    const { axes } = call.attributes as ReduceAttributes;
    return {
      factors: [first],
      total: (stacked) => sum(stacked(first), [0, ...axes.map((axis) => axis + 1)]),
    };
  }
  return undefined;
}

/** left [N R] times right [R M], of which all steps have L R rows. */
function productOf(x: Tensor, left: Tensor, right: Tensor): SumOverSteps | undefined {
  const leftRows = transposed(left);
  if (leftRows.size + right.size >= x.size) return undefined;
  const rows = (all: Tensor): Tensor => reshape(all, [all.shape[0]! * all.shape[1]!, all.shape[2]!]);
  return {
    factors: [leftRows, right],
    total: (stacked) => matmul(transpose(rows(stacked(leftRows))), rows(stacked(right))),
  };
}

/** The transposed matrix: what `x` is the transpose of, if it is one. */
function transposed(x: Tensor): Tensor {
  const call = callOf(x);
  return call?.op.name === "permute" ? call.inputs[0]! : transpose(x);
}
