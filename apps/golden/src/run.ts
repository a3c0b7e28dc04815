/** What the command line does, as a function. */
import { useSoftwareAdapter } from "@seqmix/software-gpu";
import { cpu, DeviceError, reference, type Device } from "@seqmix/tensor";
import { runGolden, type GoldenReport, type GoldenResult } from "@seqmix/testing";
import { webgpu } from "@seqmix/webgpu";
import { adapters } from "./adapters/index.js";

/** Devices by name, with the precision whose tolerance holds. */
const DEVICES: Readonly<
  Record<string, { readonly open: () => Device | Promise<Device>; readonly precision: "float64" | "float32" }>
> = {
  reference: { open: reference, precision: "float64" },
  cpu: { open: cpu, precision: "float32" },
  webgpu: { open: openWebGpu, precision: "float32" },
};

/** Runs all fixtures of a directory on the device of that name. @throws RangeError for a name that is no device's. */
export async function runFixtures(
  directory: string,
  deviceName: string,
  onResult?: (result: GoldenResult, done: number, total: number) => void,
): Promise<GoldenReport> {
  const choice = DEVICES[deviceName];
  if (!choice) throw new RangeError(`SEQMIX_DEVICE: expected ${Object.keys(DEVICES).join(", ")}, got "${deviceName}"`);
  const device = await choice.open();
  try {
    return {
      ...(await runGolden({ directory, device, precision: choice.precision, adapters, ...(onResult && { onResult }) })),
      device: deviceName,
    };
  } finally {
    await device.close();
  }
}

/** The machine's own adapter; the software adapter where it has none. */
async function openWebGpu(): Promise<Device> {
  try {
    return await webgpu();
  } catch (error) {
    if (!(error instanceof DeviceError) || !useSoftwareAdapter()) throw error;
    return webgpu();
  }
}
