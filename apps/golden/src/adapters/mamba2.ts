import {
  mamba2,
  mamba2ConfigOf,
  mamba2LanguageModel,
  type Mamba2Config,
  type Mamba2LanguageModelOptions,
  type Mamba2LanguageModelParameters,
  type Mamba2LanguageModelResult,
  type Mamba2Parameters,
} from "@seqmix/mamba2";
import { crossEntropy } from "@seqmix/nn";
import { add, argmax, cast, concat, mul, reshape, sliceAxis, type Tensor } from "@seqmix/tensor";
import type { GoldenAdapter, GoldenValue } from "@seqmix/testing";
import { parameterTree, real } from "../inputs.js";
import { limitsOf } from "./ssd.js";

/** Settings that the parameters say, or that decide the initial ones alone. */
const GIVEN = [
  "batch",
  "L",
  "d_model",
  "d_state",
  "d_conv",
  "expand",
  "d_ssm",
  "rmsnorm",
  "D_has_hdim",
  "bias",
  "conv_bias",
  "dt_min",
  "dt_max",
  "dt_init_floor",
  "A_init_range",
  "conv_init",
  "use_mem_eff_path",
];

/** The two ways to run whole sequences and chunks in equal parts, so that an error of any shows. */
export const mamba2BlockAdapter: GoldenAdapter = {
  operator: "mamba2_block",
  options: [...GIVEN, "headdim", "ngroups", "chunk_size", "norm_before_gate", "dt_limit"],
  run(inputs, { options }) {
    const params = parameterTree(inputs) as Mamba2Parameters;
    const [low, high] = limitsOf(options["dt_limit"]);
    const config: Mamba2Config = {
      ...mamba2ConfigOf(params, {
        headDim: typeof options["headdim"] === "number" ? options["headdim"] : 64,
        nGroups: typeof options["ngroups"] === "number" ? options["ngroups"] : 1,
      }),
      normBeforeGate: options["norm_before_gate"] === true,
      dtLimitLow: low,
      dtLimitHigh: high,
      chunkSize: typeof options["chunk_size"] === "number" ? options["chunk_size"] : 256,
    };
    const u = real(inputs, "u");
    const [scan, attention, chunked] = [
      mamba2.modes.parallel(config, params, u)[0],
      mamba2.modes.parallel({ ...config, parallel: "attention" }, params, u)[0],
      mamba2.modes.chunked!(config, params, u)[0],
    ];
    return { out: mul(1 / 3, add(add(scan, attention), chunked)) };
  },
};

/** What a Hugging Face config says, as far as it changes the outputs. */
interface HuggingFaceConfig {
  readonly head_dim: number;
  readonly n_groups?: number;
  readonly chunk_size?: number;
  readonly layer_norm_epsilon?: number;
  readonly hidden_act?: string;
  readonly rms_norm?: boolean;
  readonly time_step_limit?: readonly (number | { readonly __float__: string } | null)[];
}

/** Infinity is written as { "__float__": "Infinity" }, or as null. */
const limitOf = (value: number | { readonly __float__: string } | null | undefined, otherwise: number): number =>
  typeof value === "object" && value !== null ? Number(value.__float__) : (value ?? otherwise);

function modelOptions(config: HuggingFaceConfig): Mamba2LanguageModelOptions {
  const [low, high] = config.time_step_limit ?? [];
  return {
    headDim: config.head_dim,
    nGroups: config.n_groups ?? 1,
    eps: config.layer_norm_epsilon ?? 1e-5,
    settings: {
      dtLimitLow: limitOf(low, 0),
      dtLimitHigh: limitOf(high, Infinity),
      chunkSize: config.chunk_size ?? 256,
    },
    mode: "chunked",
  };
}

/** A checkpoint's logits, the residual stream after every layer and after the last norm, its loss on its own next tokens, and its most probable continuation. */
export const mamba2LmAdapter: GoldenAdapter = {
  operator: "mamba2_lm",
  options: ["batch", "L", "config"],
  supports({ options }) {
    const { hidden_act = "silu", rms_norm = true } = options["config"] as HuggingFaceConfig;
    if (!rms_norm) return "rms_norm=false";
    return ["silu", "swish"].includes(hidden_act) || `hidden_act=${hidden_act}`;
  },
  run(inputs, { options, tensors }) {
    const params = parameterTree(inputs) as Mamba2LanguageModelParameters;
    const settings = modelOptions(options["config"] as HuggingFaceConfig);
    const tokens = cast(real(inputs, "input_ids"), "i32");
    const { logits, hiddenStates } = mamba2LanguageModel(params, tokens, settings);
    const out: Record<string, GoldenValue> = { logits };
    hiddenStates.forEach((x, k) => (out[`hidden_states.${k}`] = x));
    const L = tokens.shape[1]!;
    if (tensors["cross_entropy_next_token"])
      out["cross_entropy_next_token"] = crossEntropy(sliceAxis(logits, 1, 0, L - 1), sliceAxis(tokens, 1, 1, L));
    const expected = tensors["greedy_tokens"];
    if (!expected) return out;
    let next = cast(real(inputs, "greedy_prompt"), "i32");
    let state: Mamba2LanguageModelResult["state"] | undefined;
    const chosen: Tensor[] = [];
    for (let t = 0; t < expected.shape[1]!; t++) {
      const result = mamba2LanguageModel(params, next, { ...settings, state });
      const [B, length, V] = result.logits.shape as [number, number, number];
      next = reshape(cast(argmax(reshape(sliceAxis(result.logits, 1, length - 1, length), [B, V]), 1), "i32"), [B, 1]);
      chosen.push(next);
      state = result.state;
    }
    return { ...out, greedy_tokens: concat(chosen, 1) };
  },
};
