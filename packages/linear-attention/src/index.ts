/**
 * Linear attention: the operator, feature maps, and the layer as a sequence mixer.
 *
 * @packageDocumentation
 */
export { applyFeatureMap, featureMaps, featuresOf, type FeatureMap } from "./feature-maps.js";
export {
  bidirectionalLinearAttention,
  linearAttention,
  linearAttentionStep,
  type BidirectionalLinearAttentionArguments,
  type LinearAttentionArguments,
  type LinearAttentionOptions,
  type LinearAttentionState,
} from "./operator.js";
export {
  linearAttentionMixer,
  type LinearAttentionConfig,
  type LinearAttentionParameters,
} from "./linear-attention.js";
