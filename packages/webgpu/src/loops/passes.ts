/** The passes of a loop kernel: one where everything fits into a binding. */
import { onDemand, type LoopKernel } from "@seqmix/tensor/backend";
import { bytesOf, type GpuLimits, type GpuPass } from "@seqmix/tensor/wgsl";
import { columnsPass, sharedBy } from "./columns.js";
import { largestOf } from "./numbered.js";
import { fitsInPairs, loopPass, PAIR_THREADS, type LoopBuffers, type LoopForm } from "./text.js";
import { tilesOf } from "./tiles.js";

const inSquares = onDemand(() => import("./tile-pass.js"));
const inParts = onDemand(() => import("./parts.js"));

/**
 * @param kernel Simplified, of at least one point.
 * @throws LimitError if a part would need more bindings than the adapter has, or more elements than 32 bits count.
 */
export function loopPasses(
  kernel: LoopKernel,
  form: LoopForm,
  buffers: LoopBuffers,
  threads: number,
  limits: GpuLimits,
): GpuPass[] {
  if (bytesOf(largestOf(kernel)) > limits.bytes) return inParts().passesInParts(kernel, form, buffers, threads, limits);
  const shared = form === "columns" ? sharedBy(kernel, limits) : undefined;
  if (shared !== undefined) return [columnsPass(kernel, buffers, shared)];
  const tiles = form === "map" ? tilesOf(kernel, limits, buffers.aliases) : undefined;
  if (tiles) return [inSquares().tilePass(kernel, tiles, buffers)];
  if (form === "map" && limits.threads >= PAIR_THREADS && fitsInPairs(kernel, buffers))
    return [loopPass(kernel, form, buffers, PAIR_THREADS, 2)];
  return [loopPass(kernel, form, buffers, threads)];
}
