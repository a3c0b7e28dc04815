import { mamba, type MambaParameters } from "@seqmix/mamba";
import type { GoldenAdapter } from "@seqmix/testing";
import { count, parameterTree, real } from "../inputs.js";

/** Settings that decide the initial parameters alone do not matter: the case brings its parameters. */
const INITIAL = ["dt_min", "dt_max", "dt_init", "dt_scale", "dt_init_floor", "use_fast_path"];

export const mambaBlockAdapter: GoldenAdapter = {
  operator: "mamba_block",
  options: ["batch", "L", "d_model", "d_state", "d_conv", "expand", "dt_rank", "bias", "conv_bias", ...INITIAL],
  run(inputs, { options }) {
    const params = parameterTree(inputs) as MambaParameters;
    const config = {
      ...mamba.config,
      dModel: count(options, "d_model"),
      dState: params.A_log.shape[1]!,
      dConv: params.conv1d.weight.shape[2]!,
      expand: params.D.shape[0]! / count(options, "d_model"),
      dtRank: params.dt_proj.weight.shape[1]!,
      convBias: params.conv1d.bias !== undefined,
      bias: params.in_proj.bias !== undefined,
    };
    return { out: mamba.modes.parallel(config, params, real(inputs, "hidden_states"))[0] };
  },
};
