/** Lengths at another sampling rate. */

/** Steps at `rate` times the step size that take as long as `length` steps: length / rate, rounded, halves to the even number as in the published code. */
export function stepsAtRate(length: number, rate: number): number {
  const steps = length / rate;
  const below = Math.floor(steps);
  return steps - below === 0.5 ? below + (below % 2) : Math.round(steps);
}
