/**
 * The Mamba block as a sequence mixer, with checkpoint names as published.
 *
 * @packageDocumentation
 */
export {
  mambaConfigOf,
  mambaLanguageModel,
  type MambaLanguageModelOptions,
  type MambaLanguageModelParameters,
  type MambaLanguageModelResult,
} from "./language-model.js";
export { mamba, mambaParameterGroups, type MambaState } from "./mamba.js";
export type { MambaConfig, MambaDirection, MambaParameters } from "./parts.js";
