/**
 * What users see of the device. No global type of WebGPU is named here or in what else `index.ts` exports, so that the
 * published types stand with every version of TypeScript: those before 6 do not know them.
 */
import type { Device, MemoryCount } from "@seqmix/tensor";
import type { Slot, Step } from "@seqmix/tensor/backend";

/** A class of the WebGPU API where the program's libraries declare it (TypeScript 6, or `@webgpu/types`), else unknown. */
export type Global<Name extends string> =
  typeof globalThis extends Record<Name, Record<"prototype", infer T>> ? T : unknown;

/** Which adapter to ask for. */
export interface AdapterOptions {
  /** The faster adapter of several by default. */
  readonly powerPreference?: "low-power" | "high-performance";
  /**
   * Switches of Dawn in Node, e.g. "enable-dawn-features=allow_unsafe_apis"; pages ignore them. By default workgroup memory is
   * not cleared, as no kernel reads what it has not written.
   */
  readonly dawn?: readonly string[];
  /**
   * Ask for f16 and for matrix units also where they are experimental: in Node by switches of Dawn that allow unsafe APIs (on
   * NVIDIA there is no f16 without them). Off by default: f16 tensors are then stored in two bytes where the adapter has
   * `shader-f16` anyway, else in four. The device's `description` says what was found.
   */
  readonly halfPrecision?: boolean;
  /** Timestamps to the nanosecond rather than to 0.1 ms, in Node; pages keep the browser's precision. */
  readonly exactTimestamps?: boolean;
}

/** Settings of the WebGPU device. */
export interface WebGpuOptions extends AdapterOptions {
  /**
   * How exact matrix products of f32 are where they run on matrix units. "f32", the default: as exact as f32 (each number as
   * two of f16, of which three products are taken). "tf32": operands have 10 bits of mantissa, several times as fast; it asks
   * for `halfPrecision` by itself. Rows and columns are scaled, so that numbers of any size keep their digits. Without
   * matrix units products are plain f32 either way; `description` says which.
   */
  readonly products?: "f32" | "tf32";
  /** `explain` prints the WGSL of every kernel too. */
  readonly explainCode?: boolean;
  /** Fill all memory with NaN before it is used, so that a kernel that reads what it never wrote is found out. Slow: for tests. */
  readonly poison?: boolean;
  /** Lower limits than the adapter's, to try how large work behaves on a small one. */
  readonly limits?: Partial<DeviceLimits>;
}

/** Bytes, and counts where a name says so. */
export interface DeviceLimits {
  /** What a kernel may bind of one tensor; larger ones are read and written in parts. */
  readonly maxStorageBufferBindingSize: number;
  /** The largest tensor. */
  readonly maxBufferSize: number;
  /** What all tensors, temporaries and memory kept for reuse may take. */
  readonly memory: number;
  /** Buffers a kernel binds. */
  readonly maxStorageBuffersPerShaderStage: number;
  /** Memory of a workgroup. */
  readonly maxComputeWorkgroupStorageSize: number;
  /** Threads of a workgroup. */
  readonly maxComputeInvocationsPerWorkgroup: number;
}

/** A device on a GPU. */
export interface WebGpuDevice extends Device {
  readonly name: "webgpu";
  /** The `GPUDevice` of the WebGPU API, for other users of the same GPU. */
  readonly gpu: Global<"GPUDevice">;
  /** Begins the pass of every kernel while it is set; see `profile`. @internal */
  recorder: Recorder | undefined;
  memory(): GpuMemoryCount;
}

/** Live tensors on a WebGPU device, and the memory behind them. */
export interface GpuMemoryCount extends MemoryCount {
  /** Bytes of all GPU buffers, with temporaries and those kept for reuse. */
  readonly reservedBytes: number;
}

/** The two bounds of a kernel's speed. */
export interface Roofline {
  /** Bytes read and written by a copy, 1e9 a second. */
  readonly gigabytesPerSecond: number;
  /** f32 operations of chains of fused multiply-adds, 1e12 a second. */
  readonly teraflopsPerSecond: number;
}

/** Begins passes with timestamps, each for one kernel or some that run together. @internal */
export interface Recorder {
  begin(
    encoder: Global<"GPUCommandEncoder">,
    steps: readonly Step[],
    variant: string,
    slots: readonly Slot[],
  ): Global<"GPUComputePassEncoder">;
}
