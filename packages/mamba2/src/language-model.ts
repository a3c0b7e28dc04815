/** Mamba-2 language models under the names of published checkpoints (`Mamba2ForCausalLM`). */
import { configure, type MixerSettings } from "@seqmix/mixer";
import { embedding, linear, rmsNorm, type EmbeddingParameters, type RmsNormParameters } from "@seqmix/nn";
import { add, assertSettings, type Tensor } from "@seqmix/tensor";
import { mamba2, type Mamba2Config, type Mamba2Parameters, type Mamba2State } from "./mamba2.js";

/** The tree that a checkpoint's dotted names spell. */
export type Mamba2LanguageModelParameters = {
  /** Everything but the head. */
  readonly backbone: {
    /** [V D]. */
    readonly embeddings: EmbeddingParameters;
    /** One block a layer, from the input on. */
    readonly layers: readonly {
      /** Scale [D] of the norm before the mixer. */
      readonly norm: RmsNormParameters;
      /** The block. */
      readonly mixer: Mamba2Parameters;
    }[];
    /** Scale [D] of the norm before the head. */
    readonly norm_f: RmsNormParameters;
  };
  /** The head [V D]; none: the embedding's. */
  readonly lm_head?: EmbeddingParameters;
};

/** What {@link mamba2LanguageModel} returns. */
export interface Mamba2LanguageModelResult {
  /** Of the next token at every position [B L V]. */
  readonly logits: Tensor;
  /** The residual stream after each layer, and what the head sees [B L D] each. */
  readonly hiddenStates: readonly Tensor[];
  /** The state of each layer after the last token. */
  readonly state: readonly Mamba2State[];
}

/** How {@link mamba2LanguageModel} runs: what the shapes of a checkpoint do not say. */
export interface Mamba2LanguageModelOptions {
  /** P, channels a head. */
  readonly headDim: number;
  /** G, groups of heads that share B and C; 1 by default. */
  readonly nGroups?: number | undefined;
  /** Further settings of the blocks; `normOf` is "all" by default, as in Hugging Face's code. */
  readonly settings?: Partial<Mamba2Config>;
  /** Of the tokens before; none by default. */
  readonly state?: readonly Mamba2State[] | undefined;
  /** bool [B L], true at the first token of each of several sequences packed into one. */
  readonly resets?: Tensor | undefined;
  /** Of all norms; 1e-5 by default. */
  readonly eps?: number;
  /** How the blocks run; "parallel" by default. */
  readonly mode?: "parallel" | "chunked";
}

const GROUPS = { headDim: { from: 1, whole: true }, nGroups: { from: 1, whole: true } } as const;

/** The config that the shapes of a block's parameters and what they do not say spell. */
export function mamba2ConfigOf(
  { conv1d, D, dt_bias, in_proj, init_states, norm, out_proj }: Mamba2Parameters,
  given: Pick<Mamba2LanguageModelOptions, "headDim" | "nGroups">,
): Mamba2Config {
  assertSettings("mamba2ConfigOf", given, GROUPS);
  const { headDim, nGroups = 1 } = given;
  const [dModel, E] = out_proj.weight.shape as [number, number];
  const [channels, , dConv] = conv1d.weight.shape as [number, number, number];
  const H = dt_bias.shape[0]!;
  const HP = H * headDim;
  return {
    ...mamba2.config,
    dModel,
    dConv,
    headDim,
    nGroups,
    expand: E / dModel,
    dState: (channels - HP) / (2 * nGroups),
    dSsm: HP === E ? "auto" : HP,
    dPerChannel: D.shape[0] !== H,
    norm: norm !== undefined,
    convBias: conv1d.bias !== undefined,
    bias: in_proj.bias !== undefined,
    learnableInitStates: init_states !== undefined,
  };
}

/**
 * The whole model: x + mixer(norm(x)) a layer, a last norm, and the head.
 * @param tokens i32 [B L], 0..V-1
 */
export function mamba2LanguageModel(
  { backbone, lm_head }: Mamba2LanguageModelParameters,
  tokens: Tensor,
  options: Mamba2LanguageModelOptions,
): Mamba2LanguageModelResult {
  assertSettings("mamba2LanguageModel", options, {
    ...GROUPS,
    settings: "own",
    state: "list?",
    resets: "tensor?",
    eps: { from: 0 },
    mode: ["parallel", "chunked"],
  });
  const { headDim, nGroups, settings = {}, state, resets, eps = 1e-5, mode = "parallel" } = options;
  configure(mamba2, settings as MixerSettings);
  let x = embedding(backbone.embeddings, tokens);
  const hiddenStates: Tensor[] = [];
  const after = backbone.layers.map(({ norm, mixer }, k) => {
    const shapes = mamba2ConfigOf(mixer, { headDim, nGroups });
    const config = { ...shapes, normOf: "all" as const, normEps: eps, ...settings };
    const [y, next] = mamba2.modes[mode]!(config, mixer, rmsNorm(norm, x, { eps }), state?.[k], resets);
    x = add(x, y);
    hiddenStates.push(x);
    return next;
  });
  const last = rmsNorm(backbone.norm_f, x, { eps });
  return { logits: linear(lm_head ?? backbone.embeddings, last), hiddenStates: [...hiddenStates, last], state: after };
}
