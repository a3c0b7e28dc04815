/** Sizes of chunks and tiles, by what the adapter allows. */
import type { GpuLimits } from "@seqmix/tensor/wgsl";
import type { Sizes } from "./layout.js";
import { decayBytes } from "./read.js";
import { bytesOfTile, threadsOf } from "./tile.js";

/** For any adapter; and for those with more workgroup memory. */
export const PORTABLE: Sizes = {
  chunk: 64,
  scores: { rows: 64, columns: 64, threadRows: 4, threadColumns: 4, depth: 16 },
  states: { rows: 64, columns: 64, threadRows: 4, threadColumns: 4, depth: 16 },
  narrow: { rows: 64, columns: 64, threadRows: 4, threadColumns: 4, depth: 16 },
  wide: { rows: 64, columns: 64, threadRows: 4, threadColumns: 4, depth: 16 },
};
const LARGE: Sizes = {
  chunk: 128,
  scores: { rows: 64, columns: 64, threadRows: 8, threadColumns: 8, depth: 16 },
  states: { rows: 128, columns: 128, threadRows: 8, threadColumns: 8, depth: 16 },
  narrow: { rows: 128, columns: 64, threadRows: 8, threadColumns: 8, depth: 16 },
  wide: { rows: 128, columns: 128, threadRows: 8, threadColumns: 8, depth: 8 },
};

export function sizesOf({ threads, workgroupBytes }: Pick<GpuLimits, "threads" | "workgroupBytes">): Sizes {
  const fits = ({ chunk, narrow, wide, states }: Sizes): boolean =>
    [narrow, wide, states].every(
      (tile) =>
        threadsOf(tile) <= threads &&
        // the sums of rows, beside tile and decays
        bytesOfTile(tile) + decayBytes(chunk) + (4 * tile.rows * tile.columns) / tile.threadColumns <= workgroupBytes,
    );
  return fits(LARGE) ? LARGE : PORTABLE;
}

/** With decays by key. */
export const keySizesOf = (limits: Pick<GpuLimits, "threads" | "workgroupBytes">): Sizes =>
  sizesOf(limits) === LARGE
    ? {
        chunk: 64,
        scores: LARGE.scores,
        states: LARGE.states,
        narrow: { rows: 64, columns: 64, threadRows: 8, threadColumns: 8, depth: 16 },
        wide: { rows: 64, columns: 128, threadRows: 8, threadColumns: 8, depth: 16 },
      }
    : PORTABLE;
