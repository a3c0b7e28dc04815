import { hawk, type HawkParameters } from "@seqmix/griffin";
import type { GoldenAdapter } from "@seqmix/testing";
import { count, maybe, parameterTree, real } from "../inputs.js";

/** Griffin's recurrent block over whole sequences; `first` is 1 where a packed sequence begins. */
export const griffinRecurrentBlockAdapter: GoldenAdapter = {
  operator: "griffin_recurrent_block",
  options: ["B", "L", "d_model", "lru_width", "num_heads", "conv1d_temporal_width", "packed"],
  run(inputs, { options }) {
    const config = {
      ...hawk.config,
      dModel: count(options, "d_model"),
      expand: count(options, "lru_width") / count(options, "d_model"),
      nHeads: count(options, "num_heads"),
      dConv: count(options, "conv1d_temporal_width"),
    };
    const params = parameterTree(inputs) as HawkParameters;
    const [out, { h }] = hawk.modes.parallel(config, params, real(inputs, "x"), undefined, maybe(inputs, "first"));
    return { out, state: h };
  },
};
