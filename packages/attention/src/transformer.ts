/** A layer of the decoder-only Transformer: attention, then a feed-forward map of each element, each behind a norm. */
import { defineMixer } from "@seqmix/mixer";
import {
  gatedMlp,
  initGatedMlp,
  initLayerNorm,
  initMlp,
  initRmsNorm,
  layerNorm,
  mlp,
  normalInit,
  rmsNorm,
  type GatedMlpParameters,
  type LayerNormParameters,
  type MlpParameters,
} from "@seqmix/nn";
import { add, foldIn, namedLeaves, replaceLeaves, zeros, type Key, type Tensor } from "@seqmix/tensor";
import { attention, type AttentionConfig, type AttentionParameters } from "./attention.js";
import type { AttentionState } from "./cache.js";

/** Settings of {@link transformer}: those of {@link attention}, and of the rest of the layer. */
export type TransformerConfig = AttentionConfig & {
  /** "swiglu" (LLaMA) or "gelu" (GPT-2). */
  readonly feedForward: "swiglu" | "gelu";
  /** Channels inside the feed-forward map; 0: 4 D for "gelu", 8/3 D for "swiglu", which has a third map. */
  readonly dHidden: number;
  /** "rms" (LLaMA) or "layer" (GPT-2). */
  readonly norm: "rms" | "layer";
};

/** Parameters of a layer. */
export type TransformerParameters = {
  /** Before attention. */
  readonly ln_1: LayerNormParameters;
  /** As {@link attention} has them. */
  readonly attn: AttentionParameters;
  /** Before the feed-forward map. */
  readonly ln_2: LayerNormParameters;
  /** The feed-forward map. */
  readonly mlp: MlpParameters | GatedMlpParameters;
};

/**
 * x + attention(norm(x)), and to that its feed-forward map of the norm (pre-norm: Radford et al., GPT-2, 2019). The
 * defaults, rotary positions, SwiGLU, RMSNorm and no biases, are the Transformer++ that Mamba's authors compare with
 * (Gu and Dao, 2023, section 4.2). Initialised as GPT-2: normal with deviation 0.02, by 1 / sqrt(2 layers) less where a map
 * ends in the residual stream, biases 0.
 */
export const transformer = defineMixer({
  id: "transformer",
  config: { ...attention.config, feedForward: "swiglu", dHidden: 0, norm: "rms" } as TransformerConfig,
  choices: { ...attention.choices, feedForward: ["swiglu", "gelu"], norm: ["rms", "layer"] },
  ranges: { ...attention.ranges, dHidden: [0, Infinity, "whole"] },
  samples: {
    "swiglu, rope": { dModel: 4, nHeads: 2, nKvHeads: 1, dHidden: 2, chunkSize: 3 },
    "gelu, layer norm, biases": {
      dModel: 2,
      nHeads: 1,
      feedForward: "gelu",
      dHidden: 3,
      norm: "layer",
      bias: true,
      chunkSize: 5,
    },
  },
  state: "grows",
  resets: true,
  residualBranches: 2,
  residualMaps: /^(attn\.out_proj|mlp\.fc2|mlp\.down_proj)\.weight$/,
  residual: "own",
  causal: ({ causal }) => causal,

  init(config, key: Key): TransformerParameters {
    const { dModel: D, feedForward, bias, norm } = config;
    const hidden = hiddenOf(config);
    const params = {
      ln_1: norm === "rms" ? initRmsNorm(D) : initLayerNorm(D),
      attn: attention.init(config, foldIn(key, "attn")),
      ln_2: norm === "rms" ? initRmsNorm(D) : initLayerNorm(D),
      mlp: (feedForward === "gelu" ? initMlp : initGatedMlp)(foldIn(key, "mlp"), D, hidden, { bias }),
    };
    return asGpt2(params, key);
  },

  initState: (config, batch): AttentionState => attention.initState(config, batch),
  reserve: (config, state, length) => attention.reserve!(config, state, length),
  forget: (config, state, flags) => attention.forget!(config, state, flags),

  step: (config, params, x, state) =>
    layer(config, params, x, (normed) => attention.step!(config, params.attn, normed, state)),

  modes: {
    parallel: (config, params, x, state, resets) =>
      layer(config, params, x, (normed) => attention.modes.parallel(config, params.attn, normed, state, resets)),
    chunked: (config, params, x, state, resets) =>
      layer(config, params, x, (normed) => attention.modes.chunked!(config, params.attn, normed, state, resets)),
  },
});

/** x [.. D] through the two parts of a layer. */
function layer(
  { norm }: TransformerConfig,
  params: TransformerParameters,
  x: Tensor,
  attend: (x: Tensor) => readonly [Tensor, AttentionState],
): readonly [Tensor, AttentionState] {
  const normed = norm === "rms" ? rmsNorm : layerNorm;
  const [mixed, state] = attend(normed(params.ln_1, x));
  const between = add(x, mixed);
  const y = normed(params.ln_2, between);
  return [add(between, "fc1" in params.mlp ? mlp(params.mlp, y) : gatedMlp(params.mlp, y)), state];
}

const hiddenOf = ({ dModel, feedForward, dHidden }: TransformerConfig): number =>
  dHidden > 0 ? dHidden : feedForward === "gelu" ? 4 * dModel : Math.ceil((8 * dModel) / 3);

/** The maps' weights and biases drawn as GPT-2's, for one branch alone; norms and positions stay. */
function asGpt2(params: TransformerParameters, key: Key): TransformerParameters {
  const leaves = Object.entries(namedLeaves(params)).map(([path, leaf]) => {
    if (!/_proj\.|fc[12]\./.test(path)) return leaf;
    if (path.endsWith("bias")) return zeros(leaf.shape);
    return normalInit(0.02)(foldIn(key, path), leaf.shape);
  });
  return replaceLeaves(params, leaves);
}
