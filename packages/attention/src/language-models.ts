/** Decoder-only Transformers under the names of published checkpoints: GPT-2 and LLaMA. */
import {
  embedding,
  gatedMlp,
  layerNorm,
  linear,
  rmsNorm,
  rotaryEmbedding,
  type EmbeddingParameters,
  type GatedMlpParameters,
  type LayerNormParameters,
  type LinearParameters,
  type RmsNormParameters,
} from "@seqmix/nn";
import {
  add,
  assertFields,
  assertNumber,
  equal,
  expandDims,
  gelu,
  geluTanh,
  matmul,
  relu,
  reshape,
  ShapeError,
  silu,
  sliceAxis,
  split,
  stopGradient,
  transpose,
  where,
  type Tensor,
  type SettingRules,
} from "@seqmix/tensor";
import { scaledDotProductAttention } from "./scaled-dot-product.js";

/** What {@link gpt2LanguageModel} and {@link llamaLanguageModel} return. */
export interface TransformerLanguageModelResult {
  /** Of the next token at every position [B L V]. */
  readonly logits: Tensor;
  /** The input of each layer, and what the head sees [B L D]. */
  readonly hiddenStates: readonly Tensor[];
}

/** Functions that published configs name; "gelu_new" and its like are the tanh approximation. */
export const ACTIVATIONS: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  gelu,
  gelu_new: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  relu,
  silu,
  swish: silu,
};

/** An affine map stored as [I O], as GPT-2's `Conv1D` does. */
export type Conv1dParameters = {
  /** [I O]. */
  readonly weight: Tensor;
  /** [O]. */
  readonly bias: Tensor;
};

/** The tree that the dotted names of `GPT2LMHeadModel` spell. */
export type Gpt2Parameters = {
  /** Everything but the head. */
  readonly transformer: {
    /** Tokens [V D]. */
    readonly wte: EmbeddingParameters;
    /** Positions [P D]. */
    readonly wpe: EmbeddingParameters;
    /** Layers, from the input on. */
    readonly h: readonly {
      /** Before attention. */
      readonly ln_1: LayerNormParameters;
      /** Queries, keys and values side by side [D 3 D], and the output [D D]. */
      readonly attn: {
        /** Queries, keys and values side by side. */
        readonly c_attn: Conv1dParameters;
        /** Back to the channels. */
        readonly c_proj: Conv1dParameters;
      };
      /** Before the feed-forward map. */
      readonly ln_2: LayerNormParameters;
      /** [D F] and [F D]. */
      readonly mlp: {
        /** To the inner channels. */
        readonly c_fc: Conv1dParameters;
        /** Back to the channels. */
        readonly c_proj: Conv1dParameters;
      };
    }[];
    /** Before the head. */
    readonly ln_f: LayerNormParameters;
  };
  /** The head [V D]; none: the tokens' vectors. */
  readonly lm_head?: EmbeddingParameters;
};

/** A published config has many fields beside those that are read, and leaves some of them out. */
function assertValues<T extends object>(name: string, config: T, rules: Partial<SettingRules<T>>): void {
  assertFields(name, config, { [Object.keys(rules)[0]!]: "own" } as never);
  const given = Object.keys(rules).filter((key, place) => place === 0 || config[key as keyof T] !== undefined);
  assertFields(name, config, Object.fromEntries(given.map((key) => [key, rules[key as keyof typeof rules]])) as never);
}

/** Fields of GPT-2's `config.json` that change the values. */
export interface Gpt2Config {
  /** Heads H. */
  readonly n_head: number;
  /** Of the norms; 1e-5 by default. */
  readonly layer_norm_epsilon?: number;
  /** Name in {@link ACTIVATIONS}; "gelu_new" by default. */
  readonly activation_function?: string;
  /** Whether scores are divided by sqrt(P); true by default. */
  readonly scale_attn_weights?: boolean;
  /** Whether scores of layer i are divided by i + 1 as well. */
  readonly scale_attn_by_inverse_layer_idx?: boolean;
}

