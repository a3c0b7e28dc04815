/** RWKV-4 language models under the names of published checkpoints: the authors' and Hugging Face's. */
import { embedding, layerNorm, linear, type EmbeddingParameters, type LayerNormParameters } from "@seqmix/nn";
import { add, assertSettings, mul, stopGradient, sub, type Tensor, type Tree } from "@seqmix/tensor";
import {
  rwkv4,
  type ChannelMixParameters,
  type Rwkv4Config,
  type Rwkv4Parameters,
  type Rwkv4State,
  type TimeMixParameters,
} from "./rwkv4.js";

/** The tree that the dotted names of an RWKV-4 `.pth` spell. */
export type Rwkv4ModelParameters = {
  /** Tokens [V D]. */
  readonly emb: EmbeddingParameters;
  /** Layers, from the input on; the first has `ln0`. */
  readonly blocks: readonly Rwkv4Parameters[];
  /** Before the head. */
  readonly ln_out: LayerNormParameters;
  /** The head [V D]. */
  readonly head: EmbeddingParameters;
};

/** A layer under Hugging Face's names. */
export type RwkvHfBlock = {
  /** The norm before the first block alone. */
  readonly pre_ln?: LayerNormParameters;
  /** The norm before time mixing. */
  readonly ln1: LayerNormParameters;
  /** Time mixing. */
  readonly attention: Omit<TimeMixParameters, "time_mix_k" | "time_mix_v" | "time_mix_r"> &
    Readonly<Record<"time_mix_key" | "time_mix_value" | "time_mix_receptance", Tensor>>;
  /** The norm before channel mixing. */
  readonly ln2: LayerNormParameters;
  /** Channel mixing. */
  readonly feed_forward: Omit<ChannelMixParameters, "time_mix_k" | "time_mix_r"> &
    Readonly<Record<"time_mix_key" | "time_mix_receptance", Tensor>>;
};

/** The tree that the dotted names of `RwkvForCausalLM` spell. */
export type RwkvHfParameters = {
  /** Everything but the head. */
  readonly rwkv: {
    /** [V D] */
    readonly embeddings: EmbeddingParameters;
    /** One a layer, from the input on. */
    readonly blocks: readonly RwkvHfBlock[];
    /** The norm before the head. */
    readonly ln_out: LayerNormParameters;
  };
  /** The head [V D]; none: the tokens' vectors. */
  readonly head?: EmbeddingParameters;
};

/** How {@link rwkv4LanguageModel} runs. */
export interface Rwkv4ModelOptions {
  /** Of the tokens before; none by default. */
  readonly state?: readonly Rwkv4State[] | undefined;
  /** Of the norms; 1e-5 by default. */
  readonly eps?: number;
  /**
   * As Hugging Face's inference does for f16: the maps into the residual stream of layer i are divided by
   * 2^floor(i / rescaleEvery), and the stream by 2 after every `rescaleEvery` layers. 0, the default: neither. Gradients are
   * those of the divided maps.
   */
  readonly rescaleEvery?: number;
}

/** What {@link rwkv4LanguageModel} returns. */
export interface Rwkv4ModelResult {
  /** Of the next token at every position [B L V]. */
  readonly logits: Tensor;
  /** The residual stream after each layer, and what the head sees [B L D]. */
  readonly hiddenStates: readonly Tensor[];
  /** Each layer's state after the last token. */
  readonly state: readonly Rwkv4State[];
}

/** The config that the shapes of a layer spell. */
export function rwkv4ConfigOf({ att, ffn }: Rwkv4Parameters): Rwkv4Config {
  const [dAttention, dModel] = att.key.weight.shape as [number, number];
  return { ...rwkv4.config, dModel, dAttention, dHidden: ffn.key.weight.shape[0]! };
}

/**
 * The whole model.
 * @param tokens i32 [B L], 0..V-1
 */
export function rwkv4LanguageModel(
  { emb, blocks, ln_out, head }: Rwkv4ModelParameters,
  tokens: Tensor,
  options: Rwkv4ModelOptions = {},
): Rwkv4ModelResult {
  assertSettings("rwkv4LanguageModel", options, {
    state: "list?",
    eps: { from: 0 },
    rescaleEvery: { from: 0, whole: true },
  });
  const { state, eps = 1e-5, rescaleEvery = 0 } = options;
  let x = embedding(emb, tokens);
  const hiddenStates: Tensor[] = [];
  const after = blocks.map((block, k) => {
    const params = rescaleEvery > 0 ? rescaled(block, 2 ** -Math.floor(k / rescaleEvery)) : block;
    const [y, next] = rwkv4.modes.parallel({ ...rwkv4ConfigOf(block), eps }, params, x, state?.[k]);
    x = rescaleEvery > 0 && (k + 1) % rescaleEvery === 0 ? mul(y, 0.5) : y;
    hiddenStates.push(x);
    return next;
  });
  const last = layerNorm(ln_out, x, { eps });
  return { logits: linear(head, last), hiddenStates: [...hiddenStates, last], state: after };
}

/** A layer whose maps into the residual stream are smaller. */
function rescaled(block: Rwkv4Parameters, factor: number): Rwkv4Parameters {
  const smaller = (w: Tensor): Tensor => add(w, stopGradient(sub(mul(w, factor), w)));
  return {
    ...block,
    att: { ...block.att, output: { weight: smaller(block.att.output.weight) } },
    ffn: { ...block.ffn, value: { weight: smaller(block.ffn.value.weight) } },
  };
}

/** A Hugging Face checkpoint under the authors' names. */
export function rwkv4FromHf({ rwkv, head }: RwkvHfParameters): Rwkv4ModelParameters {
  return {
    emb: rwkv.embeddings,
    blocks: rwkv.blocks.map(({ pre_ln, ln1, attention, ln2, feed_forward }) => {
      const { time_mix_key, time_mix_value, time_mix_receptance, ...att } = attention;
      const { time_mix_key: ffnKey, time_mix_receptance: ffnReceptance, ...ffn } = feed_forward;
      return {
        ...(pre_ln && { ln0: pre_ln }),
        ln1,
        att: { ...att, time_mix_k: time_mix_key, time_mix_v: time_mix_value, time_mix_r: time_mix_receptance },
        ln2,
        ffn: { ...ffn, time_mix_k: ffnKey, time_mix_r: ffnReceptance },
      };
    }),
    ln_out: rwkv.ln_out,
    head: head ?? rwkv.embeddings,
  } satisfies Rwkv4ModelParameters & Tree;
}
