import { causalConv1d } from "@seqmix/nn";
import type { GoldenAdapter } from "@seqmix/testing";
import { maybe, real, swap } from "../inputs.js";

/** x [B D L]; "swish" is another name of silu. */
export const causalConv1dAdapter: GoldenAdapter = {
  operator: "causal_conv1d",
  options: ["batch", "dim", "L", "width", "bias", "activation", "initial_states"],
  supports: ({ options }) =>
    [undefined, null, "silu", "swish"].includes(options["activation"] as string | null) ||
    `activation ${String(options["activation"])}`,
  run(inputs, { options }) {
    const bias = maybe(inputs, "bias");
    const [y, state] = causalConv1d(
      { weight: real(inputs, "weight"), ...(bias && { bias }) },
      swap(real(inputs, "x")),
      maybe(inputs, "initial_states"),
      options["activation"] ? { activation: "silu" } : {},
    );
    return { out: swap(y), final_states: state };
  },
};
