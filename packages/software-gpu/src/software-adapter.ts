/**
 * A WebGPU adapter for tests on machines without a GPU: SwiftShader (Vulkan on the processor) and the Vulkan loader,
 * both out of the npm package `@sparticuz/chromium`. Node on Linux x86-64 and arm64; elsewhere the system's adapter is used.
 */
import { constants } from "node:os";
import { join } from "node:path";
import { pollPatiently } from "./patient-polling.js";
import { unpacked } from "./unpack.js";

/**
 * Makes SwiftShader the Vulkan driver of this process, unless the environment names one already. Call it before the first
 * adapter is asked for; Dawn then waits without taking a core. SEQMIX_GPU=system leaves the machine's own driver in place.
 * @returns false where the system's adapter is to be used.
 * @throws Error saying what is missing.
 */
export function useSoftwareAdapter(): boolean {
  if (
    process.platform !== "linux" ||
    process.env.SEQMIX_GPU === "system" ||
    process.env.VK_DRIVER_FILES ||
    process.env.VK_ICD_FILENAMES
  )
    return false;
  const folder = unpacked("swiftshader", ["swiftshader.tar.br"]);
  process.env.VK_ICD_FILENAMES = join(folder, "vk_swiftshader_icd.json");
  try {
    // The loader stays in the process under its name, where Dawn finds it. It is no Node add-on, which Node reports as an error.
    const RTLD_NODELETE = 0x1000;
    process.dlopen(
      { exports: {} },
      join(folder, "libvulkan.so.1"),
      constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL | RTLD_NODELETE,
    );
  } catch (error) {
    if (!String(error).includes("did not self-register"))
      throw new Error(
        `software adapter: the Vulkan loader in ${folder} did not load; delete the folder and install again`,
        { cause: error },
      );
  }
  pollPatiently();
  return true;
}
