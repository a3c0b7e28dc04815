/**
 * The WebGPU device.
 *
 * @packageDocumentation
 */
export { webgpu, type DeviceLimits, type WebGpuDevice, type WebGpuOptions } from "./device.js";
export { profile, type Profile, type ProfileRow, type Recorder } from "./profile.js";
export type { Roofline } from "./roofline.js";
export type { AdapterOptions } from "./adapter.js";
export type { GpuMemoryCount } from "./memory.js";
