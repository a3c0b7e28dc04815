/**
 * HiPPO: matrices of every measure, their normal and diagonal forms, starts of diagonal models, and the memory of a signal
 * while it goes by.
 *
 * @packageDocumentation
 */
export {
  hippo,
  hippoLegs,
  hippoMeasures,
  type HippoMeasure,
  type HippoMeasureName,
  type HippoOptions,
  type HippoSystem,
} from "./matrices.js";
export {
  hippoDiagonal,
  hippoNormal,
  otherEndpoint,
  type ComplexNumbers,
  type DiagonalPlusLowRank,
  type NormalFormOptions,
  type NormalPlusLowRank,
} from "./normal-forms.js";
export { diagonalizeSkew, type SkewEigenvectors } from "./skew-eigenvectors.js";
export { diagonalizeLegs, type LegsEigenvectors } from "./legs.js";
export {
  dssEigenvalues,
  s4dEigenvalues,
  s4dInits,
  type S4dEigenvalueOptions,
  type S4dInit,
} from "./initial-eigenvalues.js";
export { lruRing, type LruEigenvalues, type LruRing } from "./lru-ring.js";
export { hippoBasis, hippoKernel } from "./basis.js";
export { hippoRecurrence, scaledLegsRecurrence, type HippoRecurrence, type HippoRule } from "./recurrence.js";
export { project, reconstruct, type ProjectionOptions, type ReconstructionOptions } from "./projection.js";
