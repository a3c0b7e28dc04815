import {
  rwkv4FromHf,
  rwkv4LanguageModel,
  wkv,
  wkv6,
  type Rwkv4ModelParameters,
  type Rwkv4State,
  type RwkvHfParameters,
} from "@seqmix/rwkv";
import { crossEntropy } from "@seqmix/nn";
import { argmax, cast, concat, exp, mul, neg, reshape, sliceAxis, transpose, type Tensor } from "@seqmix/tensor";
import type { GoldenAdapter, GoldenValue } from "@seqmix/testing";
import { maybe, parameterTree, real } from "../inputs.js";

export const rwkv4WkvAdapter: GoldenAdapter = {
  operator: "rwkv4_wkv",
  options: ["B", "T", "C", "initial_state", "key_scale", "seed"],
  run(inputs) {
    const [aa, bb, pp] = ["num_state", "den_state", "max_state"].map((name) => maybe(inputs, name));
    const [out, state] = wkv({
      w: neg(exp(real(inputs, "time_decay"))),
      u: real(inputs, "time_first"),
      k: real(inputs, "key"),
      v: real(inputs, "value"),
      ...(aa && bb && pp && { state: { aa, bb, pp } }),
    });
    return { out, num: state.aa, den: state.bb, max: state.pp };
  },
};

/** Layouts are [B H L ..], queries are scaled by 1/sqrt(K). */
export const rwkv6RecurrenceAdapter: GoldenAdapter = {
  operator: "rwkv6_recurrence",
  options: ["B", "T", "H", "K", "V", "initial_state", "seed"],
  run(inputs) {
    const heads = (name: string): Tensor => transpose(real(inputs, name), [0, 2, 1, 3]);
    const q = heads("q");
    const { y, hT } = wkv6({
      r: mul(q, q.shape[3]! ** -0.5),
      k: heads("k"),
      v: heads("v"),
      logDecay: heads("w"),
      u: real(inputs, "u"),
      h0: maybe(inputs, "initial_state"),
    });
    return { out: transpose(y, [0, 2, 1, 3]), state: hT };
  },
};

export const rwkv4ModelAdapter: GoldenAdapter = {
  operator: "rwkv4_model",
  options: ["B", "T", "vocab", "n_layer", "n_embd", "model_type", "seed"],
  supports: ({ options }) =>
    (options["model_type"] ?? "RWKV") === "RWKV" || `model_type ${String(options["model_type"])}`,
  run: (inputs) => ({
    logits: rwkv4LanguageModel(parameterTree(inputs) as Rwkv4ModelParameters, cast(real(inputs, "idx"), "i32")).logits,
  }),
};

interface HfConfig {
  readonly layer_norm_epsilon?: number;
  readonly rescale_every?: number;
}

/** A checkpoint's logits, the residual stream, its loss on its own next tokens, and its most probable continuation. */
export const rwkvLmHfAdapter: GoldenAdapter = {
  operator: "rwkv_lm_hf",
  options: ["batch", "L", "config"],
  run(inputs, { options, tensors }) {
    const params = rwkv4FromHf(parameterTree(inputs) as RwkvHfParameters);
    const { layer_norm_epsilon: eps = 1e-5, rescale_every: rescaleEvery = 6 } = options["config"] as HfConfig;
    const tokens = cast(real(inputs, "input_ids"), "i32");
    const { logits, hiddenStates } = rwkv4LanguageModel(params, tokens, { eps, rescaleEvery });
    const out: Record<string, GoldenValue> = { logits };
    hiddenStates.forEach((x, k) => (out[`hidden_states.${k}`] = x));
    const L = tokens.shape[1]!;
    if (tensors["cross_entropy_next_token"])
      out["cross_entropy_next_token"] = crossEntropy(sliceAxis(logits, 1, 0, L - 1), sliceAxis(tokens, 1, 1, L));
    const expected = tensors["greedy_tokens"];
    if (!expected) return out;
    let next = cast(real(inputs, "greedy_prompt"), "i32");
    let state: readonly Rwkv4State[] | undefined;
    const chosen: Tensor[] = [];
    for (let t = 0; t < expected.shape[1]!; t++) {
      const result = rwkv4LanguageModel(params, next, { eps, rescaleEvery, state });
      const [B, length, V] = result.logits.shape as [number, number, number];
      next = reshape(argmax(reshape(sliceAxis(result.logits, 1, length - 1, length), [B, V]), 1), [B, 1]);
      chosen.push(next);
      state = result.state;
    }
    return { ...out, greedy_tokens: concat(chosen, 1) };
  },
};
