/** The encoder block of SpaceTime as a mixer (Zhang et al., Effectively Modeling Time Series with Simple Discrete State Spaces, 2023). */
import { fftConv } from "@seqmix/fft";
import { defineMixer, inChunks } from "@seqmix/mixer";
import { initLinear, linear, normalInit, uniformInit, type Initializer, type LinearParameters } from "@seqmix/nn";
import {
  add,
  cast,
  concat,
  cumsum,
  equal,
  expandDims,
  flip,
  foldIn,
  gelu,
  mul,
  ones,
  relu,
  reshape,
  silu,
  sliceAxis,
  sum,
  tanh,
  transpose,
  zeros,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import {
  advance,
  companionKernel,
  companionMatrix,
  companionSequence,
  companionStep,
  fromState,
  normalized,
  type CompanionSystem,
} from "./companion.js";
import { packedConvolution } from "./packed.js";
import { preprocessingTaps, tapCount, type PreprocessingConfig } from "./preprocess.js";

/** Settings of {@link spacetime}, with the defaults of the released code where there is one. */
export type SpaceTimeConfig = PreprocessingConfig & {
  /** K companion or shift models; each is used for D/K channels. */
  readonly nKernels: number;
  /** N, state entries a channel. */
  readonly dState: number;
  /** "companion", or "shift": the last column is zero and b the first unit vector, so that c is a filter of N taps. */
  readonly ssm: "companion" | "shift";
  /** Order of the norm that the last column is divided by; 1 keeps the model stable, 0 leaves it. */
  readonly normOrder: number;
  /** Distribution of a, b and c: normal, or uniform in +-1/sqrt(N). */
  readonly kernelInit: "normal" | "xavier";
  /** Whether the model passes a learned share of its present input. */
  readonly ssmSkip: boolean;
  /** Before the linear map behind the model. */
  readonly activation: "gelu" | "relu" | "silu" | "tanh" | "id";
  /** Whether the map's input is added to its output. */
  readonly mlpSkip: boolean;
  /** Whether the block adds its input: what the model saw, or what the filters saw. */
  readonly skip: "none" | "preprocessed" | "input";
  /** Q, positions in a piece of the chunked mode, and of the parallel one with resets. */
  readonly chunkSize: number;
};

/** Parameters under the published keys. */
export type SpaceTimeParameters = {
  readonly ssm: {
    /** Last column before its norm [K N]; none for "shift". */
    readonly a?: Tensor;
    /** [K N]; none for "shift". */
    readonly b?: Tensor;
    /** [K N]. */
    readonly c: Tensor;
    /** What the model passes of its present input [D]; none without `ssmSkip`. */
    readonly skip?: Tensor;
  };
  readonly mlp: {
    /** The map at the place behind the activation: weight [D D], bias [D]. */
    readonly layers: { readonly "1": LinearParameters };
  };
};

/** The state: inputs that the filters still reach [B D W-1], and the models' states [B K D/K N]. */
export type SpaceTimeState = {
  /** Oldest first. */
  readonly past: Tensor;
  /** [B K R N]. */
  readonly h: Tensor;
};

const activations: Readonly<Record<SpaceTimeConfig["activation"], (x: Tensor) => Tensor>> = {
  gelu,
  relu,
  silu,
  tanh,
  id: (x) => x,
};

/**
 * Fixed filters, a companion state-space model for every channel, and an activation with a linear map:
 * z = filters(x), y = SSM(z), then y + W act(y), plus z or x. No step size and no discretization: the model is a recurrence
 * from the start, and holds autoregressive ones exactly. Whole sequences are convolutions; with resets, products in pieces.
 */
export const spacetime = defineMixer({
  id: "spacetime",
  config: {
    dModel: 64,
    nKernels: 16,
    dState: 64,
    ssm: "companion",
    normOrder: 1,
    kernelInit: "normal",
    ssmSkip: false,
    preprocess: "none",
    preKernels: 8,
    maxDiffOrder: 4,
    minAvgWindow: 4,
    maxAvgWindow: 64,
    windowSeed: 42,
    movingAverage: "window",
    activation: "gelu",
    mlpSkip: true,
    skip: "preprocessed",
    chunkSize: 64,
  } as SpaceTimeConfig,
  state: "constant",
  resets: true,
  ranges: { normOrder: [0, 64], maxDiffOrder: [1, 32] },
  choices: {
    ssm: ["companion", "shift"],
    kernelInit: ["normal", "xavier"],
    preprocess: ["none", "differencing", "moving-average", "residual"],
    movingAverage: ["window", "identity"],
    activation: ["gelu", "relu", "silu", "tanh", "id"],
    skip: ["none", "preprocessed", "input"],
  },
  samples: {
    companion: { dModel: 2, nKernels: 1, dState: 3, chunkSize: 3 },
    "shift behind filters": {
      dModel: 2,
      nKernels: 2,
      dState: 2,
      ssm: "shift",
      kernelInit: "xavier",
      ssmSkip: true,
      preprocess: "residual",
      preKernels: 2,
      maxDiffOrder: 1,
      minAvgWindow: 2,
      maxAvgWindow: 4,
      activation: "silu",
      skip: "input",
      chunkSize: 3,
    },
    "second norm, differences": {
      dModel: 2,
      nKernels: 2,
      dState: 2,
      normOrder: 2,
      preprocess: "differencing",
      maxDiffOrder: 2,
      activation: "tanh",
      mlpSkip: false,
      skip: "none",
      chunkSize: 3,
    },
  },

  init(config, key: Key): SpaceTimeParameters {
    const { dModel: D, dState: N, ssm, ssmSkip, nKernels: K, kernelInit } = config;
    channelsPerKernel(config);
    const init: Initializer = kernelInit === "normal" ? normalInit(1) : uniformInit(1 / Math.sqrt(N));
    const draw = (name: string): Tensor => init(foldIn(key, name), [K, N]);
    return {
      ssm: {
        ...(ssm === "companion" && { a: draw("a"), b: draw("b") }),
        c: draw("c"),
        ...(ssmSkip && { skip: ones([D]) }),
      },
      mlp: { layers: { "1": initLinear(foldIn(key, "mlp"), D, D) } },
    };
  },

  initState: (config, batch): SpaceTimeState => ({
    past: zeros([batch, config.dModel, tapCount(config) - 1]),
    h: zeros([batch, config.nKernels, channelsPerKernel(config), config.dState]),
  }),

  step(config, params, x, { past, h }): readonly [Tensor, SpaceTimeState] {
    const { dModel: D, nKernels: K } = config;
    const [B] = x.shape as [number];
    const taps = preprocessingTaps(config);
    const W = tapCount(config);
    const window = concat([past, expandDims(x, 2)], 2);
    const z = taps ? sum(mul(window, reversed(taps)), 2) : x;
    const [y, next] = companionStep(spaceTimeSystem(config, params), reshape(z, [B, K, D / K]), h);
    return [finish(config, params, reshape(y, [B, D]), z, x), { past: sliceAxis(window, 2, 1, W), h: next }];
  },

  modes: {
    parallel: (config, params, x, state, resets) =>
      resets ? packed(config, params, x, state, resets) : whole(config, params, x, state),
    chunked: (config, params, x, state, resets) =>
      resets
        ? packed(config, params, x, state, resets)
        : inChunks(
            (part, carried: SpaceTimeState | undefined) => whole(config, params, part, carried),
            config.chunkSize,
            x,
            state,
          ),
  },
});

/** The models that the parameters stand for, the last column divided by its norm. */
export function spaceTimeSystem(
  { ssm, normOrder }: Pick<SpaceTimeConfig, "ssm" | "normOrder">,
  { ssm: { a, b, c } }: Pick<SpaceTimeParameters, "ssm">,
): CompanionSystem {
  const [K, N] = c.shape as [number, number];
  if (ssm === "shift") return { a: zeros([K, N]), b: b ?? concat([ones([K, 1]), zeros([K, N - 1])], 1), c };
  if (!a || !b)
    throw new TypeError(
      "spaceTimeSystem: expected parameters a, b and c, got c alone; take them from init with the same config",
    );
  return { a: normalized(a, normOrder), b, c };
}

/** A sequence by convolutions. */
function whole(
  config: SpaceTimeConfig,
  params: SpaceTimeParameters,
  x: Tensor,
  state: SpaceTimeState | undefined,
): readonly [Tensor, SpaceTimeState] {
  const { dModel: D, nKernels: K } = config;
  const [B, L] = x.shape as [number, number];
  if (L === 0) return [x, state ?? spacetime.initState(config, B)];
  const taps = preprocessingTaps(config);
  const u = transpose(x);
  const inputs = state ? concat([state.past, u], 2) : u;
  const z = taps ? sliceAxis(fftConv({ u: inputs, k: taps }), 2, inputs.shape[2]! - L, inputs.shape[2]!) : u;
  const [y, h] = companionSequence(spaceTimeSystem(config, params), reshape(z, [B, K, D / K, L]), state?.h);
  const out = finish(config, params, transpose(reshape(y, [B, D, L])), transpose(z), x);
  return [out, { past: lastInputs(inputs, tapCount(config) - 1), h }];
}

/** A sequence of several packed into one, in pieces: within a piece, products with masked matrices; between them, the state. */
const packed = (
  config: SpaceTimeConfig,
  params: SpaceTimeParameters,
  x: Tensor,
  state: SpaceTimeState | undefined,
  resets: Tensor,
): readonly [Tensor, SpaceTimeState] =>
  inChunks(
    (part, carried: SpaceTimeState | undefined, flags) => packedPiece(config, params, part, carried, flags!),
    config.chunkSize,
    x,
    state,
    resets,
  );

function packedPiece(
  config: SpaceTimeConfig,
  params: SpaceTimeParameters,
  x: Tensor,
  state: SpaceTimeState = spacetime.initState(config, x.shape[0]!),
  resets: Tensor,
): readonly [Tensor, SpaceTimeState] {
  const { dModel: D, nKernels: K } = config;
  const [B, L] = x.shape as [number, number];
  if (L === 0) return [x, state];
  const parts = cumsum(cast(resets, "f32"), 1);
  const lastPart = sliceAxis(parts, 1, L - 1, L);
  // 1 where positions are of the same part as the carried state, and as the last position.
  const [first, last] = [cast(equal(parts, 0), "f32"), cast(equal(parts, lastPart), "f32")];
  const carriedOn = sliceAxis(first, 1, L - 1, L);
  const over = (mask: Tensor, rank: number): Tensor =>
    reshape(mask, [B, ...Array.from({ length: rank - 2 }, () => 1), mask.shape[1]!]);
  const u = transpose(x);
  const taps = preprocessingTaps(config);
  const rows = (y: Tensor): Tensor => expandDims(y, 2);
  const z = taps ? reshape(packedConvolution(rows(u), taps, parts, rows(state.past)), [B, D, L]) : u;

  const system = spaceTimeSystem(config, params);
  const A = companionMatrix(system.a);
  const channels = reshape(z, [B, K, D / K, L]);
  const within = packedConvolution(channels, companionKernel(system, L), parts);
  const y = add(within, mul(fromState(system, A, state.h, L), over(first, 4)));
  const [, driven] = companionSequence(system, mul(channels, over(last, 4)));
  const h = add(driven, mul(advance(A, state.h, L), over(carriedOn, 4)));
  const kept = concat([mul(state.past, over(carriedOn, 3)), mul(u, over(last, 3))], 2);
  const out = finish(config, params, transpose(reshape(y, [B, D, L])), transpose(z), x);
  return [out, { past: lastInputs(kept, tapCount(config) - 1), h }];
}

/** What follows the model: y, z and x [.. D] -> [.. D]. */
function finish(
  { activation, mlpSkip, skip }: SpaceTimeConfig,
  { ssm, mlp }: SpaceTimeParameters,
  y: Tensor,
  z: Tensor,
  x: Tensor,
): Tensor {
  const passed = ssm.skip ? add(y, mul(z, ssm.skip)) : y;
  const mapped = linear(mlp.layers["1"], activations[activation](passed));
  const out = mlpSkip ? add(mapped, passed) : mapped;
  return skip === "none" ? out : add(out, skip === "input" ? x : z);
}

/** The last `count` of inputs [B D L], zeros before the first. */
function lastInputs(inputs: Tensor, count: number): Tensor {
  const [B, D, L] = inputs.shape as [number, number, number];
  if (L < count) return concat([zeros([B, D, count - L]), inputs], 2);
  return sliceAxis(inputs, 2, L - count, L);
}

/** Taps [D W] in the order of a window, the oldest input's first. */
const reversed = (taps: Tensor): Tensor => flip(taps, 1);

function channelsPerKernel({ dModel, nKernels }: SpaceTimeConfig): number {
  if (!Number.isInteger(nKernels) || nKernels < 1 || dModel % nKernels !== 0)
    throw new RangeError(`spacetime: expected an nKernels that divides dModel, got ${nKernels} for ${dModel}`);
  return dModel / nKernels;
}
