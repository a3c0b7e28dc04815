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
  /** Take WebGPU's software adapter, a program on the processor. */
  readonly software?: boolean;
}

/** Their own names in variables: the app builds and runs where the GPU packages are not installed. */
const WEBGPU = "@seqmix/webgpu";
const SOFTWARE_GPU = "@seqmix/software-gpu";

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

/** Makes the software adapter the one that WebGPU finds. */
async function useSoftwareAdapter(): Promise<void> {
  try {
    ((await import(SOFTWARE_GPU)) as { useSoftwareAdapter(): boolean }).useSoftwareAdapter();
  } catch (cause) {
    throw new UsageError(
      `There is no GPU, and the software adapter of the package ${SOFTWARE_GPU} did not load (${messageOf(cause)}); choose --device cpu`,
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
  async webgpu({ halfPrecision = false, products = "f32", exactTimestamps = false, software = false }) {
    if (software) await useSoftwareAdapter();
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

/** A device as it is chosen: its name, and whether a webgpu device is to be the software adapter. */
export interface ChosenDevice {
  readonly name: string;
  readonly software: boolean;
}

/** What {@link chooseDevice} takes beside the names of devices. */
export const AUTO = "auto";

/**
 * Finds out which device a name means on this machine. "auto" is webgpu on a GPU, else cpu; "webgpu" without a GPU is the
 * software adapter. `note` is told whatever is not plain from the name.
 * @throws UsageError for an unknown name, or where webgpu cannot run at all.
 */
export async function chooseDevice(name: string, note: (text: string) => void): Promise<ChosenDevice> {
  const names = [...Object.keys(devices), AUTO];
  if (!names.includes(name)) throw new UsageError(`Unknown device "${name}"${didYouMean(name, names)}`);
  if (name !== "webgpu" && name !== AUTO) return { name, software: false };
  const gpu = await describeGpu();
  if (gpu.description !== undefined && !gpu.software) {
    if (name === AUTO) note(`Device: webgpu, ${gpu.description}.`);
    return { name: "webgpu", software: false };
  }
  if (name === AUTO) {
    note(`Device: cpu, since there is no GPU (${gpu.problem ?? `only ${gpu.description}`}).`);
    return { name: "cpu", software: false };
  }
  note(
    `There is no GPU${gpu.problem ? ` (${gpu.problem})` : ""}: WebGPU computes in software, far slower than --device cpu. Good for checks, not for training.`,
  );
  return { name: "webgpu", software: gpu.description === undefined };
}

interface Found {
  /** What the adapter says of itself; absent if there is none. */
  readonly description?: string;
  readonly software: boolean;
  /** Why there is none. */
  readonly problem?: string;
}

/** Looks for a GPU. */
async function describeGpu(): Promise<Found> {
  try {
    const device = await devices["webgpu"]!({});
    const { description, software = false } = device;
    await device.close();
    return { description, software };
  } catch (error) {
    if (error instanceof UsageError) return { software: false, problem: messageOf(error) };
    throw error;
  }
}
