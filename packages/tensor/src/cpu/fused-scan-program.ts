/** Fused recurrences as WebAssembly. */
import type { ScanKernel } from "../scan-kernel.js";
import type { CpuProgram } from "./program.js";

/** The program of a fused recurrence. */
export function fusedScanProgram(kernel: ScanKernel, memory: { readonly shared: boolean }): CpuProgram {
  throw new TypeError(`cpu: expected no fused scans, got one over ${kernel.extents.join("x")} (shared memory: ${memory.shared})`);
}
