import type { Device } from "../device.js";
import { reference } from "../reference/device.js";

/** Settings of the CPU device. */
export interface CpuOptions {
  /** Threads that work; all cores by default. */
  readonly threads?: number;
}

let shared: Device | undefined;

/** Interim: the reference device under the CPU device's name, until the planner lands. */
export function cpu(_options: CpuOptions = {}): Device {
  return (shared ??= { ...reference(), name: "cpu" });
}
