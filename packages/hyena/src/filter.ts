/** The implicit filter of Hyena: kernels of any length as a small network of the position (Poli et al., Hyena Hierarchy, 2023, section 3.3). */
import { initLinear, type LinearParameters } from "@seqmix/nn";
import {
  abs,
  add,
  arange,
  assertFields,
  cast,
  concat,
  cos,
  div,
  exp,
  expandDims,
  foldIn,
  full,
  matmul,
  mul,
  neg,
  normal,
  reshape,
  sin,
  sliceAxis,
  sum,
  transpose,
  type Key,
  type Tensor,
} from "@seqmix/tensor";

/** What {@link hyenaFilter} needs to know of a config. */
export type HyenaFilterConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** Longest sequence. Positions are measured in it, so parameters trained with one value mean something else with another. */
  readonly lMax: number;
  /** Gates and projections: order + 1 of them, with order - 1 long convolutions between; at least 2. */
  readonly order: number;
  /** Width of the filter's network. */
  readonly filterOrder: number;
  /** Entries of a position's embedding: the position, then (embDim - 1)/2 cosines and as many sines; odd, at least 3. */
  readonly embDim: number;
  /** Initial frequency of the sine activations. */
  readonly w: number;
  /** Whether that frequency is learned. */
  readonly trainFreq: boolean;
  /** Layers of width filterOrder after the first. */
  readonly numInnerMlps: number;
  /** Divide the kernels' values at each position by their sum of magnitudes over channels. */
  readonly normalized: boolean;
  /** Whether the kernels are multiplied by a window that decays with the position. */
  readonly modulate: boolean;
  /** Added to the window: 0 lets kernels die out. */
  readonly shift: number;
  /** The fastest channel's window falls to `target` at this share of lMax. */
  readonly fastDecayPct: number;
  /** The slowest channel's. */
  readonly slowDecayPct: number;
  /** See `fastDecayPct`; 0 to 1. */
  readonly target: number;
  /** Whether the windows' rates are learned; published code does not unless asked. */
  readonly trainDeltas: boolean;
};

/** Parameters of the filter under the published keys; E is embDim, F filterOrder, M = D (order - 1) kernels. */
export type HyenaFilterParameters = {
  /** What each kernel adds of the present input [M]. */
  readonly bias: Tensor;
  /** The positional embedding. */
  readonly pos_emb: {
    /** Embeddings of the positions [1 lMax E]. */
    readonly z: Tensor;
    /** Positions, 0 to 1 [1 lMax 1]: a buffer of checkpoints, t/(lMax - 1) if absent. */
    readonly t?: Tensor;
  };
  /** Maps under the places "0", "2", "4" ..: E to F, F to F, and the last without bias to M. At "1" the frequency of every sine. */
  readonly implicit_filter: { readonly [place: string]: LinearParameters | SineParameters };
  /** The window over the filter. */
  readonly modulation?: {
    /** Rates of the windows [1 1 M]: absent unless learned, or from a checkpoint, where they are a buffer. */
    readonly deltas: Tensor;
  };
};

/** sin(freq x). */
export type SineParameters = {
  /** [1 F]. */
  readonly freq: Tensor;
};

/** Fresh parameters of {@link hyenaFilter}. */
export function initHyenaFilter(config: HyenaFilterConfig, key: Key): HyenaFilterParameters {
  assertFilterConfig(config);
  const { dModel, order, filterOrder: F, embDim, w, trainFreq, numInnerMlps, trainDeltas } = config;
  const kernels = dModel * (order - 1);
  const layer = (place: number, inputs: number, outputs: number, bias = true): [string, LinearParameters] => [
    String(place),
    initLinear(foldIn(key, `implicit_filter.${place}`), inputs, outputs, { bias }),
  ];
  return {
    bias: normal(foldIn(key, "bias"), [kernels]),
    pos_emb: { z: positionalEmbedding(config) },
    implicit_filter: {
      ...Object.fromEntries([
        layer(0, embDim, F),
        ...Array.from({ length: numInnerMlps }, (_, k) => layer(2 * k + 2, F, F)),
        layer(2 * numInnerMlps + 2, F, kernels, false),
      ]),
      ...(trainFreq && { "1": { freq: full([1, F], w) } }),
    },
    ...(trainDeltas && { modulation: { deltas: reshape(decayRates(config), [1, 1, kernels]) } }),
  };
}

