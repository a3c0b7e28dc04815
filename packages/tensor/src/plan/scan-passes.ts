/** What the planner does about recurrences, in one piece that is loaded only where a graph has one. */
import { breakCycles, draftScans } from "./scan-draft.js";
import { fuseScans } from "./scan-fusion.js";

/** Steps of the passes `scans`, `lower` and `cycles`. */
export interface ScanPasses {
  /** The recurrences of a graph with what is computed into them and out of them. */
  readonly fuse: typeof fuseScans;
  /** Their kernels, as the device can run them. */
  readonly draft: typeof draftScans;
  /** Takes less into kernels that wait for themselves. */
  readonly breakCycles: typeof breakCycles;
}

/** The one there is. */
export const scanPasses: ScanPasses = { fuse: fuseScans, draft: draftScans, breakCycles };
