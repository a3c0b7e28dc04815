/** S4D, the minimal layer of the published code: a diagonal state-space convolution, GELU, and a gated linear map. */
import { s4dEigenvalues, s4dInits, type S4dInit } from "@seqmix/hippo";
import { convolve, convolvePacked, diagonalSystem, type DiagonalSystem } from "@seqmix/lti";
import { defineMixer, inChunks } from "@seqmix/mixer";
import { glu, linear, normalInit, uniformInit } from "@seqmix/nn";
import {
  add,
  broadcastTo,
  einsum,
  expandDims,
  exp,
  foldIn,
  gelu,
  mul,
  normal,
  ones,
  reshape,
  sliceAxis,
  stack,
  transpose,
  uniform,
  zeros,
  tensor,
  type Complex,
  type Key,
  type Tensor,
} from "@seqmix/tensor";

/** Settings of {@link s4d}. */
export type S4dConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** N, state entries a channel counting both of each conjugate pair; even. */
  readonly dState: number;
  /** Least and largest initial step size, log-uniform between them. */
  readonly dtMin: number;
  /** See `dtMin`. */
  readonly dtMax: number;
  /** Discretization. */
  readonly disc: "zoh" | "bilinear";
  /** Initial eigenvalues. */
  readonly init: S4dInit;
  /** Q, positions in a piece of the chunked mode. */
  readonly chunkSize: number;
};

/** Parameters under the published keys: A = -exp(log_A_real) + i A_imag, B = 1, dt = exp(log_dt). */
export type S4dParameters = {
  /** Skip from input to output [D]. */
  readonly D: Tensor;
  /** What the convolution kernel is made of. */
  readonly kernel: {
    /** Output map [D N/2 2], real and imaginary parts last. */
    readonly C: Tensor;
    /** [D]. */
    readonly log_dt: Tensor;
    /** [D N/2]. */
    readonly log_A_real: Tensor;
    /** [D N/2]. */
    readonly A_imag: Tensor;
  };
  /** A map to values and gates: weight [2D D 1], as of a convolution of width 1, and bias [2D]. */
  readonly output_linear: readonly [
    {
      /** [2D D 1]. */
      readonly weight: Tensor;
      /** [2D]. */
      readonly bias: Tensor;
    },
  ];
};

/**
 * Parameter groups of the published training code, for an optimizer's `groups`: the dynamics are trained without weight
 * decay (and there at a rate of at most 1e-3, which is a `learningRateScale` below 1 when the common rate is larger).
 */
export const s4dParameterGroups: readonly {
  /** Paths of the parameters. */
  readonly match: RegExp;
  /** In place of the optimizer's. */
  readonly weightDecay: number;
}[] = [{ match: /(^|\.)kernel\.(log_dt|log_A_real|A_imag)$/, weightDecay: 0 }];

/**
 * y = W_value g o sigmoid(W_gate g) with g = gelu(conv(K, x) + D x), one linear state-space model a channel:
 * h_t = Abar h_(t-1) + Bbar x_t, output 2 Re(C h_t) (Gu, Gupta, Goel, Re, 2022; released as `models/s4/s4d.py`).
 * The state is h [B D N/2]. The dynamics do not depend on the input, so whole sequences are one FFT convolution.
 */
