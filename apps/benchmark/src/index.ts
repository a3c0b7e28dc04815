/**
 * What a sweep file imports.
 *
 * @packageDocumentation
 */
export {
  defineSweep,
  type Expectation,
  type Published,
  type Statement,
  type Sweep,
  type SweepMixer,
  type SweepPlan,
  type SweepPlot,
  type SweepTask,
} from "./sweeps/sweep.js";
export type { CellSummary, Spread } from "./results/cells.js";
export { atLeast, atMost, cellNamed, higher, lower, rising, same } from "./sweeps/statements.js";
export type { Setting, Settings } from "./trials/settings.js";
