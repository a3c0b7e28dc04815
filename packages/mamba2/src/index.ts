/**
 * The Mamba-2 block as a sequence mixer and its language model, with checkpoint names as published.
 *
 * @packageDocumentation
 */
export {
  mamba2ConfigOf,
  mamba2LanguageModel,
  type Mamba2LanguageModelOptions,
  type Mamba2LanguageModelParameters,
  type Mamba2LanguageModelResult,
} from "./language-model.js";
export { mamba2, mamba2ParameterGroups, type Mamba2Config, type Mamba2Parameters, type Mamba2State } from "./mamba2.js";
