/** The device that tests run on. */
import { webgpu, type WebGpuDevice, type WebGpuOptions } from "../index.js";
import { useSoftwareAdapter } from "./software-adapter.js";

/** A WebGPU device on the software adapter, or on the machine's own where that is asked for. */
export async function testDevice(options?: WebGpuOptions): Promise<WebGpuDevice> {
  useSoftwareAdapter();
  return webgpu(options);
}