/**
 * The kernels: a network with sine activations of the embedded position, times a window
 * $e^{-|\delta_m| t} + shift$, t the share of lMax that a position lies back.
 * @param L Length of the kernels, at most lMax.
 * @returns [M L] with M = D (order - 1)
 * @throws RangeError if L is more than lMax.
 */
export function hyenaFilter(config: HyenaFilterConfig, params: HyenaFilterParameters, L: number): Tensor {
  assertFilterConfig(config);
  const { lMax, normalized, modulate, shift } = config;
  if (L > lMax)
    throw new RangeError(
      `hyena: expected at most lMax = ${lMax} positions, got ${L}; set lMax in the mixer's config to the longest sequence`,
    );
  const { z, t } = params.pos_emb;
  let kernels = network(config, params, reshape(sliceAxis(z, 1, 0, L), [L, z.shape[2]!]));
  if (normalized) kernels = div(kernels, sum(abs(kernels), 0, { keepDims: true }));
  if (!modulate) return kernels;
  const time = t ? reshape(sliceAxis(t, 1, 0, L), [L]) : positions(L, lMax);
  const deltas = params.modulation ? reshape(params.modulation.deltas, [kernels.shape[0]!]) : decayRates(config);
  const window = exp(neg(mul(expandDims(abs(deltas), 1), time)));
  return mul(kernels, add(window, shift));
}

/** x [L E] -> [M L]: the last product writes channels first, as the convolution reads them. */
function network({ w }: HyenaFilterConfig, { implicit_filter }: HyenaFilterParameters, x: Tensor): Tensor {
  const sine = implicit_filter["1"] as SineParameters | undefined;
  const layers = Object.keys(implicit_filter)
    .filter((place) => place !== "1")
    .sort((a, b) => Number(a) - Number(b))
    .map((place) => implicit_filter[place] as LinearParameters);
  let hidden = transpose(x);
  layers.forEach(({ weight, bias }, k) => {
    if (k > 0) hidden = sin(mul(sine ? transpose(sine.freq) : w, hidden));
    hidden = matmul(weight, hidden);
    if (bias) hidden = add(hidden, expandDims(bias, 1));
  });
  return hidden;
}

/** t/(lMax - 1) for the first L positions. */
const positions = (L: number, lMax: number): Tensor => mul(cast(arange(L), "f32"), 1 / Math.max(1, lMax - 1));

/** The position t, then cos(f w_t) and -sin(f w_t) with w_t = 2 pi t / lMax for frequencies f from 1e-4 to bands - 1. */
function positionalEmbedding({ lMax, embDim }: HyenaFilterConfig): Tensor {
  const bands = (embDim - 1) / 2;
  const step = bands === 1 ? 0 : (bands - 1 - 1e-4) / (bands - 1);
  const frequencies = add(1e-4, mul(step, cast(arange(bands), "f32")));
  const angle = mul(expandDims(mul((2 * Math.PI) / lMax, cast(arange(lMax), "f32")), 1), frequencies);
  return expandDims(concat([expandDims(positions(lMax, lMax), 1), cos(angle), neg(sin(angle))], 1), 0);
}

/** Rates evenly from the slowest channel's to the fastest's [M], negative as published: only their size is used. */
function decayRates({ dModel, order, target, slowDecayPct, fastDecayPct }: HyenaFilterConfig): Tensor {
  const kernels = dModel * (order - 1);
  const [slow, fast] = [Math.log(target) / slowDecayPct, Math.log(target) / fastDecayPct];
  return add(slow, mul((fast - slow) / Math.max(1, kernels - 1), cast(arange(kernels), "f32")));
}

function assertFilterConfig(config: HyenaFilterConfig): void {
  const count = { from: 1, whole: true };
  assertFields("hyena", config, {
    dModel: count,
    lMax: count,
    order: { from: 2, whole: true },
    filterOrder: count,
    embDim: { from: 3, whole: true },
    w: { from: 0 },
    trainFreq: "flag",
    numInnerMlps: { from: 0, whole: true },
    normalized: "flag",
    modulate: "flag",
    shift: {},
    fastDecayPct: { above: 0 },
    slowDecayPct: { above: 0 },
    target: { above: 0, to: 1 },
    trainDeltas: "flag",
  });
  if (config.embDim % 2 === 0)
    throw new RangeError(
      `hyena: expected an odd embDim of at least 3, the position, cosines and sines, got ${config.embDim}`,
    );
}
