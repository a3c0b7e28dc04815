/**
 * What a sweep file imports.
 *
 * @packageDocumentation
 */
export { defineSweep, type Sweep } from "./sweep.js";
export type { Setting, Settings } from "./settings.js";
