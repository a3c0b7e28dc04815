/**
 * Checks for ops, kernels and mixers, and readers of reference fixtures.
 *
 * @packageDocumentation
 */
export { assertClose, LawError, maxError, toleranceOfScale, type Tolerance, type WorstElement } from "./compare.js";
export { checkDerivatives, type DerivativeCheck } from "./finite-differences.js";
export { checkOp, type OpReport } from "./check-op.js";
export { evaluate, poison, randomValues, toTensor, type HostValues } from "./host-values.js";
