/** The linear recurrent unit (Orvieto et al., Resurrecting Recurrent Neural Networks for Long Sequences, 2023). */
import { lruRing } from "@seqmix/hippo";
import { defineMixer, inChunks } from "@seqmix/mixer";
import { normalInit } from "@seqmix/nn";
import type { Complex } from "@seqmix/scan";
import { add, cast, cos, exp, expandDims, foldIn, mul, neg, normal, sin, type Key, type Tensor } from "@seqmix/tensor";
import {
  activate,
  initActivation,
  layerActivations,
  type ActivationParameters,
  type LayerActivation,
} from "./activation.js";
import { restState, runMimo, stepMimo, type MimoSystem } from "./diagonal-recurrence.js";

/** Settings of {@link lru}. */
export type LruConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** N, complex states of the whole layer. */
  readonly dState: number;
  /** Initial eigenvalues are uniform on the ring rMin <= |lambda| <= rMax (0 to 1) ... */
  readonly rMin: number;
  /** See `rMin`. */
  readonly rMax: number;
  /** ... with phases in 0 .. maxPhase (radians). */
  readonly maxPhase: number;
  /** What follows the recurrence. */
  readonly activation: LayerActivation;
  /** Q, positions in a piece of the chunked mode. */
  readonly chunkSize: number;
};

/** Parameters of the recurrence under the published keys. */
export type LruSequenceParameters = {
  /** |lambda| = exp(-exp(nu_log)) [N]. */
  readonly nu_log: Tensor;
  /** Phase of lambda = exp(theta_log) [N]. */
  readonly theta_log: Tensor;
  /** Logarithm of the input's scale [N], at first sqrt(1 - |lambda|^2). */
  readonly gamma_log: Tensor;
  /** Input map [N D]. */
  readonly B_re: Tensor;
  /** [N D]. */
  readonly B_im: Tensor;
  /** Output map [D N]. */
  readonly C_re: Tensor;
  /** [D N]. */
  readonly C_im: Tensor;
  /** Skip from input to output [D]. */
  readonly D: Tensor;
};

/** Parameters of the layer under the published keys. */
export type LruParameters = ActivationParameters & {
  /** The recurrence. */
  readonly seq: LruSequenceParameters;
};

/** h_t = lambda h_(t-1) + e^gamma_log B u_t, read out by Re(C h): lambda = exp(-exp(nu_log) + i exp(theta_log)) cannot leave the unit disc. */
export function lruSystem({
  nu_log,
  theta_log,
  gamma_log,
  B_re,
  B_im,
  C_re,
  C_im,
}: Omit<LruSequenceParameters, "D">): MimoSystem {
  const [size, phase] = [exp(neg(exp(nu_log))), exp(theta_log)];
  const gamma = expandDims(exp(gamma_log), 1);
  return {
    a: { re: mul(size, cos(phase)), im: mul(size, sin(phase)) },
    B: { re: mul(B_re, gamma), im: mul(B_im, gamma) },
    C: { re: C_re, im: C_im },
  };
}

/**
 * The recurrence alone: y = Re(C h) + D u.
 * @param u [B L D]
 * @param h0 State before the first position [B N].
 * @param resets bool [B L]: true where the state before the position is forgotten.
 * @returns y [B L D] and the state after the last position [B N].
 */
export function lruSequence(
  params: LruSequenceParameters,
  u: Tensor,
  h0?: Complex,
  resets?: Tensor,
): readonly [Tensor, Complex] {
  const [y, hT] = runMimo(lruSystem(params), u, { h0, resets: resets && cast(resets, "f32") });
  return [add(y, mul(u, params.D)), hT];
}

/** The LRU layer between norm and residual connection: the recurrence, then {@link LayerActivation}. The state is h [B N]. */
export const lru = defineMixer({
  id: "lru",
  config: {
    dModel: 64,
    dState: 64,
    rMin: 0,
    rMax: 1,
    maxPhase: 6.28,
    activation: "full_glu",
    chunkSize: 64,
  } as LruConfig,
  choices: { activation: layerActivations },
  ranges: { rMin: [0, 1], rMax: [0, 1], dState: [1, Infinity, "whole"], maxPhase: [0, Infinity] },
  samples: { published: { dModel: 2, dState: 3, rMin: 0.4, rMax: 0.9, chunkSize: 2 } },
  parameterGroups: () => lruParameterGroups,
  resets: true,
  state: "constant",

  init({ dModel: D, dState: N, rMin, rMax, maxPhase, activation }, key: Key): LruParameters {
    const part = (name: string, shape: readonly number[], deviation: number): Tensor =>
      normalInit(deviation)(foldIn(key, name), shape);
    return {
      seq: {
        ...lruRing({ rMin, rMax, maxPhase }, N, key),
        B_re: part("B_re", [N, D], 1 / Math.sqrt(2 * D)),
        B_im: part("B_im", [N, D], 1 / Math.sqrt(2 * D)),
        C_re: part("C_re", [D, N], 1 / Math.sqrt(N)),
        C_im: part("C_im", [D, N], 1 / Math.sqrt(N)),
        D: normal(foldIn(key, "D"), [D]),
      },
      ...initActivation(activation, D, foldIn(key, "activation")),
    };
  },

  initState: ({ dState }, batch): Complex => restState(batch, dState),

  step({ activation }, { seq, ...gate }, x, state) {
    const [y, h] = stepMimo(lruSystem(seq), x, state);
    return [activate(activation, gate, add(y, mul(x, seq.D))), h];
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
  { activation }: LruConfig,
  { seq, ...gate }: LruParameters,
  x: Tensor,
  state?: Complex,
  resets?: Tensor,
): readonly [Tensor, Complex] {
  const [y, hT] = lruSequence(seq, x, state, resets);
  return [activate(activation, gate, y), hT];
}

/** Parameter groups of the published training code, for an optimizer's `groups`: no weight decay on the recurrence's own parameters, at half the rate. */
export const lruParameterGroups: readonly {
  /** Paths of the parameters. */
  readonly match: RegExp;
  /** In place of the optimizer's. */
  readonly weightDecay: number;
  /** Factor of the learning rate. */
  readonly learningRateScale: number;
}[] = [{ match: /(^|\.)seq\.(nu_log|theta_log|gamma_log|B_re|B_im)$/, weightDecay: 0, learningRateScale: 0.5 }];
