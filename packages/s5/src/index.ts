/**
 * S5, with resets for reinforcement learning, and the linear recurrent unit as sequence mixers.
 *
 * @packageDocumentation
 */
export type { Complex } from "@seqmix/scan";
export type { ActivationParameters, DenseParameters, LayerActivation } from "./activation.js";
export { runMimo, stepMimo, type MimoOptions, type MimoSystem } from "./diagonal-recurrence.js";
export {
  lru,
  lruParameterGroups,
  lruSequence,
  lruSystem,
  type LruConfig,
  type LruParameters,
  type LruSequenceParameters,
} from "./lru.js";
export {
  initS5Ssm,
  resettableS5,
  resettableS5Step,
  s5,
  s5ParameterGroups,
  s5Ssm,
  s5System,
  type S5Config,
  type S5Parameters,
  type S5SsmParameters,
  type S5System,
  type S5SystemConfig,
} from "./s5.js";
