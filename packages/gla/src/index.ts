/**
 * Gated linear attention as a sequence mixer, with checkpoint names as published.
 *
 * @packageDocumentation
 */
export { gla, type GlaConfig, type GlaParameters, type GlaState } from "./gla.js";
