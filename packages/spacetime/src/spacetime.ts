/** The encoder block of SpaceTime as a mixer (Zhang et al., Effectively Modeling Time Series with Simple Discrete State Spaces, 2023). */
import { companionSystem, convolve, convolvePacked, type LtiRun, type LtiSystem } from "@seqmix/lti";
import { defineMixer, inChunks } from "@seqmix/mixer";
import { initLinear, linear, normalInit, uniformInit, type Initializer, type LinearParameters } from "@seqmix/nn";
import {
  add,
  concat,
  expandDims,
  foldIn,
  gelu,
  mul,
  ones,
  relu,
  reshape,
  silu,
  tanh,
  transpose,
  zeros,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import { normalized, sharedCompanion } from "./companion.js";
import { preprocessingTaps, type PreprocessingConfig } from "./preprocess.js";

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
  /** The state-space model. */
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
  /** The feed-forward map behind it. */
  readonly mlp: {
    /** The map at the place behind the activation: weight [D D], bias [D]. */
    readonly layers: {
      /** The map behind the activation. */
      readonly "1": LinearParameters;
    };
  };
};

/** The states of the filters, where there are any, and of the models. */
export type SpaceTimeState = {
  /** The last W inputs [B D W], the newest first. */
  readonly filters?: Tensor;
  /** [B D N]. */
  readonly models: Tensor;
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
  ranges: {
    normOrder: [0, 64, "whole"],
    maxDiffOrder: [1, 32, "whole"],
    nKernels: [1, Infinity, "whole"],
    dState: [1, Infinity, "whole"],
    preKernels: [1, Infinity, "whole"],
    minAvgWindow: [1, Infinity, "whole"],
    maxAvgWindow: [1, Infinity, "whole"],
    windowSeed: [0, Infinity, "whole"],
  },
  choices: {
    ssm: ["companion", "shift"],
    kernelInit: ["normal", "xavier"],
    preprocess: ["none", "differencing", "moving-average", "residual"],
    movingAverage: ["window", "identity"],
    activation: ["gelu", "relu", "silu", "tanh", "id"],
    skip: ["none", "preprocessed", "input"],
  },
  samples: {
    companion: { dModel: 2, nKernels: 1, dState: 2, chunkSize: 4 },
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
      chunkSize: 8,
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
      chunkSize: 8,
    },
  },

  init(config, key: Key): SpaceTimeParameters {
    const { dModel: D, dState: N, ssm, ssmSkip, nKernels: K, kernelInit } = config;
    channelsFit(config);
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

  initState(config, batch): SpaceTimeState {
    const filters = filterSystem(config);
    return {
      ...(filters && { filters: filters.restState(batch) }),
      models: zeros([batch, config.dModel, config.dState]),
    };
  },

  step(config, params, x, { filters, models }): readonly [Tensor, SpaceTimeState] {
    const filtering = filterSystem(config);
    const [filtered, nextFilters] = filtering ? filtering.step(x, filters!) : [x, undefined];
    const z = reshape(filtered, x.shape);
    const [y, next] = modelSystem(config, params).step(z, models);
    const state = { ...(nextFilters && { filters: nextFilters }), models: next };
    const { skip } = params.ssm;
    const passed = skip ? add(reshape(y, x.shape), mul(z, skip)) : reshape(y, x.shape);
    return [finish(config, params, passed, z, x), state];
  },

  modes: {
    parallel,
    chunked: (config, params, x, state, resets) =>
      inChunks(
        (part, carried: SpaceTimeState | undefined, flags) => parallel(config, params, part, carried, flags),
        config.chunkSize,
        x,
        state,
        resets,
      ),
  },
});

function parallel(
  config: SpaceTimeConfig,
  params: SpaceTimeParameters,
  x: Tensor,
  state?: SpaceTimeState,
  resets?: Tensor,
): readonly [Tensor, SpaceTimeState] {
  const run = (system: LtiSystem<Tensor>, given: Tensor, h0?: Tensor, skip?: Tensor): LtiRun<Tensor> =>
    resets
      ? convolvePacked(system, given, resets, { h0, skip, pieceLength: config.chunkSize })
      : convolve(system, given, h0, { skip });
  const u = transpose(x);
  const filtering = filterSystem(config);
  const filtered = filtering && run(filtering, u, state?.filters);
  const z = filtered ? reshape(filtered.y, u.shape) : u;
  const { skip } = params.ssm;
  const { y, hT } = run(modelSystem(config, params), z, state?.models, skip && expandDims(skip, 0));
  const out = finish(config, params, transpose(reshape(y, u.shape)), transpose(z), x);
  return [out, { ...(filtered && { filters: filtered.hT }), models: hT }];
}

/** The filters as a shift system: b puts the input into the first place, c are the taps. */
function filterSystem(config: SpaceTimeConfig): LtiSystem<Tensor> | undefined {
  const taps = preprocessingTaps(config);
  return taps && companionSystem({ b: firstPlace(...(taps.shape as [number, number])), c: expandDims(taps, 0) });
}

/** The models that the parameters stand for, the last columns divided by their norms. */
function modelSystem(config: SpaceTimeConfig, { ssm: { a, b, c } }: SpaceTimeParameters): LtiSystem<Tensor> {
  const { ssm, normOrder, dModel } = config;
  channelsFit(config);
  if (ssm === "shift") return sharedCompanion({ b: firstPlace(...(c.shape as [number, number])), c }, dModel);
  if (!a || !b)
    throw new TypeError(
      "spacetime: expected parameters a, b and c, got c alone; take them from init with the same config",
    );
  return sharedCompanion({ a: normalized(a, normOrder), b, c }, dModel);
}

/** One in the first place of each row [K N]. */
const firstPlace = (K: number, N: number): Tensor => concat([ones([K, 1]), zeros([K, N - 1])], 1);

/** What follows the model: y, z and x [.. D] -> [.. D]. */
function finish(
  { activation, mlpSkip, skip }: SpaceTimeConfig,
  { mlp }: SpaceTimeParameters,
  y: Tensor,
  z: Tensor,
  x: Tensor,
): Tensor {
  const mapped = linear(mlp.layers["1"], activations[activation](y));
  const out = mlpSkip ? add(mapped, y) : mapped;
  return skip === "none" ? out : add(out, skip === "input" ? x : z);
}

function channelsFit({ dModel, nKernels }: SpaceTimeConfig): void {
  if (!Number.isInteger(nKernels) || nKernels < 1 || dModel % nKernels !== 0)
    throw new RangeError(`spacetime: expected an nKernels that divides dModel, got ${nKernels} for ${dModel}`);
}
