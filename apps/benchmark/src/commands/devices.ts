import { cpu, DeviceError, reference, type Device } from "@seqmix/tensor";
import { didYouMean } from "./nearest-name.js";
import { messageOf, UsageError } from "./usage-error.js";

/** What the user may say about a device. */
export interface DeviceOptions {
  /** Threads that work; the device's own default if left out. */
  readonly threads?: number;
  /** Ask a GPU for f16 and matrix units, also where they are experimental. */
  readonly halfPrecision?: boolean;
  /** How exact products of f32 are on a GPU's matrix units. */
  readonly products?: "f32" | "tf32";
  /** Ask a GPU for exact timestamps. */
  readonly exactTimestamps?: boolean;
}

/** Its own name in a variable: the app builds and runs where the GPU package is not installed. */
const WEBGPU = "@seqmix/webgpu";

/** What is used of it. */
interface WebGpuPackage {
  webgpu(options: Required<Pick<DeviceOptions, "halfPrecision" | "products" | "exactTimestamps">>): Promise<Device>;
  profile(device: Device, work: () => Promise<void>): Promise<{ readonly idle: number }>;
}

async function webgpuPackage(): Promise<WebGpuPackage> {
  try {
    return (await import(WEBGPU)) as WebGpuPackage;
  } catch (cause) {
    throw new UsageError(
      `The webgpu device needs the package ${WEBGPU}, which did not load (${messageOf(cause)}); install all development tools with "npx pnpm install"`,
    );
  }
}

/** Where the time of some work on a webgpu device goes. */
export const profileOn: WebGpuPackage["profile"] = async (device, work) =>
  (await webgpuPackage()).profile(device, work);

/** Every device a trial can run on, by the name used on the command line and in results. A new one is one line here. */
export const devices: Readonly<Record<string, (options: DeviceOptions) => Device | Promise<Device>>> = {
  cpu: ({ threads }) => cpu(threads === undefined ? {} : { threads }),
  reference: () => reference(),
  async webgpu({ halfPrecision = false, products = "f32", exactTimestamps = false }) {
    const { webgpu } = await webgpuPackage();
    try {
      return await webgpu({ halfPrecision, products, exactTimestamps });
    } catch (error) {
      throw error instanceof DeviceError ? new UsageError(error.message) : error;
    }
  },
};

/** @throws UsageError for a name that is not in {@link devices}. */
export async function openDevice(name: string, options: DeviceOptions = {}): Promise<Device> {
  const open = Object.hasOwn(devices, name) ? devices[name] : undefined;
  if (!open) throw new UsageError(`Unknown device "${name}"${didYouMean(name, Object.keys(devices))}`);
  return open(options);
}
