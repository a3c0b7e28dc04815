/** The selective scan on the CPU device: WebAssembly SIMD, written by hand. */
import type { CpuVariant, KernelCase } from "@seqmix/tensor";
import { backwardProgram } from "./cpu-backward.js";
import { forwardProgram } from "./cpu-forward.js";
import type { CpuScanOptions } from "./cpu-layout.js";

/**
 * Variant of a record with inputs u, delta [B L D], A [D N], B, C [B L N], any of D, deltaBias [D], z [B L D],
 * h0 [B D N] and resets bool [B L], outputs y [B L D] and hT [B D N], and the residual `states` ({@link STATE_AXES}, {@link stateDims}).
 * Neither direction stores a value per position, channel and state. The state is f32; errors are about 1e-6 of the
 * largest value. A result does not depend on the number of threads.
 */
export const cpuSelectiveScan: CpuVariant<CpuScanOptions> = {
  device: "cpu",
  name: "wasm simd",
  supports({ dims }: KernelCase<CpuScanOptions>): true | string {
    const empty = ["B", "L", "D", "N"].filter((axis) => dims[axis] === 0);
    return empty.length === 0 || `axis ${empty.join(" and ")} is empty`;
  },
  forward: forwardProgram,
  backward: backwardProgram,
};
