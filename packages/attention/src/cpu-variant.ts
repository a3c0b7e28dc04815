/** Attention on the CPU device: WebAssembly SIMD, written by hand. */
import type { KernelCase, KernelVariant } from "@seqmix/tensor";
import { backwardProgram } from "./cpu-backward.js";
import { forwardProgram } from "./cpu-forward.js";
import type { AttentionOptions } from "./options.js";

/** Scores of 32 queries and 64 keys at a time; their memory does not depend on the lengths. */
export const cpuAttention: KernelVariant<AttentionOptions> = {
  device: "cpu",
  name: "wasm simd",
  supports({ dims }: KernelCase<AttentionOptions>): true | string {
    const empty = ["B", "H", "L", "S", "K", "V"].filter((axis) => dims[axis] === 0);
    if (empty.length > 0) return `axis ${empty.join(" and ")} is empty`;
    return dims["K"]! <= 512 && dims["V"]! <= 512 ? true : "a head has more than 512 entries";
  },
  forward: forwardProgram,
  backward: backwardProgram,
};
