/** Reading GPU memory: buffers the host can map, used in turn. */
import { MAP_READ, USAGE } from "../device/adapter.js";
import type { Loss } from "../device/loss.js";

export interface Staging {
  /** Copies bytes to the host once all work submitted so far is done. */
  read(from: GPUBuffer, bytes: number): Promise<ArrayBuffer>;
}

/** Bytes of mappable buffers kept between reads. */
const KEPT = 64 << 20;
/** Larger reads come in parts. */
const PART = 1 << 28;

export function makeStaging(gpu: GPUDevice, loss: Loss): Staging {
  const idle: GPUBuffer[] = [];
  let kept = 0;
  const take = (bytes: number): GPUBuffer => {
    const k = idle.findIndex(({ size }) => size >= bytes && size <= 4 * bytes + 4096);
    // Powers of two are used again by reads of other sizes; beyond a quarter GiB that would waste too much.
    const rounded = 2 ** Math.ceil(Math.log2(Math.max(bytes, 4096)));
    if (k < 0)
      return gpu.createBuffer({
        size: rounded > 2 ** 28 ? bytes : rounded,
        usage: USAGE.mapRead | USAGE.copyDestination,
      });
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
  const readPart = async (from: GPUBuffer, at: number, into: Uint8Array): Promise<void> => {
    const bytes = into.length;
    const buffer = take(bytes);
    try {
      const encoder = gpu.createCommandEncoder();
      encoder.copyBufferToBuffer(from, at, buffer, 0, bytes);
      gpu.queue.submit([encoder.finish()]);
      await loss.wait(buffer.mapAsync(MAP_READ, 0, bytes));
      into.set(new Uint8Array(buffer.getMappedRange(0, bytes)));
    } catch (error) {
      buffer.destroy();
      throw error;
    }
    buffer.unmap();
    give(buffer);
  };
  return {
    async read(from, bytes) {
      const all = new Uint8Array(bytes);
      for (let at = 0; at < bytes; at += PART) await readPart(from, at, all.subarray(at, Math.min(bytes, at + PART)));
      return all.buffer;
    },
  };
}
