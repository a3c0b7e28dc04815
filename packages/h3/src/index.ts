/**
 * H3: a shift state-space model and a diagonal one around products of keys and values, as a sequence mixer.
 *
 * @packageDocumentation
 */
export {
  diagonalModel,
  h3,
  shiftModel,
  type H3Config,
  type H3ModelConfig,
  type H3Parameters,
  type H3State,
} from "./h3.js";
export { h3Layer, memoryModel, type H3LayerConfig, type H3LayerOptions } from "./layer.js";