export const s4d = defineMixer({
  id: "s4d",
  config: { dModel: 64, dState: 64, dtMin: 0.001, dtMax: 0.1, disc: "zoh", init: "lin", chunkSize: 256 } as S4dConfig,
  choices: { disc: ["zoh", "bilinear"], init: s4dInits },
  ranges: { dState: [2, Infinity, "whole"] },
  samples: {
    zoh: { dModel: 2, dState: 4, dtMin: 0.05, dtMax: 0.5, disc: "zoh", chunkSize: 4 },
    bilinear: { dModel: 2, dState: 4, dtMin: 0.05, dtMax: 0.5, disc: "bilinear" },
  },
  parameterGroups: (lr) => s4dParameterGroups.map((group) => ({ ...group, learningRateScale: Math.min(1, 1e-3 / lr) })),
  resets: true,
  state: "constant",

  init({ dModel: D, dState: N, dtMin, dtMax, init }, key: Key): S4dParameters {
    const modes = modesOf(N);
    const { real, imag } = eigenvalues(init, N, D, foldIn(key, "A"));
    const bound = uniformInit(1 / Math.sqrt(D));
    return {
      D: normal(foldIn(key, "D"), [D]),
      kernel: {
        // A complex normal variable of variance 1.
        C: normalInit(Math.SQRT1_2)(foldIn(key, "C"), [D, modes, 2]),
        log_dt: uniform(foldIn(key, "log_dt"), [D], Math.log(dtMin), Math.log(dtMax)),
        log_A_real: real,
        A_imag: imag,
      },
      output_linear: [
        { weight: bound(foldIn(key, "weight"), [2 * D, D, 1]), bias: bound(foldIn(key, "bias"), [2 * D]) },
      ],
    };
  },

  initState: ({ dModel, dState }, batch): Complex => restState(batch, dModel, modesOf(dState)),

  step({ disc }, params, x, state) {
    const [y, h] = diagonalSystem(s4dSystem(params), { rule: disc }).step(x, state);
    return [output(params, add(reshape(y, x.shape), mul(x, params.D))), h];
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
  { disc, dModel, dState }: S4dConfig,
  params: S4dParameters,
  x: Tensor,
  state?: Complex,
  resets?: Tensor,
): readonly [Tensor, Complex] {
  const [B, L] = x.shape as [number, number];
  if (L === 0) return [x, state ?? restState(B, dModel, modesOf(dState))];
  const [system, u] = [diagonalSystem(s4dSystem(params), { rule: disc }), transpose(x)];
  const channelsLast = (y: Tensor): Tensor => transpose(reshape(y, [B, dModel, L]));
  if (resets) {
    const { y, hT } = convolvePacked(system, u, resets, { h0: state });
    return [output(params, add(channelsLast(y), mul(x, params.D))), hT];
  }
  const { y, hT } = convolve(system, u, state, { skip: expandDims(params.D, 0) });
  return [outputOfRows(params, reshape(y, [B, dModel, L])), hT];
}

/** The system that the parameters stand for. */
export function s4dSystem({ kernel: { C, log_dt, log_A_real, A_imag } }: S4dParameters): DiagonalSystem {
  const [D, modes] = log_A_real.shape as [number, number];
  const part = (k: number): Tensor => reshape(sliceAxis(C, 2, k, k + 1), [1, D, modes]);
  return {
    dt: exp(expandDims(log_dt, 1)),
    A: { re: mul(-1, exp(log_A_real)), im: A_imag },
    B: { re: ones([D, modes]), im: zeros([D, modes]) },
    C: { re: part(0), im: part(1) },
  };
}

/** y [.. D] -> [.. D]. */
function output(params: S4dParameters, y: Tensor): Tensor {
  const { bias } = params.output_linear[0];
  return glu(linear({ weight: outputWeight(params) }, gelu(y)), bias);
}

/** y [B D L] -> [B L D]: the product reads rows as they are, and its gradient is written as rows. */
function outputOfRows(params: S4dParameters, y: Tensor): Tensor {
  const { bias } = params.output_linear[0];
  return glu(einsum("B D L, E D -> B L E", gelu(y), outputWeight(params)), bias);
}

const outputWeight = ({ output_linear: [{ weight }] }: S4dParameters): Tensor =>
  reshape(weight, [weight.shape[0]!, weight.shape[1]!]);

const restState = (B: number, D: number, modes: number): Complex => ({
  re: zeros([B, D, modes]),
  im: zeros([B, D, modes]),
});

function modesOf(dState: number): number {
  if (!Number.isInteger(dState) || dState < 2 || dState % 2 !== 0)
    throw new RangeError(`s4d: expected an even dState of at least 2, got ${dState}`);
  return dState / 2;
}

/** log(-Re A) and Im A, [D N/2] each; random ones are drawn for each channel. */
function eigenvalues(init: S4dInit, N: number, D: number, key: Key): { readonly real: Tensor; readonly imag: Tensor } {
  modesOf(N);
  const rows = Array.from({ length: init === "rand" ? D : 1 }, (_, d) =>
    s4dEigenvalues(init, N, { key: foldIn(key, d) }),
  );
  const all = (of: (row: (typeof rows)[number]) => Float64Array): Tensor =>
    broadcastTo(stack(rows.map((row) => tensor(of(row)))), [D, N / 2]);
  return { real: all(({ re }) => re.map((x) => Math.log(-x))), imag: all(({ im }) => im) };
}
