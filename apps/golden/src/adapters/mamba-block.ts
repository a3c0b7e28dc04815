import { mamba, mambaConfigOf, type MambaParameters } from "@seqmix/mamba";
import type { GoldenAdapter } from "@seqmix/testing";
import { parameterTree, real } from "../inputs.js";

/** Settings that decide the initial parameters alone do not matter: the case brings its parameters. */
const INITIAL = ["dt_min", "dt_max", "dt_init", "dt_scale", "dt_init_floor", "use_fast_path"];

export const mambaBlockAdapter: GoldenAdapter = {
  operator: "mamba_block",
  options: ["batch", "L", "d_model", "d_state", "d_conv", "expand", "dt_rank", "bias", "conv_bias", ...INITIAL],
  run(inputs) {
    const params = parameterTree(inputs) as MambaParameters;
    return { out: mamba.modes.parallel(mambaConfigOf(params), params, real(inputs, "hidden_states"))[0] };
  },
};
