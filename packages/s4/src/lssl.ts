/** Linear state-space layers (Gu et al., Combining Recurrent, Convolutional, and Continuous-time Models with Linear State Space Layers, 2021). */
import { hippo, type HippoMeasureName } from "@seqmix/hippo";
import { convolve, convolvePacked, denseSystem, type LtiSystem } from "@seqmix/lti";
import { defineMixer, inChunks } from "@seqmix/mixer";
import { linear, uniformInit } from "@seqmix/nn";
import {
  add,
  assertFields,
  broadcastTo,
  exp,
  expandDims,
  foldIn,
  mul,
  normal,
  reshape,
  stopGradient,
  tensor,
  transpose,
  uniform,
  zeros,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import { activated, activations, type Activation } from "./activations.js";
import { oncePerParameters } from "./once.js";

/** Measures with a system whose kernel does not explode. */
const measures = ["legs", "legt", "lmu", "lagt", "tlagt", "glagt", "fourier", "random"] as const;

/** Settings of {@link lssl}. */
export type LsslConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** N, states a channel. */
  readonly dState: number;
  /** M, outputs of each channel's system. */
  readonly channels: number;
  /** Start of A and B. */
  readonly measure: "legs" | "legt" | "lmu" | "lagt" | "tlagt" | "glagt" | "fourier" | "random";
  /** What of A and B is trained: nothing, LSSL-fixed; one system for all channels; or one for each. */
  readonly learn: "fixed" | "shared" | "each";
  /** Whether step sizes are trained. */
  readonly learnDt: boolean;
  /** Weight of the derivative at the end of a step in the generalized bilinear rule, 0 .. 1. */
  readonly alpha: number;
  /** Least and largest initial step size, log-uniform between them. */
  readonly dtMin: number;
  /** See `dtMin`. */
  readonly dtMax: number;
  /** After the convolution. */
  readonly activation: Activation;
  /** Q, positions in a piece of the chunked mode. */
  readonly chunkSize: number;
};

/** Parameters. */
export type LsslParameters = {
  /** Transition [N N], or [D N N] for one each. */
  readonly A: Tensor;
  /** Input map [N], or [D N]. */
  readonly B: Tensor;
  /** Output maps [D M N]. */
  readonly C: Tensor;
  /** Skips from input to outputs [D M]. */
  readonly D: Tensor;
  /** Logarithms of step sizes [D]. */
  readonly log_dt: Tensor;
  /** The linear map [D D M] and [D]. */
  readonly output_linear: {
    /** [outputs inputs]. */
    readonly weight: Tensor;
    /** [outputs]. */
    readonly bias: Tensor;
  };
};

/** The system that the parameters stand for; what the config does not train gets no gradient. */
export function lsslSystem(config: LsslConfig, params: LsslParameters): LtiSystem<Tensor> {
  assertFields("lsslSystem", config, {
    learn: ["fixed", "shared", "each"],
    learnDt: "flag",
    alpha: { from: 0, to: 1 },
  });
  const { learn, learnDt, alpha } = config;
  const [D, , N] = params.C.shape as [number, number, number];
  const still = (x: Tensor): Tensor => (learn === "fixed" ? stopGradient(x) : x);
  const log_dt = learnDt ? params.log_dt : stopGradient(params.log_dt);
  return denseSystem(
    {
      dt: exp(log_dt),
      A: broadcastTo(still(params.A), [D, N, N]),
      B: broadcastTo(still(params.B), [D, N]),
      C: transpose(params.C, [1, 0, 2]),
    },
    { rule: "gbt", alpha },
  );
}

const trainedSystem = oncePerParameters(lsslSystem);

/**
 * The LSSL block between norm and residual connection: linear(activation(conv(K, x) + D x)) with a dense system a channel,
 * discretized by the generalized bilinear rule. The state is h [B D N]. Matrices [D N N] are inverted and squared at every
 * step, which is what S4 does without: it is here to compare with.
 */
