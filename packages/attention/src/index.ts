/**
 * Causal multi-head softmax attention as a sequence mixer.
 *
 * @packageDocumentation
 */
export { attention, type AttentionConfig, type AttentionParameters, type AttentionState } from "./attention.js";
