/**
 * Learning rates as functions of the step tensor: the number of updates made so far, f32 of one element.
 * A rate that were a JavaScript number would make a new plan at every step.
 */
import { add, assertSettings, cast, cos, full, less, minimum, mul, where, type Tensor } from "@seqmix/tensor";
import { assertRange } from "./optimizer.js";

/** Learning rate at a step. Both are f32 [] tensors; the first update is made at step 0. */
export type Schedule = (step: Tensor) => Tensor;

/** The same rate at every step. */
export function constantSchedule(rate: number): Schedule {
  assertRange("constantSchedule", "rate", rate, 0);
  return (step) => full(step.shape, rate);
}

/** The rate grows in equal parts to `peak`, which the update at step `warmupSteps` - 1 has, and stays there. */
export function linearWarmup(options: { readonly peak: number; readonly warmupSteps: number }): Schedule {
  assertSettings("linearWarmup", options, ["peak", "warmupSteps"]);
  const { peak, warmupSteps } = options;
  assertRange("linearWarmup", "peak", peak, 0);
  assertSteps("warmupSteps", warmupSteps, 0);
  return (step) =>
    warmupSteps === 0 ? full(step.shape, peak) : mul(minimum(mul(add(step, 1), 1 / warmupSteps), 1), peak);
}

/**
 * {@link linearWarmup}, then half a cosine from `peak` at step `warmupSteps` down to `floor` at step `totalSteps`, and
 * `floor` from there on (Loshchilov and Hutter, SGDR, 2017, without restarts).
 */
export function cosineSchedule(options: {
  readonly peak: number;
  readonly warmupSteps?: number;
  readonly totalSteps: number;
  readonly floor?: number;
}): Schedule {
  assertSettings("cosineSchedule", options, ["peak", "warmupSteps", "totalSteps", "floor"]);
  const { peak, warmupSteps = 0, totalSteps, floor = 0 } = options;
  assertRange("cosineSchedule", "floor", floor, 0);
  assertSteps("totalSteps", totalSteps, 1);
  if (totalSteps <= warmupSteps)
    throw new RangeError(
      `cosineSchedule: expected more totalSteps than warmupSteps, got ${totalSteps} and ${warmupSteps}; shorten the warm-up`,
    );
  const warmup = linearWarmup({ peak, warmupSteps });
  return (step) => {
    const progress = minimum(mul(add(step, -warmupSteps), 1 / (totalSteps - warmupSteps)), 1);
    const cooling = add(mul(add(cos(mul(progress, Math.PI)), 1), (peak - floor) / 2), floor);
    return where(less(step, warmupSteps), warmup(step), cooling);
  };
}

/** The rate of an optimizer option at its step counter, i32 []. */
export const rateAt = (rate: number | Schedule, step: Tensor): Tensor =>
  typeof rate === "number" ? full([], rate) : rate(cast(step, "f32"));

function assertSteps(name: string, value: number, least: number): void {
  if (!Number.isInteger(value) || value < least)
    throw new RangeError(`schedule: expected ${name} to be an integer of at least ${least}, got ${value}`);
}
