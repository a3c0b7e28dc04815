/** The buffers that tensors hold on the device, and how many there are. */
import { DisposedError, type DeviceBuffer, type DType, type HostArray } from "@seqmix/tensor";
import { toHalfBits } from "@seqmix/tensor/backend";
import { bytesOf, widthOf } from "@seqmix/tensor/wgsl";
import type { Block, GpuMemory } from "../memory/memory.js";

export interface GpuBuffer extends DeviceBuffer {
  readonly block: Block;
}

export class Buffers {
  readonly #pool: GpuMemory;
  readonly #storesHalf: boolean;
  #live = { buffers: 0, bytes: 0, collected: 0 };
  /** Stands for tensors without elements that no step makes. */
  readonly nothing: Block;

  /** @param storesHalf Whether f16 lies in memory as such; else as f32. */
  constructor(pool: GpuMemory, storesHalf: boolean) {
    this.#pool = pool;
    this.#storesHalf = storesHalf;
    this.nothing = pool.take(bytesOf(0));
  }

  /** A buffer on a block. @param dtype As stored. */
  register(dtype: DType, size: number, block: Block): GpuBuffer {
    this.#live.buffers++;
    this.#live.bytes += size * widthOf(dtype);
    return { dtype, size, released: false, block };
  }

  upload(data: HostArray, dtype: DType): GpuBuffer {
    const stored = dtype === "f16" && !this.#storesHalf ? "f32" : dtype;
    const contents = data.length > 0 ? toDevice(data, stored) : undefined;
    return this.register(stored, data.length, this.#pool.take(bytesOf(data.length, stored), contents));
  }

  /** A buffer whose block goes on in another one. */
  forget(buffer: DeviceBuffer): void {
    buffer.released = true;
    this.#live.buffers--;
    this.#live.bytes -= buffer.size * widthOf(buffer.dtype);
  }

  release(buffer: DeviceBuffer, how?: { readonly collected: boolean }): void {
    if (buffer.released) return;
    this.forget(buffer);
    if (how?.collected) this.#live.collected++;
    this.#pool.give((buffer as GpuBuffer).block);
  }

  /** The buffer, if it was not released. */
  usable(buffer: DeviceBuffer): GpuBuffer {
    if (buffer.released)
      throw new DisposedError(
        "webgpu: expected live memory, got a buffer that was released; keep its tensor until it is no longer used",
      );
    return buffer as GpuBuffer;
  }

  count(): { readonly buffers: number; readonly bytes: number; readonly collected: number } {
    return { ...this.#live };
  }
}

/** Host data in the form the GPU keeps it: four bytes an element, of f16 two, and whole words. */
function toDevice(
  data: HostArray,
  dtype: DType,
): Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint16Array<ArrayBuffer> {
  if (dtype === "f16") return toHalfBits(data);
  if (dtype === "f32") return Float32Array.from(data);
  return dtype === "i32" ? Int32Array.from(data) : Int32Array.from(data, (x) => (x === 0 ? 0 : 1));
}
