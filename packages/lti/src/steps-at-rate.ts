/** Lengths at another sampling rate. */
import { assertNumber } from "@seqmix/tensor";

/** Steps at `rate` times the step size that take as long as `length` steps: length / rate, rounded, halves to the even number as in the published code. */
export function stepsAtRate(length: number, rate: number): number {
  assertNumber("stepsAtRate", "length", length, { from: 0, whole: true });
  assertNumber("stepsAtRate", "rate", rate, { above: 0 });
  const steps = length / rate;
  const below = Math.floor(steps);
  return steps - below === 0.5 ? below + (below % 2) : Math.round(steps);
}
