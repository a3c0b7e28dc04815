/** The program of a scan step: products of matrices where the recurrence is semiseparable and large, else the states step by step. */
import { whenLoaded } from "../../../graph/on-demand.js";
import type { ScanKernel } from "../../../ir/scan-kernel.js";
import type { CpuProgram } from "../program.js";
import { chunkedForm } from "./chunked/form.js";
import { fusedScanProgram, supportsScan } from "./fused/program.js";

/** Whether the recurrence runs as products of matrices. */
export const runsInChunks = (kernel: ScanKernel): boolean => typeof chunkedForm(kernel) !== "string";

/** true, or why the kernel cannot be rendered, or is better not fused. */
export function supportsRecurrence(kernel: ScanKernel): true | string {
  return runsInChunks(kernel) || supportsScan(kernel);
}

/** @throws TypeError where {@link supportsRecurrence} says no. */
export async function recurrenceProgram(kernel: ScanKernel, memory: { readonly shared: boolean }): Promise<CpuProgram> {
  const form = await whenLoaded(() => chunkedForm(kernel));
  const stepByStep = async (): Promise<CpuProgram> => whenLoaded(() => fusedScanProgram(kernel, memory));
  if (typeof form !== "string") {
    const { chunkedProgram, needsChecks } = await import("./chunked/program.js");
    // what runs in its place is at hand: a run does not wait
    const instead = needsChecks(form) ? await stepByStep() : undefined;
    return whenLoaded(() => chunkedProgram(form, memory, instead));
  }
  const program = await stepByStep();
  return { ...program, name: `${program.name}; no chunks, since ${form}` };
}
