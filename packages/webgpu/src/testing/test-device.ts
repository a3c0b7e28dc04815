/** The device that tests run on. */
import { useSoftwareAdapter } from "@seqmix/software-gpu";
import { webgpu, type WebGpuDevice, type WebGpuOptions } from "../index.js";

/** A WebGPU device on the software adapter, or on the machine's own where that is asked for. */
export async function testDevice(options?: WebGpuOptions): Promise<WebGpuDevice> {
  useSoftwareAdapter();
  return webgpu(options);
}
