/** The program of a scan step: products of matrices where the recurrence is semiseparable and large, else the states step by step. */
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
  const form = chunkedForm(kernel);
  if (typeof form !== "string") return (await import("./chunked/program.js")).chunkedProgram(form, memory);
  const program = fusedScanProgram(kernel, memory);
  return { ...program, name: `${program.name}; no chunks, since ${form}` };
}
