/** The Hyena operator (Poli et al., Hyena Hierarchy: Towards Larger Convolutional Language Models, 2023), as released in `standalone_hyena.py` and `hyena.py`. */
import { fftConv, packedFftConv } from "@seqmix/fft";
import { defineMixer } from "@seqmix/mixer";
import {
  causalConv1d,
  initCausalConv1d,
  initLinear,
  linearChannelsFirst,
  linearChannelsLast,
  type LinearParameters,
} from "@seqmix/nn";
import {
  add,
  expandDims,
  foldIn,
  gelu,
  mul,
  relu,
  reshape,
  sigmoid,
  silu,
  sliceAxis,
  tanh,
  transpose,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import { hyenaFilter, initHyenaFilter, type HyenaFilterConfig, type HyenaFilterParameters } from "./filter.js";

/** Settings of {@link hyena}, with the defaults of the released code. */
export type HyenaConfig = HyenaFilterConfig & {
  /** W, width of the short convolution behind the input projection. */
  readonly dConv: number;
  /** Whether each long convolution adds a learned share of its present input. */
  readonly bias: boolean;
  /** Before the output projection. */
  readonly activation: "id" | "relu" | "gelu" | "silu" | "tanh" | "sigmoid";
  /** Kernels of an order above 2 in the filter's channels: `standalone_hyena.py` has (order, channel), `hyena.py` (channel, order). */
  readonly filterChannels: "order-major" | "channel-major";
};

/** Parameters under the published keys; C = (order + 1) D. */
export type HyenaParameters = {
  /** Weight [C D], bias [C]: gates x_0 .. x_(order-1), then v. */
  readonly in_proj: LinearParameters;
  /** Weight [C 1 W], bias [C]. */
  readonly short_filter: {
    /** [C 1 W]. */
    readonly weight: Tensor;
    /** [C]. */
    readonly bias: Tensor;
  };
  /** The long kernels. */
  readonly filter_fn: HyenaFilterParameters;
  /** Weight [D D], bias [D]. */
  readonly out_proj: LinearParameters;
};

const activations: Readonly<Record<HyenaConfig["activation"], (x: Tensor) => Tensor>> = {
  id: (x) => x,
  relu,
  gelu,
  silu,
  tanh,
  sigmoid,
};

/**
 * Products with gates and long convolutions in turn: v <- h_o * (x_i v) + bias_o x_i v for the gates x_(order-1) .. x_1,
 * then y = x_0 v, between an input projection with a short convolution and an output projection. The kernels h_o come from
 * {@link hyenaFilter}. They have no finite state, so there is no recurrent mode: a new element needs all earlier ones.
 * Sequences packed into one are convolved by {@link packedFftConv}.
 */
export const hyena = defineMixer({
  id: "hyena",
  config: {
    dModel: 64,
    lMax: 1024,
    order: 2,
    filterOrder: 64,
    embDim: 3,
    w: 1,
    trainFreq: true,
    numInnerMlps: 2,
    normalized: false,
    modulate: true,
    shift: 0,
    fastDecayPct: 0.3,
    slowDecayPct: 1.5,
    target: 0.01,
    trainDeltas: false,
    dConv: 3,
    bias: true,
    activation: "id",
    filterChannels: "order-major",
  } as HyenaConfig,
  resets: true,
  state: "none",
  ranges: {
    order: [2, 8, "whole"],
    embDim: [3, 1025, "whole"],
    filterOrder: [1, 1 << 16, "whole"],
    numInnerMlps: [0, 16, "whole"],
    dConv: [1, 1024, "whole"],
    target: [1e-30, 1],
    lMax: [1, Infinity, "whole"],
    w: [0, Infinity],
    shift: [0, Infinity],
    fastDecayPct: [1e-30, Infinity],
    slowDecayPct: [1e-30, Infinity],
  },
  choices: {
    activation: ["id", "relu", "gelu", "silu", "tanh", "sigmoid"],
    filterChannels: ["order-major", "channel-major"],
  },
  samples: {
    "order 2": { dModel: 2, lMax: 16, filterOrder: 3 },
    "order 3": {
      dModel: 2,
      lMax: 13,
      order: 3,
      filterOrder: 3,
      embDim: 5,
      normalized: true,
      shift: 0.1,
      trainDeltas: true,
      activation: "gelu",
      filterChannels: "channel-major",
    },
  },

  init(config, key: Key): HyenaParameters {
    const { dModel: D, order, dConv } = config;
    const channels = (order + 1) * D;
    const { weight, bias } = initCausalConv1d(foldIn(key, "short_filter"), channels, dConv);
    return {
      in_proj: initLinear(foldIn(key, "in_proj"), D, channels),
      short_filter: { weight: expandDims(weight, 1), bias: bias! },
      filter_fn: initHyenaFilter(config, foldIn(key, "filter_fn")),
      out_proj: initLinear(foldIn(key, "out_proj"), D, D),
    };
  },

  initState: () => ({}),

  modes: {
    parallel(config, params, x, _, resets): readonly [Tensor, Record<string, never>] {
      return [x.shape[1] === 0 ? x : operator(config, params, x, resets), {}];
    },
  },

  // As the released language models, of deviation 0.02 / sqrt(2 layers), each with a feed-forward block.
  residualMaps: /^out_proj\.weight$/,
  parameterGroups: (learningRate) => [
    { match: /(^|\.)filter_fn\.pos_emb\.z$/, weightDecay: 0, learningRateScale: 1e-5 / learningRate },
    { match: /(^|\.)filter_fn\.implicit_filter\./, weightDecay: 0, learningRateScale: 1e-3 / learningRate },
    { match: /(^|\.)filter_fn\.modulation\.deltas$/, weightDecay: 0 },
  ],
});

/** x [B L D] -> [B L D], channels first between the projections. */
function operator(config: HyenaConfig, params: HyenaParameters, x: Tensor, resets?: Tensor): Tensor {
  const { dModel: D, order } = config;
  const L = x.shape[1]!;
  const projected = linearChannelsFirst(params.in_proj, x);
  // Each part by itself, so that its short convolution is computed where it is used.
  const parts = Array.from({ length: order + 1 }, (_, k) =>
    shortConvolution(params, projected, k * D, (k + 1) * D, resets),
  );
  const kernels = eachOrder(config, hyenaFilter(config, params.filter_fn, L));
  const biases = eachOrder(config, expandDims(params.filter_fn.bias, 1));
  // The gate behind a convolution is the factor in front of the next one, or x_0.
  let v = mul(parts[order]!, parts[order - 1]!);
  for (let o = 0; o < order - 1; o++) {
    const skip = config.bias ? reshape(biases[o]!, [D]) : undefined;
    const gate = parts[order - 2 - o]!;
    if (resets) {
      const y = packedFftConv({ u: v, k: kernels[o]!, resets });
      v = mul(gate, skip ? add(y, mul(v, expandDims(skip, 1))) : y);
    } else v = fftConv({ u: v, k: kernels[o]!, skip, gate });
  }
  const y = activations[config.activation](v);
  return linearChannelsLast(params.out_proj, y);
}

/** Channels from .. to - 1 of u [B C L], convolved: [B to-from L]. */
function shortConvolution(
  { short_filter }: HyenaParameters,
  u: Tensor,
  from: number,
  to: number,
  resets?: Tensor,
): Tensor {
  const W = short_filter.weight.shape[2]!;
  const weight = reshape(sliceAxis(short_filter.weight, 0, from, to), [to - from, W]);
  const bias = sliceAxis(short_filter.bias, 0, from, to);
  return transpose(causalConv1d({ weight, bias }, transpose(sliceAxis(u, 1, from, to)), undefined, { resets })[0]);
}

/** Rows [M X] -> one [D X] for each long convolution. */
function eachOrder({ dModel: D, order, filterChannels }: HyenaConfig, rows: Tensor): Tensor[] {
  const count = order - 1;
  const X = rows.shape[1]!;
  const [axis, shape] =
    filterChannels === "order-major" ? ([0, [count, D, X]] as const) : ([1, [D, count, X]] as const);
  const all = reshape(rows, shape);
  return Array.from({ length: count }, (_, o) => reshape(sliceAxis(all, axis, o, o + 1), [D, X]));
}
