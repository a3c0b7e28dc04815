/**
 * Structured masked attention and the operator of Mamba-2, as a recurrence, as a quadratic product and in chunks.
 *
 * @packageDocumentation
 */
export { decayMask, segsum } from "./decay-mask.js";
export { type StructuredMaskedAttentionArguments } from "./heads.js";
export { passStates, type PassStatesArguments, type PassStatesResult } from "./pass-states.js";
export {
  structuredMaskedAttention,
  structuredMaskedAttentionStep,
  type StructuredMaskedAttentionAlgorithm,
  type StructuredMaskedAttentionOptions,
  type StructuredMaskedAttentionResult,
  type StructuredMaskedAttentionStepArguments,
} from "./structured-masked-attention.js";
export {
  resetsOfSegments,
  ssd,
  ssdStep,
  ssdStepSizes,
  type SsdArguments,
  type SsdOptions,
  type SsdResult,
  type SsdStepArguments,
} from "./ssd.js";
