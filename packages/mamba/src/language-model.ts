/** Mamba language models under the names of published checkpoints (`MambaForCausalLM`). */
import { embedding, linear, rmsNorm, type EmbeddingParameters, type RmsNormParameters } from "@seqmix/nn";
import { add, assertSettings, type Tensor } from "@seqmix/tensor";
import { mamba, type MambaState } from "./mamba.js";
import type { MambaConfig, MambaParameters } from "./parts.js";

/** The tree that a checkpoint's dotted names spell. */
export type MambaLanguageModelParameters = {
  /** Everything but the head. */
  readonly backbone: {
    /** [V D]. */
    readonly embeddings: EmbeddingParameters;
    /** One block a layer, from the input on. */
    readonly layers: readonly {
      /** Scale [D] of the norm before the mixer. */
      readonly norm: RmsNormParameters;
      /** The block. */
      readonly mixer: MambaParameters;
    }[];
    /** Scale [D] of the norm before the head. */
    readonly norm_f: RmsNormParameters;
  };
  /** The head [V D]; none: the embedding's. */
  readonly lm_head?: EmbeddingParameters;
};

/** What {@link mambaLanguageModel} returns. */
export interface MambaLanguageModelResult {
  /** Of the next token at every position [B L V]. */
  readonly logits: Tensor;
  /** The residual stream after each layer, and what the head sees [B L D] each. */
  readonly hiddenStates: readonly Tensor[];
  /** The state of each layer after the last token. */
  readonly state: readonly MambaState[];
}

/** How {@link mambaLanguageModel} runs. */
export interface MambaLanguageModelOptions {
  /** Of the tokens before; none by default. */
  readonly state?: readonly MambaState[] | undefined;
  /** bool [B L], true at the first token of each of several sequences packed into one. */
  readonly resets?: Tensor | undefined;
  /** Of the norms; 1e-5 by default. */
  readonly eps?: number;
}

/** The config that the shapes of a block's parameters spell. */
export function mambaConfigOf(params: MambaParameters): MambaConfig {
  const { A_log, conv1d, dt_proj, in_proj, out_proj } = params;
  const [E, dState] = A_log.shape as [number, number];
  const dModel = out_proj.weight.shape[0]!;
  return {
    ...mamba.config,
    dModel,
    dState,
    dConv: conv1d.weight.shape[2]!,
    expand: E / dModel,
    dtRank: dt_proj.weight?.shape[1] ?? "auto",
    convBias: conv1d.bias !== undefined,
    bias: in_proj.bias !== undefined,
    selectiveDelta: dt_proj.weight !== undefined,
    selectiveB: params.B === undefined,
    selectiveC: params.C === undefined,
    bidirectional: params.conv1d_b ? "v2" : params.A_b_log ? "v1" : "none",
  };
}

/**
 * The whole model: x + mixer(norm(x)) a layer, a last norm, and the head.
 * @param tokens i32 [B L], 0..V-1
 */
export function mambaLanguageModel(
  { backbone, lm_head }: MambaLanguageModelParameters,
  tokens: Tensor,
  options: MambaLanguageModelOptions = {},
): MambaLanguageModelResult {
  assertSettings("mambaLanguageModel", options, { state: "list?", resets: "tensor?", eps: { from: 0 } });
  const { state, resets, eps = 1e-5 } = options;
  let x = embedding(backbone.embeddings, tokens);
  const hiddenStates: Tensor[] = [];
  const after = backbone.layers.map(({ norm, mixer }, k) => {
    const [y, next] = mamba.modes.parallel(mambaConfigOf(mixer), mixer, rmsNorm(norm, x, { eps }), state?.[k], resets);
    x = add(x, y);
    hiddenStates.push(x);
    return next;
  });
  const last = rmsNorm(backbone.norm_f, x, { eps });
  return { logits: linear(lm_head ?? backbone.embeddings, last), hiddenStates: [...hiddenStates, last], state: after };
}
