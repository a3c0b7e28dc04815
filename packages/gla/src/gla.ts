/** Gated linear attention (Yang et al., Gated Linear Attention Transformers with Hardware-Efficient Training, 2024). */
import { defineMixer } from "@seqmix/mixer";
import {
  initLinear,
  initRmsNorm,
  linear,
  rmsNorm,
  uniformInit,
  type LinearParameters,
  type RmsNormParameters,
} from "@seqmix/nn";
import { structuredMaskedAttention, structuredMaskedAttentionStep } from "@seqmix/ssd";
import {
  broadcastTo,
  expandDims,
  foldIn,
  maximum,
  mul,
  neg,
  reshape,
  silu,
  softplus,
  zeros,
  type Key,
  type Tensor,
} from "@seqmix/tensor";

/** Settings of {@link gla}. */
export type GlaConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** Heads H. */
  readonly nHeads: number;
  /** Heads of keys, values and decays, G, each for H/G neighbouring heads of queries; "auto" is H. */
  readonly nKvHeads: number | "auto";
  /** Entries of the queries of all heads over dModel: H K = expandK D. */
  readonly expandK: number;
  /** Entries of the outputs of all heads over dModel: H V = expandV D. */
  readonly expandV: number;
  /** R, rank of the map from the input to the decays. */
  readonly gateRank: number;
  /** Divides the logarithms of the decays, which begin near -log 2: 16 makes a state last for about 23 positions. */
  readonly gateLogitNormalizer: number;
  /** Least logarithm of a decay; -Infinity: none. */
  readonly clampMin: number;
  /** Whether the output is multiplied by silu of a map of the input. */
  readonly outputGate: boolean;
  /** Added to the mean square in the norm of each head. */
  readonly normEps: number;
  /** Whole sequences by a scan over states, or as attention of all pairs (memory B H L^2 K). */
  readonly parallel: "scan" | "attention";
  /** Q, positions in a piece of the chunked mode; it takes memory B H L Q K, or none where the device fuses the sum over K. */
  readonly chunkSize: number;
};

/** Parameters under the keys of flash-linear-attention. */
export type GlaParameters = {
  /** Queries, weight [H K, D]. */
  readonly q_proj: LinearParameters;
  /** Keys, weight [G K, D]. */
  readonly k_proj: LinearParameters;
  /** Values, weight [G V, D]. */
  readonly v_proj: LinearParameters;
  /** The gate of the output, weight [H V, D]; none: no gate. */
  readonly g_proj?: LinearParameters;
  /** Decays: weight [R D], then weight [G K, R] and bias [G K]. */
  readonly gk_proj: readonly [LinearParameters, LinearParameters];
  /** Scale [V] of the norm of each head, where a gate follows. */
  readonly g_norm_swish_gate?: RmsNormParameters;
  /** Scale [V] of the norm of each head, where none does. */
  readonly g_norm?: RmsNormParameters;
  /** Weight [D, H V]. */
  readonly o_proj: LinearParameters;
};

/** The state S [B H K V]. */
export type GlaState = {
  /** [B H K V]. */
  readonly S: Tensor;
};

/**
 * S_t = a_t o S_(t-1) + k_t v_t^T, y_t = q_t^T S_t / sqrt(K), where log a_t = logsigmoid(gk_proj x_t) / 16 has an entry for
 * each key; then a norm of each head, a gate silu(g_proj x) and a linear map.
 */
