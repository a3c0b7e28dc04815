/** Linear attention as a layer (Katharopoulos et al., Transformers are RNNs, 2020). */
import { defineMixer } from "@seqmix/mixer";
import { initLinear, initRmsNorm, linear, rmsNorm, type LinearParameters, type RmsNormParameters } from "@seqmix/nn";
import { foldIn, mul, reshape, zeros, type Key, type Tensor } from "@seqmix/tensor";
import { applyFeatureMap, featureMaps, featuresOf, type FeatureMap } from "./feature-maps.js";
import {
  bidirectionalLinearAttention,
  linearAttention,
  linearAttentionStep,
  type LinearAttentionState,
} from "./operator.js";

/** Settings of {@link linearAttentionMixer}. */
export type LinearAttentionConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** Heads H. */
  readonly nHeads: number;
  /** K, entries of a query and a key before the feature map; "auto" is dModel / nHeads. */
  readonly dKey: number | "auto";
  /** What stands for the exponential of softmax attention. */
  readonly featureMap: FeatureMap;
  /** Multiply queries by 1/sqrt(K), behind the feature map. */
  readonly scaled: boolean;
  /** Divide by the sum of the weights. */
  readonly normalize: boolean;
  /** Added to the sum of the weights. */
  readonly eps: number;
  /** Norm of each head's output, as models without normalization have it. */
  readonly outNorm: boolean;
  /** Whether a position sees earlier ones only. */
  readonly causal: boolean;
  /** Whether the linear maps have a bias. */
  readonly bias: boolean;
  /** Whole sequences by a scan over states, or as attention of all pairs. */
  readonly parallel: "scan" | "attention";
  /** Q, positions in a piece of the chunked mode. */
  readonly chunkSize: number;
};

/** Parameters under the keys of flash-linear-attention; D is dModel. */
export type LinearAttentionParameters = {
  /** Queries, weight [H K, D]. */
  readonly q_proj: LinearParameters;
  /** Keys, weight [H K, D]. */
  readonly k_proj: LinearParameters;
  /** Values, weight [D D]. */
  readonly v_proj: LinearParameters;
  /** Scale [D/H] of the norm of each head; none: no norm. */
  readonly norm?: RmsNormParameters;
  /** Weight [D D]. */
  readonly o_proj: LinearParameters;
};

/** Queries and keys through a feature map, values as they are, and a linear map of what all heads read. */
export const linearAttentionMixer = defineMixer({
  id: "linear-attention",
  config: {
    dModel: 64,
    nHeads: 4,
    dKey: "auto",
    featureMap: "elu+1",
    scaled: false,
    normalize: true,
    eps: 1e-6,
    outNorm: false,
    causal: true,
    bias: false,
    parallel: "scan",
    chunkSize: 64,
  } as LinearAttentionConfig,
  choices: { featureMap: featureMaps, parallel: ["scan", "attention"] },
  ranges: { nHeads: [1, Infinity, "whole"], eps: [0, Infinity], dKey: [1, Infinity, "whole"] },
  samples: {
    "elu+1": { dModel: 4, nHeads: 2, chunkSize: 3 },
    taylor: { dModel: 4, nHeads: 2, dKey: 1, featureMap: "taylor", parallel: "attention", chunkSize: 4, bias: true },
    unnormalized: { dModel: 4, nHeads: 2, featureMap: "identity", normalize: false, scaled: true, outNorm: true },
    "both ways": { dModel: 4, nHeads: 2, featureMap: "exp", causal: false },
  },
  causal: ({ causal }) => causal,
  resets: true,
  state: "constant",

  init(config, key: Key): LinearAttentionParameters {
    const { dModel: D, nHeads: H, bias } = config;
    const { K } = extents(config);
    const map = (name: string, outputs: number): LinearParameters =>
      initLinear(foldIn(key, name), D, outputs, { bias });
    return {
      q_proj: map("q_proj", H * K),
      k_proj: map("k_proj", H * K),
      v_proj: map("v_proj", D),
      ...(config.outNorm && { norm: initRmsNorm(D / H) }),
      o_proj: map("o_proj", D),
    };
  },

  initState: emptyState,

  step: (config, params, x, state) =>
    layer(config, params, x, (heads) => linearAttentionStep({ ...heads, state }, { eps: config.eps })),

  modes: {
    parallel: (config, params, x, state, resets) =>
      layer(config, params, x, (heads) =>
        config.causal
          ? linearAttention(
              { ...heads, state, resets },
              {
                ...optionsOf(config),
                chunkSize: config.chunkSize,
                algorithm: config.parallel === "attention" ? "quadratic" : "recurrent",
              },
            )
          : [bidirectionalLinearAttention({ ...heads, resets }, optionsOf(config)), emptyState(config, x.shape[0]!)],
      ),
    chunked: (config, params, x, state, resets) =>
      layer(config, params, x, (heads) =>
        linearAttention(
          { ...heads, state, resets },
          { ...optionsOf(config), algorithm: "chunked", chunkSize: config.chunkSize },
        ),
      ),
  },
});

const optionsOf = ({ normalize, eps }: LinearAttentionConfig) => ({ normalize, eps });

function emptyState(config: LinearAttentionConfig, batch: number): LinearAttentionState {
  const { F, V } = extents(config);
  const H = config.nHeads;
  return { S: zeros([batch, H, F, V]), ...(config.normalize && { z: zeros([batch, H, F]) }) };
}

/** Everything around the operator: x [.. D] -> [.. D]; `run` takes features [.. H F] and values [.. H V]. */
function layer(
  config: LinearAttentionConfig,
  params: LinearAttentionParameters,
  x: Tensor,
  run: (heads: Readonly<Record<"q" | "k" | "v", Tensor>>) => readonly [Tensor, LinearAttentionState],
): readonly [Tensor, LinearAttentionState] {
  const { K } = extents(config);
  const heads = (map: LinearParameters): Tensor =>
    reshape(linear(map, x), [...x.shape.slice(0, -1), config.nHeads, map.weight.shape[0]! / config.nHeads]);
  const q = applyFeatureMap(config.featureMap, heads(params.q_proj));
  const [y, state] = run({
    q: config.scaled ? mul(q, 1 / Math.sqrt(K)) : q,
    k: applyFeatureMap(config.featureMap, heads(params.k_proj)),
    v: heads(params.v_proj),
  });
  const normed = params.norm ? rmsNorm(params.norm, y) : y;
  return [linear(params.o_proj, reshape(normed, x.shape)), state];
}

function extents({ dModel, nHeads, dKey, featureMap }: LinearAttentionConfig): Record<"K" | "F" | "V", number> {
  const V = dModel / nHeads;
  const K = dKey === "auto" ? V : dKey;
  if (!Number.isInteger(V) || !Number.isInteger(K) || K < 1)
    throw new RangeError(
      `linear-attention: expected nHeads that divide dModel and a dKey of at least 1, got ${nHeads} for ${dModel} and ${dKey}`,
    );
  return { K, F: featuresOf(featureMap, K), V };
}
