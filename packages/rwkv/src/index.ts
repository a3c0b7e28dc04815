/**
 * RWKV-4: the WKV operator, the layer as a sequence mixer, and its published language models; the operator of RWKV-6.
 *
 * @packageDocumentation
 */
export {
  wkv,
  wkvKernel,
  wkvStart,
  wkvStep,
  type WkvArguments,
  type WkvInputs,
  type WkvOutputs,
  type WkvState,
} from "./wkv.js";
export { wkv6, type Wkv6Arguments, type Wkv6Result } from "./wkv6.js";
export {
  rwkv4,
  type ChannelMixParameters,
  type Rwkv4Config,
  type Rwkv4Parameters,
  type Rwkv4State,
  type TimeMixParameters,
} from "./rwkv4.js";
export {
  rwkv4ConfigOf,
  rwkv4FromHf,
  rwkv4LanguageModel,
  type Rwkv4ModelOptions,
  type Rwkv4ModelParameters,
  type Rwkv4ModelResult,
  type RwkvHfBlock,
  type RwkvHfParameters,
} from "./language-models.js";
