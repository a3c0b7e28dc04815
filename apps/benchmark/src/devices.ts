import { cpu, DeviceError, reference, type Device } from "@seqmix/tensor";
import { didYouMean } from "./nearest-name.js";
import { messageOf, UsageError } from "./usage-error.js";

/** What the user may say about a device. */
export interface DeviceOptions {
  /** Threads that work; the device's own default if left out. */
  readonly threads?: number;
  /** Ask a GPU for f16 and matrix units, also where they are experimental. */
  readonly halfPrecision?: boolean;
}

/** Its own name in a variable: the app builds and runs where the GPU package is not installed. */
const WEBGPU = "@seqmix/webgpu";

/** Every device a trial can run on, by the name used on the command line and in results. A new one is one line here. */
export const devices: Readonly<Record<string, (options: DeviceOptions) => Device | Promise<Device>>> = {
  cpu: ({ threads }) => cpu(threads === undefined ? {} : { threads }),
  reference: () => reference(),
  async webgpu({ halfPrecision = false }) {
    let found: { webgpu(options: { readonly halfPrecision: boolean }): Promise<Device> };
    try {
      found = (await import(WEBGPU)) as typeof found;
    } catch (cause) {
      throw new UsageError(`The webgpu device needs the package ${WEBGPU}, which did not load (${messageOf(cause)}); install all development tools with "npx pnpm install"`);
    }
    try {
      return await found.webgpu({ halfPrecision });
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
