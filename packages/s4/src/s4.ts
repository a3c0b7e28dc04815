/** S4 and S4D, the block of the published code with its options: a state-space convolution, a pointwise function and a linear map. */
import { fftConv, packedFftConv } from "@seqmix/fft";
import {
  convolve,
  convolvePacked,
  diagonalSystem,
  dplrSystem,
  positiveTransforms,
  stepsAtRate,
  truncatedDplrSystem,
  type DplrLti,
  type PositiveTransform,
  type LtiSystem,
} from "@seqmix/lti";
import { defineMixer, inChunks } from "@seqmix/mixer";
import { linear, uniformInit } from "@seqmix/nn";
import {
  add,
  assertFields,
  assertSettings,
  broadcastTo,
  concat,
  expandDims,
  flip,
  foldIn,
  less,
  mul,
  normal,
  ones,
  pad,
  reshape,
  sliceAxis,
  transpose,
  where,
  zeros,
  type Complex,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import { activated, activations, type Activation } from "./activations.js";
import { initKernel, inputInits, kernelInits, type KernelInit } from "./initial-kernel.js";
import { kernelSystem, type KernelParameters } from "./kernel-parameters.js";
import { oncePerParameters } from "./once.js";

/** What {@link s4Block} needs to know of a config. */
export type S4BlockConfig = {
  /** "dplr", S4, whose transition has a low-rank part and whose discretization is bilinear; or "diag", S4D. */
  readonly mode: "dplr" | "diag";
  /** Discretization of "diag". */
  readonly disc: "zoh" | "bilinear";
  /** Length L' of the C~ = C (1 - Abar^L') that "dplr" trains, the buffer `l_kernel` of checkpoints; 0 if C is the true one. */
  readonly kernelLength: number;
  /** Of `inv_dt`. */
  readonly dtTransform: PositiveTransform;
  /** Of `A_real`. */
  readonly realTransform: PositiveTransform;
  /** Of `A_imag`. */
  readonly imagTransform: PositiveTransform;
  /** Pass `inv_dt` through sinh first. */
  readonly dtFast: boolean;
  /** Leave the imaginary part of A out. */
  readonly forceReal: boolean;
  /** Leave out modes of more than half this many periods a step; 0 for none. */
  readonly bandlimit: number;
  /** A second kernel looks ahead, from the next position on. There is no state then. */
  readonly bidirectional: boolean;
  /** After the convolution; "glu" doubles its outputs. */
  readonly activation: Activation;
  /** Outputs of a channel beside each other, in place of channels of an output. */
  readonly swapChannels: boolean;
  /** After the linear map, which "glu" gives twice as many outputs. */
  readonly finalAct: Activation;
};

/** Settings of {@link s4}. */
export type S4Config = S4BlockConfig & {
  /** Channels D. */
  readonly dModel: number;
  /** N, states a channel counting both of each conjugate pair; even. */
  readonly dState: number;
  /** M, outputs of each channel's system. */
  readonly channels: number;
  /** Start of A, B and P. */
  readonly init: KernelInit;
  /** R, columns of P; at least 2 for "legt". */
  readonly rank: number;
  /** Independent systems, a divisor of dModel: channel h uses system h mod nSsm; 0 for one each. */
  readonly nSsm: number;
  /** Start of B with a formula's eigenvalues. */
  readonly bInit: (typeof inputInits)[number];
  /** Factor of the real parts of a formula's eigenvalues. */
  readonly realScale: number;
  /** Factor of the imaginary parts of a formula's eigenvalues. */
  readonly imagScale: number;
  /** Least and largest initial step size, log-uniform between them. */
  readonly dtMin: number;
  /** See `dtMin`. */
  readonly dtMax: number;
  /** One step size a channel; else one for each mode. */
  readonly dtTie: boolean;
  /** Step sizes evenly spaced, C reading the first coefficient: for debugging. */
  readonly deterministic: boolean;
  /** Real modes, dState of them, with init "diag-real". */
  readonly isReal: boolean;
  /** Q, positions in a piece of the chunked mode. */
  readonly chunkSize: number;
};

/** Parameters under the published keys. */
export type S4Parameters = {
  /** Convolution. */
  readonly layer: {
    /** Skips from input to outputs [M D]. */
    readonly D: Tensor;
    /** What the kernel is made of. */
    readonly kernel: KernelParameters;
  };
  /** The linear map [D M D], or [2D M D] for "glu"; none where the published `final_act` is None. */
  readonly output_linear?: readonly [
    {
      /** [outputs inputs]. */
      readonly weight: Tensor;
      /** [outputs]. */
      readonly bias: Tensor;
    },
  ];
};

/** What {@link s4Block} takes beside the input. */
export interface S4BlockOptions {
  /** State before the first position [B D N]. */
  readonly state?: Complex | undefined;
  /** Sampling rate relative to that of training: 2 for a signal at half the rate. */
  readonly rate?: number;
  /** bool [B L], true where all before the position is forgotten. */
  readonly resets?: Tensor | undefined;
  /** Longest kernel, where it is shorter than the sequence (`l_max` of the published code): later inputs are not seen. */
  readonly longest?: number | undefined;
}

/** The system of the block's kernel. */
export function s4System(config: S4BlockConfig, kernel: KernelParameters, rate = 1): LtiSystem<Complex> {
  const system = systemOf(config, kernel, rate);
  if (config.mode === "diag") return diagonalSystem(system, { rule: config.disc });
  // C~ of L' steps is C~ of L'/rate longer ones.
  const truncation = stepsAtRate(config.kernelLength, rate);
  return truncation > 0 ? truncatedDplrSystem(system as DplrLti, truncation) : dplrSystem(system as DplrLti);
}

/** {@link s4System} at the rate of training. */
const trainedSystem = oncePerParameters((config: S4BlockConfig, kernel: KernelParameters) => s4System(config, kernel));

function systemOf(config: S4BlockConfig, kernel: KernelParameters, rate: number) {
  assertFields("s4Block", config, {
    mode: ["dplr", "diag"],
    disc: ["zoh", "bilinear"],
    kernelLength: { from: 0, whole: true },
    bandlimit: { from: 0 },
    bidirectional: "flag",
    activation: activations,
    swapChannels: "flag",
    finalAct: activations,
  });
  const { dtTransform, realTransform, imagTransform, dtFast, forceReal, bandlimit } = config;
  const transforms = { dtTransform, realTransform, imagTransform, dtFast, forceReal };
  return kernelSystem(kernel, { ...transforms, rate, bandlimit: bandlimit > 0 ? bandlimit : undefined });
}

/**
 * The block on a whole sequence: linear(activation(conv(K, x) + D x)).
 * @param x [B L D]
 * @returns y [B L D], and the state after the last position, but for a config that is bidirectional.
 * @throws RangeError for a state, or resets, with a bidirectional config or a kernel shorter than the sequence.
 */
export function s4Block(
  config: S4BlockConfig,
  params: S4Parameters,
  x: Tensor,
  options: S4BlockOptions = {},
): readonly [Tensor, Complex | undefined] {
  assertSettings("s4Block", options, {
    state: "pair?",
    rate: { above: 0 },
    resets: "tensor?",
    longest: { from: 0, whole: true },
  });
  const { state, rate = 1, resets, longest } = options;
  const L = x.shape[1]!;
  const u = transpose(x);
  const limited = longest !== undefined && stepsAtRate(longest, rate) < L;
  if ((state && config.bidirectional) || ((state ?? resets) && limited))
    throw new RangeError(
      "s4Block: expected no state with both directions, and neither state nor resets with a shorter kernel, got one; leave it out",
    );
  if (resets && config.bidirectional)
    return [s4Output(config, params, packedBothWays(config, params.layer.kernel, rate, u, resets), x), undefined];
  const system = s4System(config, params.layer.kernel, rate);
  if (config.bidirectional || limited) {
    const K = system.kernel(limited ? stepsAtRate(longest, rate) : L);
    return [s4Output(config, params, applyKernel(K, u, config.bidirectional), x), undefined];
  }
  if (resets) {
    const { y, hT } = convolvePacked(system, u, resets, { h0: state });
    return [s4Output(config, params, y, x), hT];
  }
  const { y, hT } = convolve(system, u, state, { skip: params.layer.D });
  return [mixed(config, params, transpose(y, [0, 3, 1, 2])), hT];
}

/** {@link applyKernel} in both directions where sequences are packed. */
function packedBothWays(
  config: S4BlockConfig,
  kernel: KernelParameters,
  rate: number,
  u: Tensor,
  resets: Tensor,
): Tensor {
  const [B, , L] = u.shape as [number, number, number];
  const M = kernel.C.shape[0]! / 2;
  const half = (k: number): LtiSystem<Complex> =>
    s4System(config, { ...kernel, C: sliceAxis(kernel.C, 0, k * M, (k + 1) * M) }, rate);
  const past = convolvePacked(half(0), u, resets).y;
  const ends = endsOf(resets);
  const seen = flip(convolvePacked(half(1), flip(u, 2), flip(ends, 1)).y, 3);
  const next = pad(sliceAxis(seen, 3, 1, L), [0, 0, 0, 0], [0, 0, 0, 1]);
  return add(past, where(reshape(ends, [B, 1, 1, L]), 0, next));
}

/**
 * Convolutions of u [B H L] with M kernels a channel, K [M H L]; [2M H L] for both directions, of which the second M look
 * ahead from the next position on, as in the published code.
 * @returns [B M H L]
 */
export function applyKernel(K: Tensor, u: Tensor, bidirectional: boolean): Tensor {
  const [B, H, L] = u.shape as [number, number, number];
  const M = K.shape[0]! / (bidirectional ? 2 : 1);
  const rows = (x: Tensor): Tensor => reshape(x, [M * H, x.shape[2]!]);
  const repeated = reshape(broadcastTo(expandDims(u, 1), [B, M, H, L]), [B, M * H, L]);
  const ahead = bidirectional ? pad(rows(sliceAxis(K, 0, M, 2 * M)), [0, 1], [0, 0]) : undefined;
  return reshape(fftConv({ u: repeated, k: rows(sliceAxis(K, 0, 0, M)), kReverse: ahead }), [B, M, H, L]);
}

/**
 * {@link applyKernel} of sequences packed into one.
 * @param resets bool [B L], true at the first position of each.
 */
export function applyPackedKernel(K: Tensor, u: Tensor, bidirectional: boolean, resets: Tensor): Tensor {
  const [B, H, L] = u.shape as [number, number, number];
  const M = K.shape[0]! / (bidirectional ? 2 : 1);
  const repeated = reshape(broadcastTo(expandDims(u, 1), [B, M, H, L]), [B, M * H, L]);
  const kernelOf = (k: 0 | 1): Tensor => reshape(sliceAxis(K, 0, k * M, (k + 1) * M), [M * H, K.shape[2]!]);
  const past = packedFftConv({ u: repeated, k: kernelOf(0), resets });
  if (!bidirectional) return reshape(past, [B, M, H, L]);
  const ends = endsOf(resets);
  const seen = flip(packedFftConv({ u: flip(repeated, 2), k: kernelOf(1), resets: flip(ends, 1) }), 2);
  const next = pad(sliceAxis(seen, 2, 1, L), [0, 0, 0], [0, 0, 1]);
  return reshape(add(past, where(expandDims(ends, 1), 0, next)), [B, M, H, L]);
}

/** bool [B L], true at the last position of each sequence: seen from the end, it begins where the next one does not yet. */
function endsOf(resets: Tensor): Tensor {
  const [B, L] = resets.shape as [number, number];
  return concat([sliceAxis(resets, 1, 1, L), broadcastTo(less(0, ones([1, 1])), [B, 1])], 1);
}

/** y [B M D L] of the kernel and x [B L D], or [B M D] and [B D] -> [B L D], or [B D]. */
export function s4Output(
  config: Pick<S4BlockConfig, "activation" | "finalAct" | "swapChannels">,
  params: Pick<S4Parameters, "output_linear"> & { readonly layer: { readonly D: Tensor } },
  y: Tensor,
  x: Tensor,
): Tensor {
  assertFields("s4Output", config, { activation: activations, swapChannels: "flag", finalAct: activations });
  const values = y.shape.length === 4 ? transpose(y, [0, 3, 1, 2]) : y;
  return mixed(config, params, add(values, mul(expandDims(x, -2), params.layer.D)));
}

/** What follows the convolution and its skip: y [.. M D] -> [.. D]. */
function mixed(
  { activation, finalAct, swapChannels }: Pick<S4BlockConfig, "activation" | "finalAct" | "swapChannels">,
  { output_linear }: Pick<S4Parameters, "output_linear">,
  y: Tensor,
): Tensor {
  const [M, H] = y.shape.slice(-2) as [number, number];
  const ordered = swapChannels && M > 1 ? transpose(y) : y;
  const features = activated(activation, reshape(ordered, [...y.shape.slice(0, -2), M * H]));
  return output_linear ? activated(finalAct, linear(output_linear[0], features)) : features;
}

/** Names of the block's own trained dynamics. */
const DYNAMICS = /(^|\.)kernel\.(inv_dt|A_real|A_imag|B|P)$/;

/**
 * The S4 block between norm and residual connection (Gu, Goel, Re, Efficiently Modeling Long Sequences with Structured State
 * Spaces, 2022; Gu, Gupta, Goel, Re, On the Parameterization and Initialization of Diagonal State Space Models, 2022;
 * released as `models/s4/s4.py`). The state is h [B D N]. The published options "gate" and "bottleneck" raise errors there
 * and are left out.
 */
export const s4 = defineMixer({
  id: "s4",
  config: {
    dModel: 64,
    dState: 64,
    channels: 1,
    mode: "dplr",
    disc: "zoh",
    kernelLength: 0,
    init: "legs",
    rank: 1,
    nSsm: 0,
    bInit: "constant",
    realScale: 1,
    imagScale: 1,
    dtMin: 0.001,
    dtMax: 0.1,
    dtTie: true,
    dtTransform: "exp",
    dtFast: false,
    realTransform: "exp",
    imagTransform: "none",
    forceReal: false,
    isReal: false,
    bandlimit: 0,
    deterministic: false,
    bidirectional: false,
    activation: "gelu",
    swapChannels: false,
    finalAct: "glu",
    chunkSize: 256,
  } as S4Config,
  choices: {
    mode: ["dplr", "diag"],
    disc: ["zoh", "bilinear"],
    init: kernelInits,
    bInit: inputInits,
    dtTransform: positiveTransforms,
    realTransform: positiveTransforms,
    imagTransform: positiveTransforms,
    activation: activations,
    finalAct: activations,
  },
  ranges: {
    dState: [2, Infinity, "whole"],
    channels: [1, Infinity, "whole"],
    kernelLength: [0, Infinity, "whole"],
    rank: [1, Infinity, "whole"],
    nSsm: [0, Infinity, "whole"],
    bandlimit: [0, Infinity],
  },
  samples: {
    dplr: { dModel: 2, dState: 4, dtMin: 0.05, dtMax: 0.5, chunkSize: 4 },
    diag: {
      dModel: 2,
      dState: 4,
      dtMin: 0.05,
      dtMax: 0.5,
      mode: "diag",
      init: "diag-lin",
      channels: 2,
      activation: "glu",
      finalAct: "gelu",
      dtTransform: "softplus",
      dtTie: false,
      swapChannels: true,
      chunkSize: 4,
    },
    bidirectional: {
      dModel: 2,
      dState: 4,
      dtMin: 0.05,
      dtMax: 0.5,
      mode: "diag",
      init: "diag-inv",
      bidirectional: true,
    },
  },
  parameterGroups: (lr) => [{ match: DYNAMICS, weightDecay: 0, learningRateScale: Math.min(1, 1e-3 / lr) }],
  causal: ({ bidirectional }) => !bidirectional,
  resets: true,
  state: "constant",

  init(config, key: Key): S4Parameters {
    const { dModel: D, channels, activation, finalAct, bidirectional, mode, nSsm, rank } = config;
    const outputs = channels * (activation === "glu" ? 2 : 1);
    const width = channels * D;
    const bound = uniformInit(1 / Math.sqrt(width));
    const results = finalAct === "glu" ? 2 * D : D;
    return {
      layer: {
        D: normal(foldIn(key, "D"), [outputs, D]),
        kernel: initKernel(
          {
            ...config,
            channels: D,
            outputs: bidirectional ? 2 * outputs : outputs,
            systems: nSsm === 0 ? D : nSsm,
            inputInit: config.bInit,
            rank: mode === "dplr" ? rank : undefined,
          },
          foldIn(key, "kernel"),
        ),
      },
      output_linear: [
        { weight: bound(foldIn(key, "weight"), [results, width]), bias: bound(foldIn(key, "bias"), [results]) },
      ],
    };
  },

  initState: (config, batch): Complex => restState(config, batch),

  step(config, params, x, state) {
    const [y, h] = trainedSystem(config, params.layer.kernel).step(x, state);
    return [s4Output(config, params, y, x), h];
  },

  modes: {
    parallel,
    chunked: (config, params, x, state, resets) =>
      inChunks(
        (piece, carried: Complex | undefined, flags) => parallel(config, params, piece, carried, flags),
        config.chunkSize,
        x,
        state,
        resets,
      ),
  },
});

function parallel(
  config: S4Config,
  params: S4Parameters,
  x: Tensor,
  state?: Complex,
  resets?: Tensor,
): readonly [Tensor, Complex] {
  const [B, L] = x.shape as [number, number];
  if (L === 0) return [x, state ?? restState(config, B)];
  const [y, h] = s4Block(config, params, x, { state, resets });
  return [y, h ?? restState(config, B)];
}

function restState({ dModel, dState, isReal }: S4Config, B: number): Complex {
  const shape = [B, dModel, isReal ? dState : dState / 2];
  return { re: zeros(shape), im: zeros(shape) };
}