/**
 * GPT-2 (Radford et al., Language Models are Unsupervised Multitask Learners, 2019).
 * @param tokens i32 [B L], 0..V-1; L at most the positions P of the checkpoint.
 */
export function gpt2LanguageModel(
  { transformer, lm_head }: Gpt2Parameters,
  tokens: Tensor,
  config: Gpt2Config,
): TransformerLanguageModelResult {
  const L = tokens.shape[1]!;
  const most = transformer.wpe.weight.shape[0]!;
  if (L > most) throw new ShapeError(`gpt2LanguageModel: expected at most ${most} tokens, got ${L}; cut the sequence`);
  assertValues("gpt2LanguageModel", config, {
    n_head: { from: 1, whole: true },
    layer_norm_epsilon: { from: 0 },
    activation_function: Object.keys(ACTIVATIONS),
    scale_attn_weights: "flag",
    scale_attn_by_inverse_layer_idx: "flag",
  });
  const { activation_function = "gelu_new", layer_norm_epsilon: eps = 1e-5 } = config;
  const activation = activationOf("gpt2LanguageModel", activation_function);
  let x = add(embedding(transformer.wte, tokens), sliceAxis(transformer.wpe.weight, 0, 0, L));
  const hiddenStates: Tensor[] = [];
  transformer.h.forEach(({ ln_1, attn, ln_2, mlp }, index) => {
    hiddenStates.push(x);
    const D = x.shape[2]!;
    const [q, k, v] = split(conv1d(attn.c_attn, layerNorm(ln_1, x, { eps })), [D, D, D]) as [Tensor, Tensor, Tensor];
    const scale = config.scale_attn_weights === false ? 1 : (D / config.n_head) ** -0.5;
    const mixed = attendHeads(q, k, v, {
      heads: config.n_head,
      groups: config.n_head,
      scale: config.scale_attn_by_inverse_layer_idx ? scale / (index + 1) : scale,
    });
    x = add(x, conv1d(attn.c_proj, mixed));
    x = add(x, conv1d(mlp.c_proj, activation(conv1d(mlp.c_fc, layerNorm(ln_2, x, { eps })))));
  });
  const last = layerNorm(transformer.ln_f, x, { eps });
  return { logits: linear(lm_head ?? transformer.wte, last), hiddenStates: [...hiddenStates, last] };
}

const conv1d = ({ weight, bias }: Conv1dParameters, x: Tensor): Tensor => add(matmul(x, weight), bias);

/** The tree that the dotted names of `LlamaForCausalLM` spell. */
export type LlamaParameters = {
  /** Everything but the head. */
  readonly model: {
    /** Tokens [V D]. */
    readonly embed_tokens: EmbeddingParameters;
    /** Layers, from the input on. */
    readonly layers: readonly {
      /** Before attention. */
      readonly input_layernorm: RmsNormParameters;
      /** Maps of H heads of queries and G of keys and values. */
      readonly self_attn: Readonly<Record<"q_proj" | "k_proj" | "v_proj" | "o_proj", LinearParameters>>;
      /** Before the feed-forward map. */
      readonly post_attention_layernorm: RmsNormParameters;
      /** SwiGLU. */
      readonly mlp: GatedMlpParameters;
    }[];
    /** Before the head. */
    readonly norm: RmsNormParameters;
  };
  /** The head [V D]; none: the tokens' vectors. */
  readonly lm_head?: EmbeddingParameters;
};

/** Fields of LLaMA's `config.json` that change the values. */
export interface LlamaConfig {
  /** Heads H. */
  readonly num_attention_heads: number;
  /** Heads of keys and values G; H by default. */
  readonly num_key_value_heads?: number;
  /** Of the norms; 1e-6 by default. */
  readonly rms_norm_eps?: number;
  /** Base of the rotations; 10000 by default. */
  readonly rope_theta?: number;
  /** Base and kind of the rotations as newer versions write them; the kind must be "default". */
  readonly rope_parameters?: {
    /** Base of the rotary angles. */
    readonly rope_theta?: number;
    /** Which rotary scaling; "default" alone is supported. */
    readonly rope_type?: string;
  };
  /** A token whose vector gets no gradient from the input, as in the published code; none by default. */
  readonly pad_token_id?: number | null;
  /** Another kind of rotations; must be absent. */
  readonly rope_scaling?: unknown;
}

