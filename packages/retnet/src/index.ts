/**
 * Multi-scale retention as a sequence mixer, and RetNet as in the released code.
 *
 * @packageDocumentation
 */
export { retentionDecays, retentionLogDecay, xposLogDecay, type RetentionDecay } from "./decays.js";
export {
  retentionAngles,
  retentionPositions,
  rotate,
  xpos,
  type RetentionPositions,
  type XposOptions,
} from "./positions.js";
export { retnet, type RetentionGate, type RetnetConfig, type RetnetParameters, type RetnetState } from "./retnet.js";
export {
  torchscaleLanguageModel,
  torchscaleMask,
  torchscaleRetention,
  type TorchscaleLanguageModelOptions,
  type TorchscaleLanguageModelParameters,
  type TorchscaleRelativePositions,
  type TorchscaleRetentionOptions,
  type TorchscaleRetentionResult,
} from "./torchscale.js";
