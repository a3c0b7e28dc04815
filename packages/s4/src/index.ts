/**
 * Structured state-space layers with fixed dynamics: S4D, and the kernels of diagonal systems.
 *
 * @packageDocumentation
 */
export type { Complex } from "@seqmix/fft";
export {
  diagonalFinalState,
  diagonalKernel,
  diagonalPowers,
  diagonalStep,
  diagonalSystem,
  discretizeDiagonal,
  positive,
  type DiagonalDiscretization,
  type DiagonalKernel,
  type DiagonalKernelOptions,
  type DiagonalKernelParameters,
  type DiagonalSystem,
  type DiagonalStepResult,
  type DiagonalSystemOptions,
  type DiscreteSystem,
  type PositiveTransform,
} from "./diagonal-kernel.js";
export { s4d, s4dParameterGroups, s4dSystem, type S4dConfig, type S4dInit, type S4dParameters } from "./s4d.js";
