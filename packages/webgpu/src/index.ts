/**
 * The WebGPU device.
 *
 * @packageDocumentation
 */
export { webgpu, type DeviceLimits, type WebGpuDevice, type WebGpuOptions } from "./device/device.js";
export { profile, type Profile, type ProfileRow, type Recorder } from "./profile/profile.js";
export type { Roofline } from "./profile/roofline.js";
export type { AdapterOptions } from "./device/adapter.js";
export type { GpuMemoryCount } from "./memory/memory.js";
