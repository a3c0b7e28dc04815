/** Timestamps at the start and the end of passes. */
import { MAP_READ, USAGE } from "../device/adapter.js";

export interface Timestamps {
  /** Where the next pass writes its two. */
  next(): GPUComputePassTimestampWrites;
  /** Milliseconds at the start and the end of each pass, in order, once all are done. Ends the use of this object. */
  read(): Promise<readonly (readonly [start: number, end: number])[]>;
}

/** Timestamps of one query set; WebGPU allows no more. */
const SET = 4096;
/** GPUBufferUsage.QUERY_RESOLVE. */
const QUERY_RESOLVE = 512;

export function makeTimestamps(gpu: GPUDevice): Timestamps {
  const sets: GPUQuerySet[] = [];
  let passes = 0;
  return {
    next() {
      const at = (2 * passes++) % SET;
      if (at === 0) sets.push(gpu.createQuerySet({ type: "timestamp", count: SET }));
      return { querySet: sets.at(-1)!, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 };
    },
    async read() {
      if (passes === 0) return [];
      const bytes = sets.length * SET * 8;
      const resolved = gpu.createBuffer({ size: bytes, usage: QUERY_RESOLVE | USAGE.copySource });
      const mapped = gpu.createBuffer({ size: bytes, usage: USAGE.copyDestination | USAGE.mapRead });
      try {
        const encoder = gpu.createCommandEncoder();
        sets.forEach((set, k) =>
          encoder.resolveQuerySet(set, 0, Math.min(SET, 2 * passes - k * SET), resolved, k * SET * 8),
        );
        encoder.copyBufferToBuffer(resolved, 0, mapped, 0, bytes);
        gpu.queue.submit([encoder.finish()]);
        await mapped.mapAsync(MAP_READ);
        const ticks = new BigUint64Array(mapped.getMappedRange());
        const first = ticks[0]!;
        const milliseconds = (k: number): number => Number(ticks[k]! - first) / 1e6;
        return Array.from({ length: passes }, (_, k) => [milliseconds(2 * k), milliseconds(2 * k + 1)] as const);
      } finally {
        for (const used of [resolved, mapped, ...sets]) used.destroy();
      }
    },
  };
}
