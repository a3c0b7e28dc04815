import { selectiveScanStep } from "@seqmix/selective-scan";
import { reshape, type Tensor } from "@seqmix/tensor";
import type { GoldenAdapter } from "@seqmix/testing";
import { maybe, real } from "../inputs.js";

/** With heads, state [B H P N] and x [B H P]: heads and their channels are one axis here, and B and C [B G N] serve groups of it. */
export const selectiveStateUpdateAdapter: GoldenAdapter = {
  operator: "selective_state_update",
  options: ["batch", "dim", "d_state", "nheads", "ngroups", "D", "z", "dt_bias", "dt_softplus"],
  run(inputs, { options }) {
    const state = real(inputs, "state");
    const x = real(inputs, "x");
    const batch = x.shape[0]!;
    const N = state.shape.at(-1)!;
    const rows = (t: Tensor | undefined): Tensor | undefined => t && reshape(t, [batch, -1]);
    const flat = (t: Tensor | undefined): Tensor | undefined => t && reshape(t, [-1]);
    const { y, h } = selectiveScanStep(
      {
        u: rows(x)!,
        delta: rows(real(inputs, "dt"))!,
        A: reshape(real(inputs, "A"), [-1, N]),
        B: real(inputs, "B"),
        C: real(inputs, "C"),
        D: flat(maybe(inputs, "D")),
        z: rows(maybe(inputs, "z")),
        deltaBias: flat(maybe(inputs, "dt_bias")),
        h: reshape(state, [batch, -1, N]),
      },
      { deltaSoftplus: options["dt_softplus"] === true },
    );
    return { out: reshape(y, x.shape), new_state: reshape(h, state.shape) };
  },
};
