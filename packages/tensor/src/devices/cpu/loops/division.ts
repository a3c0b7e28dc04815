/** Which reductions are divided into parts, that threads take one by one. */
import type { LoopKernel } from "../../../ir/loop.js";
import { divideReduction, partForUnits } from "../../../ir/divide-reduction.js";
import { isRowKernel } from "../../../ir/row-stages.js";
import { product } from "../../../ir/simplify.js";
import type { LoopPlan } from "./plan.js";

/** Rows read side by side, and elements of a matrix that no cache near the processor holds. */
const STREAM_ROWS = 16;
const LARGE = 2 << 20;

/** A reduction in two kernels, if that is better: see {@link divideReduction}. */
export function dividedLoop(kernel: LoopKernel, plan: LoopPlan): readonly [LoopKernel, LoopKernel] | undefined {
  const length = isRowKernel(kernel) ? undefined : partLength(kernel, plan);
  return length === undefined ? undefined : divideReduction(kernel, length);
}

/**
 * How to divide a reduction. Across a large matrix, parts of few rows let memory be read in order; each
 * accumulator going down all rows would jump from page to page.
 */
function partLength(kernel: LoopKernel, plan: LoopPlan): number | undefined {
  const reduced = product(kernel.reduceExtents);
  if (plan.kind === "across" && reduced >= 16 * STREAM_ROWS && reduced * product(kernel.extents) >= LARGE)
    return STREAM_ROWS;
  return partForUnits(kernel, plan.units);
}
