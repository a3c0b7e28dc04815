/** S4D, the minimal layer of the published code: a diagonal state-space convolution, GELU, and a gated linear map. */
import { fftConv, type Complex } from "@seqmix/fft";
import { defineMixer } from "@seqmix/mixer";
import { linear, normalInit, uniformInit } from "@seqmix/nn";
import {
  add,
  broadcastTo,
  expandDims,
  exp,
  foldIn,
  full,
  gelu,
  mul,
  normal,
  ones,
  reshape,
  sigmoid,
  sliceAxis,
  transpose,
  uniform,
  zeros,
  tensor,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import {
  diagonalFinalState,
  diagonalKernel,
  diagonalStep,
  type DiagonalDiscretization,
  type DiagonalSystem,
} from "./diagonal-kernel.js";

/** Where the eigenvalues of A start (S4D paper, section 4); n counts the N/2 stored modes. */
export type S4dInit =
  /** -1/2 + i pi n */
  | "lin"
  /** -1/2 + i (N/pi) (N/(2n+1) - 1), the asymptotics of HiPPO-LegS */
  | "inv"
  /** -1/2 + i (N/pi) (N/(n+1) - 1) */
  | "inv2"
  /** -1/2 + i (1/pi) (1 + 2n)^2 */
  | "quad"
  /** -(n + 1): decay without oscillation */
  | "real"
  /** -1/2 + i e^x, x from a normal distribution */
  | "rand";

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
  readonly disc: DiagonalDiscretization;
  /** Initial eigenvalues. */
  readonly init: S4dInit;
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
  config: { dModel: 64, dState: 64, dtMin: 0.001, dtMax: 0.1, disc: "zoh", init: "lin" } as S4dConfig,
  choices: { disc: ["zoh", "bilinear"] },
  ranges: { dState: [1, Infinity] },
  samples: {
    zoh: { dModel: 2, dState: 4, dtMin: 0.05, dtMax: 0.5, disc: "zoh" },
    bilinear: { dModel: 2, dState: 4, dtMin: 0.05, dtMax: 0.5, disc: "bilinear" },
  },
  parameterGroups: (lr) => s4dParameterGroups.map((group) => ({ ...group, learningRateScale: Math.min(1, 1e-3 / lr) })),
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
    const { y, h } = diagonalStep(s4dSystem(params), disc, x, state);
    return [output(params, reshape(y, x.shape), x), h];
  },

  modes: {
    parallel({ disc, dModel, dState }, params, x, state): readonly [Tensor, Complex] {
      const [B, L] = x.shape as [number, number];
      if (L === 0) return [x, state ?? restState(B, dModel, modesOf(dState))];
      const system = s4dSystem(params);
      const u = transpose(x);
      const { K, KState } = diagonalKernel(system, L, { disc, state });
      const convolved = fftConv({ u, k: reshape(K, [dModel, L]) });
      const y = KState ? add(convolved, reshape(KState, [B, dModel, L])) : convolved;
      return [output(params, transpose(y), x), diagonalFinalState(system, disc, u, state)];
    },
  },
});

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

/** y and x [.. D] -> [.. D]. */
function output({ D, output_linear: [{ weight, bias }] }: S4dParameters, y: Tensor, x: Tensor): Tensor {
  const activated = gelu(add(y, mul(x, D)));
  const [outputs, inputs] = weight.shape as [number, number];
  const mixed = linear({ weight: reshape(weight, [outputs, inputs]), bias }, activated);
  const half = outputs / 2;
  return mul(sliceAxis(mixed, -1, 0, half), sigmoid(sliceAxis(mixed, -1, half, outputs)));
}

const restState = (B: number, D: number, modes: number): Complex => ({
  re: zeros([B, D, modes]),
  im: zeros([B, D, modes]),
});

function modesOf(dState: number): number {
  if (!Number.isInteger(dState) || dState < 2 || dState % 2 !== 0)
    throw new RangeError(`s4d: expected an even dState of at least 2, got ${dState}`);
  return dState / 2;
}

/** log(-Re A) and Im A, [D N/2] each. */
function eigenvalues(init: S4dInit, N: number, D: number, key: Key): { readonly real: Tensor; readonly imag: Tensor } {
  const modes = modesOf(N);
  const shape = [D, modes];
  const rows = (f: (n: number) => number): Tensor =>
    broadcastTo(tensor(Float64Array.from({ length: modes }, (_, n) => f(n))), shape);
  const real = full(shape, Math.log(0.5));
  switch (init) {
    case "lin":
      return { real, imag: rows((n) => Math.PI * n) };
    case "inv":
      return { real, imag: rows((n) => (N / Math.PI) * (N / (2 * n + 1) - 1)) };
    case "inv2":
      return { real, imag: rows((n) => (N / Math.PI) * (N / (n + 1) - 1)) };
    case "quad":
      return { real, imag: rows((n) => (1 + 2 * n) ** 2 / Math.PI) };
    case "real":
      return { real: rows((n) => Math.log(n + 1)), imag: zeros(shape) };
    case "rand":
      return { real, imag: exp(normal(key, shape)) };
    default:
      throw new RangeError(`s4d: expected init "lin", "inv", "inv2", "quad", "real" or "rand", got "${String(init)}"`);
  }
}
