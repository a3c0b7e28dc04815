import { mambaLanguageModel, type MambaLanguageModelParameters } from "@seqmix/mamba";
import { crossEntropy } from "@seqmix/nn";
import { argmax, cast, concat, reshape, sliceAxis, type Tensor } from "@seqmix/tensor";
import type { GoldenAdapter, GoldenValue } from "@seqmix/testing";
import { parameterTree, real } from "../inputs.js";

/** A checkpoint's logits, the residual stream after every layer and after the last norm, its loss on its own next tokens, and its most probable continuation. */
export const mambaLmAdapter: GoldenAdapter = {
  operator: "mamba_lm",
  options: ["batch", "L", "config"],
  supports: ({ options }) =>
    ["silu", "swish"].includes(String((options["config"] as { hidden_act?: string }).hidden_act ?? "silu")) ||
    "hidden_act",
  run(inputs, { options, tensors }) {
    const params = parameterTree(inputs) as MambaLanguageModelParameters;
    const eps = (options["config"] as { layer_norm_epsilon?: number }).layer_norm_epsilon ?? 1e-5;
    const tokens = cast(real(inputs, "input_ids"), "i32");
    const { logits, hiddenStates } = mambaLanguageModel(params, tokens, { eps });
    const out: Record<string, GoldenValue> = { logits };
    hiddenStates.forEach((x, k) => (out[`hidden_states.${k}`] = x));
    const L = tokens.shape[1]!;
    if (tensors["cross_entropy_next_token"])
      out["cross_entropy_next_token"] = crossEntropy(sliceAxis(logits, 1, 0, L - 1), sliceAxis(tokens, 1, 1, L));
    const expected = tensors["greedy_tokens"];
    if (!expected) return out;
    let next = cast(real(inputs, "greedy_prompt"), "i32");
    let state: ReturnType<typeof mambaLanguageModel>["state"] | undefined;
    const chosen: Tensor[] = [];
    for (let t = 0; t < expected.shape[1]!; t++) {
      const result = mambaLanguageModel(params, next, { eps, ...(state && { state }) });
      const [B, length, V] = result.logits.shape as [number, number, number];
      next = reshape(cast(argmax(reshape(sliceAxis(result.logits, 1, length - 1, length), [B, V]), 1), "i32"), [B, 1]);
      chosen.push(next);
      state = result.state;
    }
    return { ...out, greedy_tokens: concat(chosen, 1) };
  },
};
