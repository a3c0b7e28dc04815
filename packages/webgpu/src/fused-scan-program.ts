/** Fused recurrences as WGSL passes. */
import type { ScanKernel } from "@seqmix/tensor/backend";
import type { GpuProgram } from "./program.js";

/** The program of a fused recurrence. @param maxBuffers Buffers a pass may bind. */
export function fusedScanProgram(kernel: ScanKernel, maxBuffers: number): GpuProgram {
  throw new TypeError(`webgpu: expected no fused scans, got one over ${kernel.extents.join("x")} (${maxBuffers} buffers)`);
}
