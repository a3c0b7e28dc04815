/**
 * The WebGPU device.
 *
 * @packageDocumentation
 */
export { webgpu, type WebGpuDevice, type WebGpuOptions } from "./device.js";
export type { AdapterOptions } from "./adapter.js";
export type { GpuMemoryCount } from "./memory.js";
