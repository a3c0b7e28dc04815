/** The Mamba-2 block (Dao and Gu, Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State Space Duality, 2024). */
import { defineMixer } from "@seqmix/mixer";
import {
  causalConv1d,
  causalConv1dStep,
  gatedRmsNorm,
  initLinear,
  initRmsNorm,
  linear,
  uniformInit,
  type CausalConv1dParameters,
  type LinearParameters,
  type RmsNormParameters,
} from "@seqmix/nn";
import type { ParameterGroup } from "@seqmix/optim";
import { ssd, ssdStep, ssdStepSizes, type SsdOptions } from "@seqmix/ssd";
import {
  add,
  concat,
  exp,
  expm1,
  foldIn,
  log,
  maximum,
  mul,
  neg,
  ones,
  reshape,
  silu,
  split,
  uniform,
  zeros,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import { readLearnedStart, remainsOfStart } from "./learned-start.js";

/** Settings of {@link mamba2}. */
export type Mamba2Config = {
  /** Channels D of the residual stream. */
  readonly dModel: number;
  /** N, state entries a channel. */
  readonly dState: number;
  /** W, width of the short convolution. */
  readonly dConv: number;
  /** Channels inside the block, E, over those outside. */
  readonly expand: number;
  /** P, channels a head. */
  readonly headDim: number;
  /** G, groups of heads that share B and C. */
  readonly nGroups: number;
  /** HP, channels inside the block that the state-space model has; the others are a gated map. "auto" is all of them. */
  readonly dSsm: number | "auto";
  /** Whether the skip D is a number a channel instead of one a head. */
  readonly dPerChannel: boolean;
  /** Whether the output is normalized by its root mean square. */
  readonly norm: boolean;
  /** norm(y) silu(z) instead of norm(y silu(z)). */
  readonly normBeforeGate: boolean;
  /** Normalize the channels of each group by themselves, as published, or all together, as Hugging Face's code does. */
  readonly normOf: "group" | "all";
  /** Added to the mean square in the norm. */
  readonly normEps: number;
  /** Least and largest initial step size, log-uniform between them. */
  readonly dtMin: number;
  /** See `dtMin`. */
  readonly dtMax: number;
  /** Initial step sizes below this are raised to it. */
  readonly dtInitFloor: number;
  /** Least step size. */
  readonly dtLimitLow: number;
  /** Largest step size. */
  readonly dtLimitHigh: number;
  /** Least initial decay rate: A is uniform in -aInitHigh .. -aInitLow. */
  readonly aInitLow: number;
  /** Largest initial decay rate. */
  readonly aInitHigh: number;
  /** Initial weights of the short convolution are uniform in +- this; "auto" is 1/sqrt(W). */
  readonly convInit: number | "auto";
  /** Whether the short convolution has a bias. */
  readonly convBias: boolean;
  /** Whether the projections into and out of the block have a bias. */
  readonly bias: boolean;
  /** Whether the state before the first position is learned; else it is zero. */
  readonly learnableInitStates: boolean;
  /** Whole sequences by a scan over states, or as attention of all pairs. */
  readonly parallel: "scan" | "attention";
  /** Q, positions in a piece of the chunked mode. */
  readonly chunkSize: number;
};

/** Parameters under the published keys; HP are `dSsm`. */
export type Mamba2Parameters = {
  /** Weight [2E + 2GN + H, D]: of the gated map both parts (2(E - HP)), then z (HP), x (HP), B and C (GN each), dt (H). */
  readonly in_proj: LinearParameters;
  /** The short convolution of x, B and C: weight [HP + 2GN, 1, W], bias [HP + 2GN]. */
  readonly conv1d: CausalConv1dParameters;
  /** Added to dt before softplus [H]. */
  readonly dt_bias: Tensor;
  /** Logarithms of decay rates [H]: A = -exp(A_log). */
  readonly A_log: Tensor;
  /** Skip from input to output [H], or [HP]. */
  readonly D: Tensor;
  /** Scale [HP]; none: no norm. */
  readonly norm?: RmsNormParameters;
  /** The state before the first position [H P N]; none: zeros. */
  readonly init_states?: Tensor;
  /** Weight [D E]. */
  readonly out_proj: LinearParameters;
};

/** The last inputs of the convolution, and the state of the operator. */
export type Mamba2State = {
  /** [B HP+2GN W-1], oldest first. */
  readonly conv: Tensor;
  /** The state that did not come from a learned one [B H N P]. */
  readonly ssm: Tensor;
  /** What is left of the learned initial state [B H]; none if nothing is learned. */
  readonly left?: Tensor;
};

/** Parameter groups of the published training code: no weight decay on A_log, D, dt_bias and initial states. */
export const mamba2ParameterGroups: readonly ParameterGroup[] = [
  { match: /(^|\.)(A_log|D|dt_bias|init_states)$/, weightDecay: 0 },
];

/**
 * [z, x, B, C, dt] = in_proj u; [x, B, C] = silu(conv([x, B, C])); y = ssd(x, dt, A, B, C) + D x by heads; then
 * out_proj(norm(y silu(z))).
 */
export const mamba2 = defineMixer({
  id: "mamba2",
  config: {
    dModel: 64,
    dState: 128,
    dConv: 4,
    expand: 2,
    headDim: 64,
    nGroups: 1,
    dSsm: "auto",
    dPerChannel: false,
    norm: true,
    normBeforeGate: false,
    normOf: "group",
    normEps: 1e-5,
    dtMin: 0.001,
    dtMax: 0.1,
    dtInitFloor: 1e-4,
    dtLimitLow: 0,
    dtLimitHigh: Infinity,
    aInitLow: 1,
    aInitHigh: 16,
    convInit: "auto",
    convBias: true,
    bias: false,
    learnableInitStates: false,
    parallel: "scan",
    chunkSize: 64,
  } as Mamba2Config,
  choices: { normOf: ["group", "all"], parallel: ["scan", "attention"] },
  ranges: {
    dConv: [1, Infinity, "whole"],
    nGroups: [1, Infinity, "whole"],
    aInitLow: [1e-30, Infinity],
    dState: [1, Infinity, "whole"],
    headDim: [1, Infinity, "whole"],
    dSsm: [1, Infinity, "whole"],
    expand: [1e-6, Infinity],
    dtInitFloor: [0, Infinity],
    normEps: [0, Infinity],
    dtLimitLow: [0, Infinity],
    dtLimitHigh: [0, Infinity],
  },
  samples: {
    published: { dModel: 4, dState: 3, headDim: 2, dtMin: 0.05, dtMax: 0.5, aInitHigh: 2, chunkSize: 3 },
    "groups and limits": {
      dModel: 4,
      dState: 2,
      headDim: 2,
      nGroups: 2,
      dConv: 2,
      dtMin: 0.05,
      dtMax: 0.5,
      dtLimitLow: 0.1,
      dtLimitHigh: 0.3,
      aInitHigh: 2,
      normBeforeGate: true,
      normOf: "all",
      convBias: false,
      bias: true,
      parallel: "attention",
      chunkSize: 4,
    },
    "learned start": {
      dModel: 3,
      dState: 2,
      headDim: 2,
      dSsm: 4,
      dConv: 1,
      dPerChannel: true,
      norm: false,
      dtMin: 0.05,
      dtMax: 0.5,
      aInitHigh: 2,
      learnableInitStates: true,
      chunkSize: 5,
    },
  },
  parameterGroups: () => mamba2ParameterGroups,
  residualMaps: /^out_proj\.weight$/,
  resets: true,
  state: "constant",

  init(config, key: Key): Mamba2Parameters {
    const { dModel, dState: N, dConv: W, bias } = config;
    const { E, HP, H, C } = extents(config);
    const standard = uniformInit(1 / Math.sqrt(W));
    const weights = config.convInit === "auto" ? standard : uniformInit(config.convInit);
    return {
      in_proj: initLinear(foldIn(key, "in_proj"), dModel, 2 * (E - HP) + HP + C + H, { bias }),
      conv1d: {
        weight: weights(foldIn(key, "conv1d.weight"), [C, 1, W]),
        ...(config.convBias && { bias: standard(foldIn(key, "conv1d.bias"), [C]) }),
      },
      dt_bias: initialStepBias(config, H, foldIn(key, "dt_bias")),
      A_log: log(uniform(foldIn(key, "A_log"), [H], config.aInitLow, config.aInitHigh)),
      D: ones([config.dPerChannel ? HP : H]),
      ...(config.norm && { norm: initRmsNorm(HP) }),
      ...(config.learnableInitStates && { init_states: zeros([H, config.headDim, N]) }),
      out_proj: initLinear(foldIn(key, "out_proj"), E, dModel, { bias }),
    };
  },

  initState(config, batch): Mamba2State {
    const { H, C } = extents(config);
    return {
      conv: zeros([batch, C, config.dConv - 1]),
      ssm: zeros([batch, H, config.dState, config.headDim]),
      ...(config.learnableInitStates && { left: ones([batch, H]) }),
    };
  },

  step(config, params, x, { conv, ssm, left }) {
    const parts = project(config, params, x);
    const [xBC, next] = causalConv1dStep(depthwise(params), parts.xBC, conv, { activation: "silu" });
    const given = inHeads(config, params, xBC, parts.dt);
    const [y, h] = ssdStep({ ...given, h: ssm }, stepOptions(config));
    if (!params.init_states || !left) return [finish(config, params, parts, y), { conv: next, ssm: h }];
    const remains = mul(left, exp(mul(ssdStepSizes(given.dt, given.dtBias, stepOptions(config)), given.A)));
    const start = readLearnedStart(params.init_states, given.C, remains);
    return [finish(config, params, parts, add(y, start)), { conv: next, ssm: h, left: remains }];
  },

  modes: {
    parallel: (config, params, x, state, resets) =>
      sequence(config, params, x, state, resets, config.parallel === "attention" ? "quadratic" : "recurrent"),
    chunked: (config, params, x, state, resets) => sequence(config, params, x, state, resets, "chunked"),
  },
});

/** A whole sequence by one of the algorithms of structured masked attention. */
function sequence(
  config: Mamba2Config,
  params: Mamba2Parameters,
  x: Tensor,
  state: Mamba2State | undefined,
  resets: Tensor | undefined,
  algorithm: NonNullable<SsdOptions["algorithm"]>,
): readonly [Tensor, Mamba2State] {
  const parts = project(config, params, x);
  const [xBC, conv] = causalConv1d(depthwise(params), parts.xBC, state?.conv, { activation: "silu", resets });
  const given = inHeads(config, params, xBC, parts.dt);
  const options = { ...stepOptions(config), algorithm, chunkSize: config.chunkSize };
  const { y, hT } = ssd({ ...given, h0: state?.ssm, resets }, options);
  if (!params.init_states) return [finish(config, params, parts, y), { conv, ssm: hT }];
  const logDecay = mul(ssdStepSizes(given.dt, given.dtBias, stepOptions(config)), given.A);
  const remains = remainsOfStart(logDecay, state?.left, resets);
  const start = readLearnedStart(params.init_states, given.C, remains.all);
  return [finish(config, params, parts, add(y, start)), { conv, ssm: hT, left: remains.last }];
}

/** The parts of the first projection. */
interface Parts {
  /** Output of the gated map [.. E - HP]; none if the state-space model has all channels. */
  readonly gated: Tensor | undefined;
  /** Gate [.. HP]. */
  readonly z: Tensor;
  /** What the convolution takes [.. HP + 2GN]. */
  readonly xBC: Tensor;
  /** [.. H]. */
  readonly dt: Tensor;
}

function project(config: Mamba2Config, params: Mamba2Parameters, u: Tensor): Parts {
  const { E, HP, H, C } = extents(config);
  const all = linear(params.in_proj, u);
  if (E === HP) {
    const [z, xBC, dt] = split(all, [HP, C, H]) as [Tensor, Tensor, Tensor];
    return { gated: undefined, z, xBC, dt };
  }
  const [z0, x0, z, xBC, dt] = split(all, [E - HP, E - HP, HP, C, H]) as [Tensor, Tensor, Tensor, Tensor, Tensor];
  return { gated: mul(silu(z0), x0), z, xBC, dt };
}

/** What the operator takes, heads apart. */
function inHeads(
  config: Mamba2Config,
  { A_log, D, dt_bias: dtBias }: Mamba2Parameters,
  xBC: Tensor,
  dt: Tensor,
): Record<"x" | "dt" | "A" | "B" | "C" | "D" | "dtBias", Tensor> {
  const { HP, H } = extents(config);
  const { dState: N, nGroups: G, headDim: P } = config;
  const [x, B, C] = split(xBC, [HP, G * N, G * N]) as [Tensor, Tensor, Tensor];
  const heads = (y: Tensor, count: number): Tensor =>
    reshape(y, [...y.shape.slice(0, -1), count, y.shape.at(-1)! / count]);
  return {
    x: heads(x, H),
    B: heads(B, G),
    C: heads(C, G),
    dt,
    dtBias,
    A: neg(exp(A_log)),
    D: config.dPerChannel ? reshape(D, [H, P]) : D,
  };
}

/** Gate, norm, the gated map's channels in front, and the last projection: y [.. H P] -> [.. D]. */
function finish(config: Mamba2Config, params: Mamba2Parameters, { gated, z }: Parts, y: Tensor): Tensor {
  const flat = reshape(y, z.shape);
  const { normBeforeGate, normOf, nGroups, normEps: eps } = config;
  const normed = params.norm
    ? gatedRmsNorm(params.norm, flat, z, { normBeforeGate, groups: normOf === "group" ? nGroups : 1, eps })
    : mul(flat, silu(z));
  return linear(params.out_proj, gated ? concat([gated, normed], -1) : normed);
}

const stepOptions = ({ dtLimitLow, dtLimitHigh }: Mamba2Config): Pick<SsdOptions, "dtSoftplus" | "dtLimit"> => ({
  dtSoftplus: true,
  dtLimit: [dtLimitLow, dtLimitHigh],
});

/** The convolution's parameters without the axis of one input a group. */
function depthwise({ conv1d: { weight, bias } }: Mamba2Parameters): CausalConv1dParameters {
  const flat = reshape(weight, [weight.shape[0]!, weight.shape[2]!]);
  return bias ? { weight: flat, bias } : { weight: flat };
}

/** Channels inside the block E, those of the state-space model HP, its heads H, and the channels C of the convolution. */
function extents(config: Mamba2Config): Record<"E" | "HP" | "H" | "C", number> {
  const { dModel, dState, expand, headDim, nGroups, dSsm } = config;
  const E = expand * dModel;
  const HP = dSsm === "auto" ? E : dSsm;
  const H = HP / headDim;
  if (!Number.isInteger(E) || !Number.isInteger(H) || H < 1 || H % nGroups !== 0 || HP > E)
    throw new RangeError(
      `mamba2: expected headDim that divides ${HP} of ${E} channels into heads, and nGroups that divide the heads, got ${headDim} and ${nGroups}`,
    );
  return { E, HP, H, C: HP + 2 * nGroups * dState };
}

/** The inverse of softplus, dt + log(1 - e^-dt), at step sizes log-uniform in dtMin .. dtMax. */
function initialStepBias({ dtMin, dtMax, dtInitFloor }: Mamba2Config, H: number, key: Key): Tensor {
  const dt = maximum(exp(uniform(key, [H], Math.log(dtMin), Math.log(dtMax))), dtInitFloor);
  return add(dt, log(neg(expm1(neg(dt)))));
}