export const gla = defineMixer({
  id: "gla",
  config: {
    dModel: 64,
    nHeads: 4,
    nKvHeads: "auto",
    expandK: 0.5,
    expandV: 1,
    gateRank: 16,
    gateLogitNormalizer: 16,
    clampMin: -Infinity,
    outputGate: true,
    normEps: 1e-5,
    parallel: "scan",
    chunkSize: 16,
  } as GlaConfig,
  choices: { parallel: ["scan", "attention"] },
  ranges: {
    nHeads: [1, Infinity, "whole"],
    gateRank: [1, Infinity, "whole"],
    clampMin: [-Infinity, 0],
    nKvHeads: [0, Infinity, "whole"],
    gateLogitNormalizer: [1e-30, Infinity],
    normEps: [0, Infinity],
  },
  samples: {
    published: { dModel: 4, nHeads: 2, expandK: 1, gateRank: 2, gateLogitNormalizer: 1, chunkSize: 3 },
    "shared keys": {
      dModel: 4,
      nHeads: 2,
      nKvHeads: 1,
      gateRank: 1,
      gateLogitNormalizer: 2,
      clampMin: -0.4,
      outputGate: false,
      parallel: "attention",
      chunkSize: 4,
    },
  },
  residualMaps: /^o_proj\.weight$/,
  resets: true,
  state: "constant",

  init(config, key: Key): GlaParameters {
    const { dModel: D, gateRank: R } = config;
    const { H, G, K, V } = extents(config);
    const map = (name: string, inputs: number, outputs: number, bias = false): LinearParameters => {
      const weightInit = uniformInit(2 ** -2.5 * Math.sqrt(6 / (inputs + outputs)));
      return initLinear(foldIn(key, name), inputs, outputs, { bias, weightInit, biasInit: uniformInit(0) });
    };
    return {
      q_proj: map("q_proj", D, H * K),
      k_proj: map("k_proj", D, G * K),
      v_proj: map("v_proj", D, G * V),
      ...(config.outputGate && { g_proj: map("g_proj", D, H * V) }),
      gk_proj: [map("gk_proj.0", D, R), map("gk_proj.1", R, G * K, true)],
      ...(config.outputGate ? { g_norm_swish_gate: initRmsNorm(V) } : { g_norm: initRmsNorm(V) }),
      o_proj: map("o_proj", H * V, D),
    };
  },

  initState(config, batch): GlaState {
    const { H, K, V } = extents(config);
    return { S: zeros([batch, H, K, V]) };
  },

  step: (config, params, x, { S }) =>
    layer(config, params, x, (heads) => structuredMaskedAttentionStep({ ...heads, h: S })),

  modes: {
    parallel: (config, params, x, state, resets) =>
      layer(config, params, x, (heads) => {
        const algorithm = config.parallel === "attention" ? "quadratic" : "recurrent";
        const { y, hT } = structuredMaskedAttention({ ...heads, h0: state?.S, resets }, { algorithm });
        return [y, hT];
      }),
    chunked: (config, params, x, state, resets) =>
      layer(config, params, x, (heads) => {
        const { chunkSize } = config;
        const { y, hT } = structuredMaskedAttention(
          { ...heads, h0: state?.S, resets },
          { algorithm: "chunked", chunkSize },
        );
        return [y, hT];
      }),
  },
});

/** Everything around the recurrence: x [.. D] -> [.. D]; `run` takes queries and decays [.. H K], keys [.. G K], values [.. G V]. */
function layer(
  config: GlaConfig,
  params: GlaParameters,
  x: Tensor,
  run: (heads: Readonly<Record<"q" | "k" | "v" | "logDecay", Tensor>>) => readonly [Tensor, Tensor],
): readonly [Tensor, GlaState] {
  const { H, G, K, V } = extents(config);
  const outer = x.shape.slice(0, -1);
  const heads = (map: LinearParameters, count: number, extent: number): Tensor =>
    reshape(linear(map, x), [...outer, count, extent]);
  const [down, up] = params.gk_proj;
  const gate = mul(-1 / config.gateLogitNormalizer, softplus(neg(linear(up, linear(down, x)))));
  const limited = config.clampMin === -Infinity ? gate : maximum(gate, config.clampMin);
  // A decay of shared keys is repeated for each head that has a state of its own.
  const shared = expandDims(reshape(limited, [...outer, G, K]), -2);
  const [y, S] = run({
    q: mul(K ** -0.5, heads(params.q_proj, H, K)),
    k: heads(params.k_proj, G, K),
    v: heads(params.v_proj, G, V),
    logDecay: reshape(broadcastTo(shared, [...outer, G, H / G, K]), [...outer, H, K]),
  });
  const norm = params.g_norm_swish_gate ?? params.g_norm ?? {};
  const normed = reshape(rmsNorm(norm, y, { eps: config.normEps }), [...outer, H * V]);
  return [linear(params.o_proj, params.g_proj ? mul(normed, silu(linear(params.g_proj, x))) : normed), { S }];
}

function extents(config: GlaConfig): Record<"H" | "G" | "K" | "V", number> {
  const { dModel, nHeads: H, nKvHeads, expandK, expandV } = config;
  const G = nKvHeads === "auto" ? H : nKvHeads;
  const [K, V] = [(expandK * dModel) / H, (expandV * dModel) / H];
  if (![K, V, H / G].every((extent) => Number.isInteger(extent) && extent > 0))
    throw new RangeError(
      `gla: expected nHeads that divide ${expandK * dModel} and ${expandV * dModel} entries and nKvHeads that divide nHeads, got ${H} and ${G}`,
    );
  return { H, G, K, V };
}