/**
 * LLaMA (Touvron et al., 2023), also with grouped keys.
 * @param tokens i32 [B L], 0..V-1
 * @throws RangeError for rotations of another kind than the default.
 */
export function llamaLanguageModel(
  { model, lm_head }: LlamaParameters,
  tokens: Tensor,
  config: LlamaConfig,
): TransformerLanguageModelResult {
  assertValues("llamaLanguageModel", config, {
    num_attention_heads: { from: 1, whole: true },
    num_key_value_heads: { from: 1, whole: true },
    rms_norm_eps: { from: 0 },
    rope_theta: { above: 0 },
  });
  const pad = config.pad_token_id ?? undefined;
  if (pad !== undefined) assertNumber("llamaLanguageModel", "pad_token_id", pad, { whole: true });
  if (config.rope_parameters !== undefined)
    assertFields("llamaLanguageModel, rope_parameters", config.rope_parameters, { rope_theta: "own" });
  const kind = config.rope_parameters?.rope_type ?? "default";
  if (kind !== "default" || config.rope_scaling)
    throw new RangeError(`llamaLanguageModel: expected rotations of rope_type default, got ${kind} or rope_scaling`);
  const base = config.rope_parameters?.rope_theta ?? config.rope_theta ?? 10000;
  const { num_attention_heads: heads, rms_norm_eps: eps = 1e-6 } = config;
  const groups = config.num_key_value_heads ?? heads;
  const vectors = embedding(model.embed_tokens, tokens);
  let x = pad !== undefined ? where(expandDims(equal(tokens, pad), 2), stopGradient(vectors), vectors) : vectors;
  const hiddenStates: Tensor[] = [];
  for (const { input_layernorm, self_attn, post_attention_layernorm, mlp } of model.layers) {
    hiddenStates.push(x);
    const y = rmsNorm(input_layernorm, x, { eps });
    const [q, k, v] = [self_attn.q_proj, self_attn.k_proj, self_attn.v_proj].map((map) => linear(map, y)) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const mixed = attendHeads(q, k, v, { heads, groups, scale: (q.shape[2]! / heads) ** -0.5, base });
    x = add(x, linear(self_attn.o_proj, mixed));
    x = add(x, gatedMlp(mlp, rmsNorm(post_attention_layernorm, x, { eps })));
  }
  const last = rmsNorm(model.norm, x, { eps });
  return { logits: linear(lm_head ?? model.embed_tokens, last), hiddenStates: [...hiddenStates, last] };
}

/** Causal attention of maps whose heads lie side by side: q [B L H P], k and v [B L G P] -> [B L H P], flat. */
function attendHeads(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { heads, groups, scale, base }: { heads: number; groups: number; scale: number; base?: number },
): Tensor {
  const apart = (x: Tensor, count: number): Tensor => {
    const [B, L, width] = x.shape as [number, number, number];
    return transpose(reshape(x, [B, L, count, width / count]), [0, 2, 1, 3]);
  };
  const turn = (x: Tensor): Tensor => (base === undefined ? x : rotaryEmbedding(x, { base }));
  const { out } = scaledDotProductAttention(
    { q: turn(apart(q, heads)), k: turn(apart(k, groups)), v: apart(v, groups) },
    { causal: true, window: 0, scale, alibi: false },
  );
  return reshape(transpose(out, [0, 2, 1, 3]), q.shape);
}

/** @throws RangeError for a name that is not in {@link ACTIVATIONS}. */
function activationOf(model: string, name: string): (x: Tensor) => Tensor {
  const activation = ACTIVATIONS[name];
  if (!activation)
    throw new RangeError(`${model}: expected an activation out of ${Object.keys(ACTIVATIONS).join(", ")}, got ${name}`);
  return activation;
}
