/**
 * From continuous linear systems to recurrences h_t = Abar h_(t-1) + Bbar u_t, for dense, diagonal and
 * diagonal-plus-low-rank transitions.
 *
 * @packageDocumentation
 */
export {
  differenceWeight,
  discretizationRules,
  type DifferenceRule,
  type DiscretizationRule,
  type ExponentialRule,
  type RuleOptions,
} from "./rules.js";
export { discretizeDiagonal, discretizeDss, type DiagonalRecurrence, type DssWeights } from "./diagonal.js";
export {
  discretizeDense,
  discretizeOutputs,
  type DenseOutputs,
  type DenseRecurrence,
  type DenseSystem,
} from "./dense.js";
export { discretizeDplr, dplrMatrix, type DplrOptions, type DplrRecurrence, type DplrSystem } from "./dplr.js";
export { identityMatrix, inverse, inverseKernel, type InverseInputs, type InverseOutputs } from "./inverse.js";
export { matrixExponential } from "./matrix-exponential.js";
export { complexExpm1OverX, expm1OverXKernel, type ComplexElements } from "./expm1-over-x.js";
