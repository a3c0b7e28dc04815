/** Reading GPU memory: buffers the host can map, used in turn. */
import { MAP_READ, USAGE } from "./adapter.js";
import type { Loss } from "./loss.js";

export interface Staging {
  /** Copies bytes to the host once all work submitted so far is done. */
  read(from: GPUBuffer, bytes: number): Promise<ArrayBuffer>;
}

/** Bytes of mappable buffers kept between reads. */
const KEPT = 64 << 20;

export function makeStaging(gpu: GPUDevice, loss: Loss): Staging {
  const idle: GPUBuffer[] = [];
  let kept = 0;
  const take = (bytes: number): GPUBuffer => {
    const k = idle.findIndex(({ size }) => size >= bytes && size <= 4 * bytes + 4096);
    // Powers of two are used again by reads of other sizes; beyond a quarter GiB that would waste too much.
    const rounded = 2 ** Math.ceil(Math.log2(Math.max(bytes, 4096)));
    if (k < 0) return gpu.createBuffer({ size: rounded > 2 ** 28 ? bytes : rounded, usage: USAGE.mapRead | USAGE.copyDestination });
    kept -= idle[k]!.size;
    return idle.splice(k, 1)[0]!;
  };
  const give = (buffer: GPUBuffer): void => {
    idle.push(buffer);
    kept += buffer.size;
    while (kept > KEPT && idle.length > 0) {
      const oldest = idle.shift()!;
      kept -= oldest.size;
      oldest.destroy();
    }
  };
  return {
    async read(from, bytes) {
      const buffer = take(bytes);
      const encoder = gpu.createCommandEncoder();
      encoder.copyBufferToBuffer(from, 0, buffer, 0, bytes);
      gpu.queue.submit([encoder.finish()]);
      await loss.wait(buffer.mapAsync(MAP_READ, 0, bytes));
      const copy = buffer.getMappedRange(0, bytes).slice(0);
      buffer.unmap();
      give(buffer);
      return copy;
    },
  };
}
