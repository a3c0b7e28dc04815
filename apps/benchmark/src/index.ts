/**
 * What a sweep file imports.
 *
 * @packageDocumentation
 */
export { defineSweep, type Sweep } from "./sweeps/sweep.js";
export type { Setting, Settings } from "./trials/settings.js";
