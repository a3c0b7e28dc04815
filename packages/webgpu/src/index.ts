/**
 * The WebGPU device.
 *
 * @packageDocumentation
 */
export { webgpu } from "./device/device.js";
export type {
  AdapterOptions,
  DeviceLimits,
  Global,
  GpuMemoryCount,
  Recorder,
  Roofline,
  WebGpuDevice,
  WebGpuOptions,
} from "./device/contract.js";
export { profile, type Profile, type ProfileRow } from "./profile/profile.js";
