/** Convolution kernels of diagonal state-space models (Gu, Gupta, Goel, Re, On the Parameterization and Initialization of Diagonal State Space Models, 2022). */
import type { Complex } from "@seqmix/fft";
import { positive, type PositiveTransform } from "@seqmix/lti";
import {
  add,
  cast,
  concat,
  div,
  einsum,
  exp,
  expandDims,
  flip,
  formatShape,
  iota,
  less,
  mul,
  ones,
  reshape,
  ShapeError,
  sliceAxis,
  stopGradient,
  sub,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import { both, complexExp, complexExpm1, einsumReal, plus, reciprocal, scale, times } from "./complex.js";

/**
 * A diagonal system for each of H channels. N counts stored modes; each stands for itself and its conjugate.
 * A, B and C are continuous: {@link discretizeDiagonal} and {@link diagonalKernel} apply the step size.
 */
export interface DiagonalSystem {
  /** Step size [H 1], or [H N] with one for each mode. */
  readonly dt: Tensor;
  /** Eigenvalues [H N]; negative real parts for a state that decays. */
  readonly A: Complex;
  /** Input map [H N]. */
  readonly B: Complex;
  /** Output maps [M H N], one for each of M output channels. */
  readonly C: Complex;
}

/** How the continuous system becomes a recurrence: zero-order hold, or the bilinear (Tustin) rule. */
export type DiagonalDiscretization = "zoh" | "bilinear";

/** Trained tensors of a diagonal kernel under the names of the published S4 code (`SSMKernelDiag`). S divides H: channel h uses system h mod S. */
export interface DiagonalKernelParameters {
  /** Step size before its transform [H 1] or [H N]. */
  readonly inv_dt: Tensor;
  /** Minus the real part of A before its transform [S N]. */
  readonly A_real: Tensor;
  /** Minus the imaginary part of A before its transform [S N]; none for a real kernel. */
  readonly A_imag?: Tensor | undefined;
  /** Input map [1 S N 2], real and imaginary parts last; [1 S N] for a real kernel. */
  readonly B: Tensor;
  /** Output maps [M H N 2]; [M H N] for a real kernel. */
  readonly C: Tensor;
}

/** Settings of {@link diagonalSystem}, with the defaults of the published code. */
export interface DiagonalSystemOptions {
  /** Of `inv_dt`; "exp" by default. */
  readonly dtTransform?: PositiveTransform;
  /** Of `A_real`; "exp" by default. */
  readonly realTransform?: PositiveTransform;
  /** Of `A_imag`; "none" by default. */
  readonly imagTransform?: PositiveTransform;
  /** Pass `inv_dt` through sinh first. */
  readonly dtFast?: boolean;
  /** Sampling rate relative to that of training: multiplies the step size; 1 by default. */
  readonly rate?: number;
  /** Leave out modes of more than half this many periods a step (0 .. 1); none by default. */
  readonly bandlimit?: number | undefined;
}

/** The system that the trained tensors stand for: A = -(transformed A_real) - i (transformed A_imag). */
export function diagonalSystem(
  parameters: DiagonalKernelParameters,
  {
    dtTransform = "exp",
    realTransform = "exp",
    imagTransform = "none",
    dtFast = false,
    rate = 1,
    bandlimit,
  }: DiagonalSystemOptions = {},
): DiagonalSystem {
  const { inv_dt, A_real, A_imag, B, C } = parameters;
  const [S, N] = A_real.shape as [number, number];
  const H = inv_dt.shape[0]!;
  if (H % S !== 0)
    throw new ShapeError(
      `diagonalSystem: expected a number of systems that divides the channels, got ${S} for ${H} channels`,
    );
  const copies = (x: Tensor): Tensor =>
    S === H
      ? x
      : concat(
          Array.from({ length: H / S }, () => x),
          0,
        );
  const pair = (x: Tensor, shape: readonly number[]): Complex => {
    if (!A_imag) return { re: reshape(x, shape), im: zeros(shape) };
    const part = (k: number): Tensor => reshape(sliceAxis(x, -1, k, k + 1), shape);
    return { re: part(0), im: part(1) };
  };
  const A = {
    re: copies(mul(-1, positive(A_real, realTransform))),
    im: copies(A_imag ? mul(-1, positive(A_imag, imagTransform)) : zeros([S, N])),
  };
  const raw = dtFast ? mul(0.5, sub(exp(inv_dt), exp(mul(-1, inv_dt)))) : inv_dt;
  const unscaled = positive(raw, dtTransform);
  const system = {
    dt: rate === 1 ? unscaled : mul(unscaled, rate),
    A,
    B: both(pair(B, [S, N]), copies),
    C: pair(C, [C.shape[0]!, H, N]),
  };
  if (bandlimit === undefined) return system;
  // |Im A| is A_imag up to sign; squares spare the absolute value.
  const turns = mul(mul(unscaled, A.im), 1 / (2 * Math.PI));
  const kept = cast(less(mul(turns, turns), (bandlimit / 2) ** 2), "f32");
  return { ...system, C: scale(system.C, kept) };
}

/** h_t = Abar h_(t-1) + Bbar u_t. */
export interface DiscreteSystem {
  /** Decay of each mode [H N]. */
  readonly Abar: Complex;
  /** Input map [H N]. */
  readonly Bbar: Complex;
}

/**
 * h_t = Abar h_(t-1) + Bbar u_t. Zero-order hold: e^(dt A), (e^(dt A) - 1)/A B. Bilinear: (1 + dt A/2)/(1 - dt A/2), dt/(1 - dt A/2) B.
 * @returns Abar and Bbar [H N]
 */
export function discretizeDiagonal({ dt, A, B }: DiagonalSystem, disc: DiagonalDiscretization): DiscreteSystem {
  const dtA = scale(A, dt);
  switch (disc) {
    case "zoh":
      return { Abar: complexExp(dtA), Bbar: times(B, times(complexExpm1(dtA), reciprocal(A))) };
    case "bilinear": {
      const inverse = reciprocal({ re: sub(1, mul(0.5, dtA.re)), im: mul(-0.5, dtA.im) });
      return {
        Abar: times({ re: add(1, mul(0.5, dtA.re)), im: mul(0.5, dtA.im) }, inverse),
        Bbar: times(B, scale(inverse, dt)),
      };
    }
    default:
      throw new RangeError(`discretizeDiagonal: expected "zoh" or "bilinear", got "${String(disc)}"`);
  }
}

/**
 * Abar^l for l = 0 .. L-1 [H N L].
 * Zero-order hold takes exponentials of l dt A; the bilinear rule doubles the number of powers log2(L) times.
 */
export function diagonalPowers(system: DiagonalSystem, disc: DiagonalDiscretization, L: number): Complex {
  const [H, N] = system.A.re.shape as [number, number];
  if (disc === "zoh") {
    const l = cast(iota([L], 0), "f32");
    return complexExp(both(scale(system.A, system.dt), (part) => mul(expandDims(part, 2), l)));
  }
  let square = both(discretizeDiagonal(system, disc).Abar, (part) => expandDims(part, 2));
  let powers: Complex = { re: ones([H, N, 1]), im: zeros([H, N, 1]) };
  for (let count = 1; count < L; count *= 2) {
    const more = times(powers, square);
    powers = { re: concat([powers.re, more.re], 2), im: concat([powers.im, more.im], 2) };
    square = times(square, square);
  }
  return both(powers, (part) => sliceAxis(part, 2, 0, L));
}

/** Settings of {@link diagonalKernel}. */
export interface DiagonalKernelOptions {
  /** Discretization; "dss" is the softmax-normalised kernel of Gupta (Diagonal State Spaces are as Effective as Structured State Spaces, 2022), which has no recurrence. "zoh" by default. */
  readonly disc?: DiagonalDiscretization | "dss";
  /** State before the sequence [B H N]. */
  readonly state?: Complex | undefined;
}

/** What {@link diagonalKernel} returns. */
export interface DiagonalKernel {
  /** The convolution kernel [M H L]. */
  readonly K: Tensor;
  /** What the given state adds to each output [B M H L]. */
  readonly KState?: Tensor;
}

/**
 * The convolution kernel K_l = 2 Re sum_n C_n Abar_n^l Bbar_n of each channel; without the 2 for "dss".
 * @param L Length of the kernel.
 * @returns K [M H L]; with a state also `KState` [B M H L], what the state adds to each output.
 */
export function diagonalKernel(
  system: DiagonalSystem,
  L: number,
  { disc = "zoh", state }: DiagonalKernelOptions = {},
): DiagonalKernel {
  const { B, C } = system;
  const [H, N] = system.A.re.shape as [number, number];
  if (state && (state.re.shape.length !== 3 || state.re.shape[1] !== H || state.re.shape[2] !== N))
    throw new ShapeError(`diagonalKernel: expected state [B ${H} ${N}], got shape ${formatShape(state.re.shape)}`);
  if (disc === "dss") return dssKernel(system, L, state);
  const powers = diagonalPowers(system, disc, L);
  const { Abar, Bbar } = discretizeDiagonal({ ...system, B }, disc);
  const K = mul(2, einsumReal("M H N, H N L -> M H L", times(C, Bbar), powers));
  if (!state) return { K };
  // C Abar^(l+1) h for every sequence of the batch.
  const perSequence = times(
    both(C, (part) => expandDims(part, 0)),
    both(times(Abar, state), (part) => expandDims(part, 1)),
  );
  return { K, KState: mul(2, einsumReal("B M H N, H N L -> B M H L", perSequence, powers)) };
}

/** With Re A > 0 powers count down from l = L-1 so that nothing overflows; the shift is a constant to gradients, as in the published code. */
function dssKernel({ dt, A, B, C }: DiagonalSystem, L: number, state: Complex | undefined): DiagonalKernel {
  const dtA = scale(A, dt);
  const growing = cast(less(0, A.re), "f32");
  const l = cast(iota([L], 0), "f32");
  const shift = both(scale(dtA, mul(growing, L - 1)), stopGradient);
  const powers = complexExp({
    re: sub(mul(expandDims(dtA.re, 2), l), expandDims(shift.re, 2)),
    im: sub(mul(expandDims(dtA.im, 2), l), expandDims(shift.im, 2)),
  });
  const falling = scale(dtA, sub(1, mul(2, growing)));
  const normalised = times(complexExpm1(falling), reciprocal(times(complexExpm1(scale(falling, L)), A), 1e-7));
  const weights = times(C, normalised);
  const K = einsumReal("M H N, H N L -> M H L", times(weights, B), powers);
  if (!state) return { K };
  const started = scale(state, div(1, dt));
  return {
    K,
    KState: einsumReal(
      "B M H N, H N L -> B M H L",
      times(
        both(weights, (part) => expandDims(part, 0)),
        both(started, (part) => expandDims(part, 1)),
      ),
      powers,
    ),
  };
}

/**
 * The state after a sequence: Abar^L h0 + sum_t Abar^(L-1-t) Bbar u_t.
 * @param u [B H L]
 * @param h0 [B H N]; zeros by default
 * @returns [B H N]
 */
export function diagonalFinalState(
  system: DiagonalSystem,
  disc: DiagonalDiscretization,
  u: Tensor,
  h0?: Complex,
): Complex {
  const L = u.shape[2]!;
  const powers = diagonalPowers(system, disc, L + 1);
  const { Bbar } = discretizeDiagonal(system, disc);
  const collected = both(powers, (part) => einsum("B H L, H N L -> B H N", u, flip(sliceAxis(part, 2, 0, L), 2)));
  const driven = times(collected, Bbar);
  if (!h0) return driven;
  return plus(
    driven,
    times(
      h0,
      both(powers, (part) => reshape(sliceAxis(part, 2, L, L + 1), part.shape.slice(0, 2))),
    ),
  );
}

/** What {@link diagonalStep} returns. */
export interface DiagonalStepResult {
  /** Output [B M H]. */
  readonly y: Tensor;
  /** State after the position [B H N]. */
  readonly h: Complex;
}

/**
 * One position: h = Abar h + Bbar u, y = 2 Re(C h).
 * @param u [B H]
 * @param h [B H N]
 * @returns y [B M H] and the next state
 */
export function diagonalStep(
  system: DiagonalSystem,
  disc: DiagonalDiscretization,
  u: Tensor,
  h: Complex,
): DiagonalStepResult {
  const { Abar, Bbar } = discretizeDiagonal(system, disc);
  const next = plus(times(Abar, h), scale(Bbar, expandDims(u, 2)));
  return { y: mul(2, einsumReal("B H N, M H N -> B M H", next, system.C)), h: next };
}
