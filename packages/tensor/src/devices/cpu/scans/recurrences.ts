/** What graphs with recurrences need beside others, in one piece that is loaded for the first of them. */
import type { ScanSupport } from "../../../plan/scan-draft.js";
import { scanPasses } from "../../../plan/scan-passes.js";
import { runsInChunks, supportsRecurrence } from "./recurrence.js";

export { withKeptStates } from "./kept-states.js";
export { recurrenceProgram } from "./recurrence.js";

/** What this device asks of the planner about recurrences. */
export const scanSupport = (maxBuffers: number): ScanSupport => ({
  passes: scanPasses,
  maxBuffers,
  accepts: supportsRecurrence,
  anyBuffers: runsInChunks,
});
