/**
 * Softmax attention: the kernel, attention as a sequence mixer, and the decoder-only Transformer.
 *
 * @packageDocumentation
 */
export { scaledDotProductAttention, type AttentionInputs, type AttentionOutputs } from "./scaled-dot-product.js";
export { alibiSlope, UNSEEN, type AttentionOptions } from "./options.js";
export { attention, type AttentionConfig, type AttentionParameters } from "./attention.js";
export type { AttentionState } from "./cache.js";
export { transformer, type TransformerConfig, type TransformerParameters } from "./transformer.js";
export { POSITION_ENCODINGS, type PositionEncoding } from "./positions.js";
export {
  ACTIVATIONS,
  gpt2LanguageModel,
  llamaLanguageModel,
  type Conv1dParameters,
  type Gpt2Config,
  type Gpt2Parameters,
  type LlamaConfig,
  type LlamaParameters,
  type TransformerLanguageModelResult,
} from "./language-models.js";
