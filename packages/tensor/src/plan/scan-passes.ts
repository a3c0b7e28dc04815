/** What the planner does about recurrences, in one piece that is loaded only where a graph has one. */
import { breakCycles, draftScans } from "./scan-draft.js";
import { fuseScans } from "./scan-fusion.js";

/** Steps of the passes `scans`, `lower` and `cycles`. */
export interface ScanPasses {
  readonly fuse: typeof fuseScans;
  readonly draft: typeof draftScans;
  readonly breakCycles: typeof breakCycles;
}

/** The one there is. */
export const scanPasses: ScanPasses = { fuse: fuseScans, draft: draftScans, breakCycles };
