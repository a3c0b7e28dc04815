import { cpu, reference, type Device } from "@seqmix/tensor";
import { didYouMean } from "./nearest-name.js";
import { UsageError } from "./usage-error.js";

/** What the user may say about a device. */
export interface DeviceOptions {
  /** Threads that work; the device's own default if left out. */
  readonly threads?: number;
}

/** Every device a trial can run on, by the name used on the command line and in results. A new one is one line here. */
export const devices: Readonly<Record<string, (options: DeviceOptions) => Device | Promise<Device>>> = {
  cpu: ({ threads }) => cpu(threads === undefined ? {} : { threads }),
  reference: () => reference(),
};

/** @throws UsageError for a name that is not in {@link devices}. */
export async function openDevice(name: string, options: DeviceOptions = {}): Promise<Device> {
  const open = Object.hasOwn(devices, name) ? devices[name] : undefined;
  if (!open) throw new UsageError(`Unknown device "${name}"${didYouMean(name, Object.keys(devices))}`);
  return open(options);
}
