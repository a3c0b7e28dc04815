/**
 * Checks for ops, kernels and mixers, and readers of reference fixtures.
 *
 * @packageDocumentation
 */
export { assertClose, LawError, maxError, toleranceOfScale, type Tolerance, type WorstElement } from "./compare.js";
export { checkDerivatives, type DerivativeCheck } from "./finite-differences.js";
export { checkOp, type OpReport } from "./check-op.js";
export { evaluate, poison, randomValues, toTensor, type HostValues } from "./host-values.js";
export { checkKernel, type KernelCheckOptions, type KernelReport } from "./check-kernel.js";
export { checkMixer, type MixerReport } from "./check-mixer.js";
export type { MixerCheckOptions } from "./mixer-subject.js";
export {
  readGoldenCase,
  readGoldenIndex,
  goldenValue,
  type GoldenCase,
  type GoldenComplex,
  type GoldenEntry,
  type GoldenTensor,
  type GoldenTolerance,
  type GoldenValue,
  type GoldenValues,
} from "./golden-fixtures.js";
export { readSafetensors, type StoredTensor } from "./golden-safetensors.js";
export {
  runGolden,
  runGoldenCase,
  type GoldenAdapter,
  type GoldenCounts,
  type GoldenOptions,
  type GoldenReport,
  type GoldenResult,
} from "./golden.js";
export { emulatedFragments } from "./emulated-fragments.js";
export { checkEdges, edgePrograms } from "./edge-programs.js";
export { checkSpecialValues } from "./special-values.js";
export { checkSpecialOperations } from "./special-operations.js";
export { checkRandomProgram } from "./fuzz.js";
export { checkWanderingRecurrence, type Wandering } from "./wandering-recurrence.js";
export { checkRandomRecurrence, type RecurrenceKind } from "./fuzz-recurrences.js";
