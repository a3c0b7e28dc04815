/**
 * Hyena: long convolutions with implicit filters and gates, as a sequence mixer.
 *
 * @packageDocumentation
 */
export {
  hyenaFilter,
  initHyenaFilter,
  type HyenaFilterConfig,
  type HyenaFilterParameters,
  type SineParameters,
} from "./filter.js";
export { hyena, type HyenaConfig, type HyenaParameters } from "./hyena.js";
