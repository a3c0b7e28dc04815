/**
 * GPU buffers. One that is given back is kept for the next request of its size: the queue runs in order, so it may be
 * written again at once. Beyond the highest use so far, buffers long unused are destroyed.
 */
import { LimitError, type MemoryCount } from "@seqmix/tensor";
import { USAGE } from "./adapter.js";

/** Memory on the GPU. */
export interface Block {
  readonly buffer: GPUBuffer;
  /** Capacity; what was asked for, rounded up by at most an eighth. */
  readonly bytes: number;
  /** Tells blocks apart for as long as the device lives. */
  readonly number: number;
}

/** Live tensors on a WebGPU device, and the memory behind them. */
export interface GpuMemoryCount extends MemoryCount {
  /** Bytes of all GPU buffers, with temporaries and those kept for reuse. */
  readonly reservedBytes: number;
}

export interface GpuMemory {
  /** @throws LimitError if no buffer can be so large. */
  take(bytes: number): Block;
  give(block: Block): void;
  /** Resolves when the GPU has granted all buffers taken so far. @throws LimitError if it has not. */
  granted(): Promise<void>;
  /** Destroys everything that is free. */
  flush(): void;
  /** Bytes taken, and the most so far. */
  readonly taken: { readonly bytes: number; readonly peak: number; readonly reserved: number };
}

/** Free bytes that are always kept. Beyond them, what fits under the highest use so far: making a large buffer takes longer than filling it. */
const KEPT = 256 << 20;

/** @param poison Fill whatever is handed out with NaN, to find programs that read what they never wrote. */
export function makeMemory(gpu: GPUDevice, { poison }: { readonly poison: boolean }): GpuMemory {
  const free = new Map<number, Block[]>();
  /** Free blocks in the order they were given back. */
  const order = new Set<Block>();
  const taken = { bytes: 0, peak: 0, reserved: 0 };
  let freeBytes = 0;
  let numbers = 0;
  let grants: Promise<number>[] = [];

  const largest = Math.min(gpu.limits.maxStorageBufferBindingSize, gpu.limits.maxBufferSize);

  const create = (bytes: number): Block => {
    gpu.pushErrorScope("out-of-memory");
    const buffer = gpu.createBuffer({ size: bytes, usage: USAGE.storage | USAGE.copySource | USAGE.copyDestination });
    grants.push(gpu.popErrorScope().then((error) => (error ? bytes : 0)));
    taken.reserved += bytes;
    return { buffer, bytes, number: numbers++ };
  };

  const destroy = (block: Block): void => {
    order.delete(block);
    const list = free.get(block.bytes)!;
    list.splice(list.indexOf(block), 1);
    freeBytes -= block.bytes;
    taken.reserved -= block.bytes;
    block.buffer.destroy();
  };

  return {
    taken,
    take(wanted) {
      if (wanted > largest) throw new LimitError(`webgpu: expected at most ${largest} bytes in a tensor (maxStorageBufferBindingSize and maxBufferSize of this adapter), got ${wanted}; use smaller batches`);
      const bytes = Math.min(rounded(wanted), Math.floor(largest / 16) * 16);
      const block = free.get(bytes)?.pop() ?? create(bytes);
      if (order.delete(block)) freeBytes -= bytes;
      taken.bytes += bytes;
      taken.peak = Math.max(taken.peak, taken.bytes);
      if (poison) gpu.queue.writeBuffer(block.buffer, 0, new Uint32Array(bytes / 4).fill(0x7fc00000));
      return block;
    },
    give(block) {
      let list = free.get(block.bytes);
      if (!list) free.set(block.bytes, (list = []));
      list.push(block);
      order.add(block);
      freeBytes += block.bytes;
      taken.bytes -= block.bytes;
      for (const oldest of order) {
        if (freeBytes <= Math.max(KEPT, taken.peak - taken.bytes)) break;
        destroy(oldest);
      }
    },
    async granted() {
      if (grants.length === 0) return;
      const waiting = grants;
      grants = [];
      const refused = (await Promise.all(waiting)).find((bytes) => bytes > 0);
      if (refused) throw new LimitError(`webgpu: expected ${refused} bytes of GPU memory, but the adapter is out of memory (${taken.reserved} bytes are reserved by this device); dispose tensors or use smaller batches`);
    },
    flush() {
      for (const block of order) destroy(block);
    },
  };
}

/** Up to the next multiple of an eighth of the power of two below it, and of 256 bytes. */
function rounded(bytes: number): number {
  const step = Math.max(256, 2 ** (Math.floor(Math.log2(Math.max(bytes, 1))) - 3));
  return Math.ceil(bytes / step) * step;
}
