import { gpt2LanguageModel, llamaLanguageModel, type Gpt2Parameters, type LlamaParameters } from "@seqmix/attention";
import type { TransformerLanguageModelResult } from "@seqmix/attention";
import { cast, type Tensor } from "@seqmix/tensor";
import type { GoldenAdapter, GoldenCase, GoldenValue, GoldenValues } from "@seqmix/testing";
import { parameterTree, real } from "../inputs.js";

type Config = Readonly<Record<string, unknown>>;

const configOf = ({ options }: GoldenCase): Config => options["config"] as Config;

/** Logits, and the residual stream before every layer and before the head. */
function outputsOf({ logits, hiddenStates }: TransformerLanguageModelResult): GoldenValues {
  const out: Record<string, GoldenValue> = { logits };
  hiddenStates.forEach((x, k) => (out[`hidden_states.${k}`] = x));
  return out;
}

const tokensOf = (inputs: GoldenValues): Tensor => cast(real(inputs, "tokens"), "i32");

/** Names the first setting that has another value than those given. */
const only = (config: Config, allowed: Readonly<Record<string, readonly unknown[]>>): true | string =>
  Object.entries(allowed)
    .filter(([name, values]) => name in config && !values.includes(config[name] ?? null))
    .map(([name]) => `${name} ${JSON.stringify(config[name])}`)[0] ?? true;

export const gpt2LmAdapter: GoldenAdapter = {
  operator: "gpt2_lm",
  options: ["batch", "L", "config"],
  supports: (golden) =>
    only(configOf(golden), {
      model_type: ["gpt2"],
      add_cross_attention: [false, null],
      activation_function: ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish"],
    }),
  run(inputs, golden) {
    const config = configOf(golden) as { n_head: number };
    return outputsOf(gpt2LanguageModel(parameterTree(inputs) as Gpt2Parameters, tokensOf(inputs), config));
  },
};

/** transformers computes LLaMA's norms, rotations and softmax in float32 whatever the model's type. */
export const llamaLmAdapter: GoldenAdapter = {
  operator: "llama_lm",
  singlePrecision: true,
  options: ["batch", "L", "config"],
  supports(golden) {
    const config = configOf(golden);
    const rope = (config["rope_parameters"] ?? {}) as Config;
    const plain = only(config, {
      model_type: ["llama"],
      hidden_act: ["silu", "swish"],
      pretraining_tp: [1],
      rope_scaling: [null],
    });
    return plain === true ? only(rope, { rope_type: ["default"] }) : plain;
  },
  run(inputs, golden) {
    const config = configOf(golden) as { num_attention_heads: number };
    return outputsOf(llamaLanguageModel(parameterTree(inputs) as LlamaParameters, tokensOf(inputs), config));
  },
};
