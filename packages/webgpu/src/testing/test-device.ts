/** The device that tests run on. */
import { useSoftwareAdapter } from "@seqmix/software-gpu";
import { webgpu, type WebGpuDevice, type WebGpuOptions } from "../index.js";

/**
 * A WebGPU device on the software adapter, or on the machine's own where that is asked for. It refuses WGSL with && and ||:
 * they are branches, and SwiftShader searches a loop with n of them along 2^n paths before it compiles it. & and | are not.
 */
export async function testDevice(options?: WebGpuOptions): Promise<WebGpuDevice> {
  useSoftwareAdapter();
  const device = await webgpu(options);
  const create = device.gpu.createShaderModule.bind(device.gpu);
  device.gpu.createShaderModule = (descriptor) => {
    const branch = descriptor.code.split("\n").find((line) => /&&|\|\|/.test(line));
    if (branch !== undefined)
      throw new Error(`test device: expected WGSL without && and ||, got ${branch.trim()}; write & and |`);
    return create(descriptor);
  };
  return device;
}
