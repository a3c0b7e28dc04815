/**
 * The contract of a sequence mixer, the residual block, the language model and generation.
 *
 * @packageDocumentation
 */
export {
  defineMixer,
  type AnyMixer,
  type LayerPlace,
  type MixerConfig,
  type MixerDefinition,
  type MixerModes,
  type Mode,
  type SettingRange,
} from "./contract.js";
export {
  configure,
  honoursResets,
  isCausal,
  modesOf,
  runMixer,
  type MixerSettings,
  type SettingValue,
} from "./run-mixer.js";
export { inChunks } from "./in-chunks.js";
export { alignToEnd, resetsOfMask, runPadded, type Alignment, type PaddedOptions } from "./padding.js";
export { branchesOf } from "./residual-maps.js";
export { initResidualBlock, residualBlock, residualBlockStep, type ResidualBlockParameters } from "./residual-block.js";
export {
  forwardLanguageModel,
  forwardPaddedLanguageModel,
  initLanguageModel,
  initLanguageModelState,
  languageModelFeatures,
  languageModelHead,
  languageModelLoss,
  mixerConfigOf,
  stepLanguageModel,
  type LanguageModelBatch,
  type LanguageModelConfig,
  type LanguageModelParameters,
  type LanguageModelState,
  type LayerParameters,
} from "./language-model.js";
export {
  feedForwardBlock,
  initFeedForwardBlock,
  type FeedForwardBlockParameters,
  type FeedForwardConfig,
} from "./feed-forward-block.js";
export { layersOf, type Layer, type LayerConfig, type LayersConfig } from "./layers.js";
export { nextTokenLoss, type NextTokenLossOptions } from "./next-token-loss.js";
export { generate, type GenerateOptions } from "./generate.js";
export { sampleTokens, type SamplingOptions } from "./sampling.js";
export { parameterCount, stateBytes, treeBytes } from "./measure.js";
export {
  forwardSequenceModel,
  initSequenceModel,
  POOLINGS,
  type Pooling,
  type SequenceModelConfig,
  type SequenceModelParameters,
  type SequenceOptions,
} from "./sequence-model.js";
export {
  limitNorm,
  reduceRetention,
  runWithHook,
  stateStatistics,
  type HookOptions,
  type StateHook,
  type StateStatistics,
} from "./state-collapse.js";
