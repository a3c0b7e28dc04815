/**
 * The recurrent block of Griffin and Hawk as a sequence mixer, with the names of RecurrentGemma's checkpoints.
 *
 * @packageDocumentation
 */
export { hawk, type BlockDiagonalParameters, type HawkConfig, type HawkParameters, type HawkState } from "./hawk.js";