export const lssl = defineMixer({
  id: "lssl",
  config: {
    dModel: 64,
    dState: 64,
    channels: 1,
    measure: "legs",
    learn: "fixed",
    learnDt: false,
    alpha: 0.5,
    dtMin: 0.001,
    dtMax: 0.1,
    activation: "gelu",
    chunkSize: 256,
  } as LsslConfig,
  choices: {
    measure: measures,
    learn: ["fixed", "shared", "each"],
    activation: activations.filter((name) => name !== "glu"),
  },
  ranges: { dState: [1, Infinity, "whole"], channels: [1, Infinity, "whole"], alpha: [0, 1] },
  samples: {
    shared: { dModel: 2, dState: 3, dtMin: 0.05, dtMax: 0.3, learn: "shared", learnDt: true, chunkSize: 4 },
    each: {
      dModel: 2,
      dState: 3,
      dtMin: 0.05,
      dtMax: 0.3,
      learn: "each",
      learnDt: true,
      measure: "legt",
      channels: 2,
      alpha: 1,
    },
  },
  parameterGroups: (lr) => [
    { match: /(^|\.)(A|B)$/, learningRateScale: Math.min(1, 1e-4 / lr) },
    { match: /(^|\.)log_dt$/, learningRateScale: Math.min(1, 1e-3 / lr) },
  ],
  resets: true,
  state: "constant",

  init({ dModel: D, dState: N, channels: M, measure, learn, dtMin, dtMax }, key: Key): LsslParameters {
    const { A, B } = hippo(measure as HippoMeasureName, N, { key: foldIn(key, "A") });
    const each = (x: Tensor): Tensor => (learn === "each" ? mul(x, broadcastTo(tensor([1]), [D, ...x.shape])) : x);
    const bound = uniformInit(1 / Math.sqrt(M * D));
    return {
      A: each(tensor(A, [N, N])),
      B: each(tensor(B, [N])),
      C: normal(foldIn(key, "C"), [D, M, N]),
      D: normal(foldIn(key, "D"), [D, M]),
      log_dt: uniform(foldIn(key, "log_dt"), [D], Math.log(dtMin), Math.log(dtMax)),
      output_linear: { weight: bound(foldIn(key, "weight"), [D, M * D]), bias: bound(foldIn(key, "bias"), [D]) },
    };
  },

  initState: ({ dModel, dState }, batch): Tensor => zeros([batch, dModel, dState]),

  step(config, params, x, state) {
    const [y, h] = trainedSystem(config, params).step(x, state);
    return [output(config, params, add(transpose(y), mul(expandDims(x, -1), params.D))), h];
  },

  modes: {
    parallel,
    chunked: (config, params, x, state, resets) =>
      inChunks(
        (piece, carried: Tensor | undefined, flags) => parallel(config, params, piece, carried, flags),
        config.chunkSize,
        x,
        state,
        resets,
      ),
  },
});

function parallel(
  config: LsslConfig,
  params: LsslParameters,
  x: Tensor,
  state?: Tensor,
  resets?: Tensor,
): readonly [Tensor, Tensor] {
  const [B, L] = x.shape as [number, number];
  if (L === 0) return [x, state ?? zeros([B, config.dModel, config.dState])];
  const system = lsslSystem(config, params);
  if (resets) {
    const { y, hT } = convolvePacked(system, transpose(x), resets, { h0: state });
    return [output(config, params, add(transpose(y, [0, 3, 2, 1]), mul(expandDims(x, -1), params.D))), hT];
  }
  const { y, hT } = convolve(system, transpose(x), state, { skip: transpose(params.D) });
  return [output(config, params, transpose(y, [0, 3, 2, 1])), hT];
}

/** y [.. D M] -> [.. D]. */
function output({ activation }: LsslConfig, { D, output_linear }: LsslParameters, y: Tensor): Tensor {
  return linear(output_linear, reshape(activated(activation, y), [...y.shape.slice(0, -2), D.size]));
}
