/**
 * Linear time-invariant state-space models: one system as a continuous equation, a recurrence and a convolution.
 *
 * @packageDocumentation
 */
export {
  denseStateSpace,
  diagonalStateSpace,
  dplrStateSpace,
  type StateSpace,
  type StateSpaceRule,
} from "./state-space.js";
export { convolvePacked, type PackedOptions } from "./packed.js";
export { convolve, recur, withSkip, type ConvolveOptions, type LtiRun, type LtiSystem } from "./system.js";
export {
  diagonalKernel,
  diagonalRecurrence,
  diagonalSystem,
  dssKernel,
  type DiagonalOptions,
  type DiagonalSystem,
  type DiscreteDiagonal,
  type DssKernel,
  type DssOptions,
} from "./diagonal.js";
export { companionKernel, companionStep, companionSystem, type CompanionParameters } from "./companion.js";
export { powerCollect, powerSum, powerTable, type Decay, type PowerTable } from "./powers.js";
export { denseSystem, discreteDenseSystem, matrixPower, type DenseLti, type DiscreteDense } from "./dense.js";
export {
  completeOutput,
  doubleTruncation,
  dplrKernel,
  dplrSystem,
  realForm,
  truncatedDplrSystem,
  truncateOutput,
  type DplrKernel,
  type DplrKernelOptions,
  type DplrLti,
  type DplrRule,
} from "./dplr.js";
export {
  cauchyKernel,
  cauchySums,
  halfAngles,
  type CauchyInputs,
  type CauchyOptions,
  type CauchyOutputs,
} from "./cauchy.js";
export {
  powerSums,
  powerSumsKernel,
  type PowerSumsInputs,
  type PowerSumsOptions,
  type PowerSumsOutputs,
} from "./power-sums.js";
export { stepsAtRate } from "./steps-at-rate.js";
export { withinBand } from "./bandlimit.js";
export { beforeTransform, positive, positiveTransforms, type PositiveTransform } from "./positive.js";
