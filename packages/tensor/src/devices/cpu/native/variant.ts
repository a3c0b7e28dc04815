/** Hand-written programs of kernel records on this device. */
import { chooseVariant, type CpuVariant, type KernelStep } from "../../../graph/kernel-variant.js";
import type { NativeCall } from "../../../plan/plan.js";

/** What a kernel call is made of. */
export const stepOf = ({ attributes }: NativeCall): KernelStep => attributes as KernelStep;

/** The variant that runs a kernel call on this device. */
export const cpuVariantOf = (call: NativeCall): CpuVariant<unknown> =>
  chooseVariant(stepOf(call), { device: "cpu" }) as CpuVariant<unknown>;
