/** Diagonal plus low-rank systems: S4 (Gu, Goel, Re, Efficiently Modeling Long Sequences with Structured State Spaces, 2022). */
import {
  discretizeDplr,
  identityMatrix,
  inverse,
  type DiscretizationRule,
  type DplrRecurrence,
  type DplrSystem,
  type RuleOptions,
} from "@seqmix/discretize";
import { irfft } from "@seqmix/fft";
import {
  add,
  assertNumber,
  assertSettings,
  broadcastTo,
  complexAdd,
  complexConj,
  complexEinsum,
  complexMap,
  complexMul,
  complexScale,
  complexSub,
  concat,
  div,
  einsum,
  einsumReal,
  expandDims,
  mul,
  neg,
  reshape,
  sliceAxis,
  sub,
  transpose,
  zeros,
  type Complex,
  type Tensor,
  type SettingRules,
} from "@seqmix/tensor";
import { cauchySums, halfAngles } from "./cauchy.js";
import { discreteDenseSystem, matrixPower, type DiscreteDense } from "./dense.js";
import { lowRankCorrection } from "./low-rank.js";
import { responseAtZero } from "./response-at-zero.js";
import { stepsAtRate } from "./steps-at-rate.js";
import type { LtiSystem } from "./system.js";

/** A continuous system x' = (diag(A) - sum_r P_r Q_r^H) x + B u, y = 2 Re(C x), one of each pair of conjugate modes stored. */
export interface DplrLti extends DplrSystem {
  /** Step sizes [H 1], or [H N] to scale each row of the system. */
  readonly dt: Tensor;
  /** Output maps [M H N]. */
  readonly C: Complex;
}

/** How a {@link DplrLti} becomes a recurrence: "bilinear" by default. */
export interface DplrRule extends RuleOptions {
  /** Only "bilinear" has a kernel by Cauchy sums; others go through matrices [H 2N 2N]. */
  readonly rule?: DiscretizationRule | undefined;
}

const RULE: SettingRules<DplrRule> = { rule: "own", alpha: { from: 0, to: 1 } };

/** What a {@link DplrLti} is made of. @internal */
export const DPLR: SettingRules<DplrLti> = {
  dt: "tensor",
  A: "pair",
  P: "pair",
  Q: "pair?",
  B: "pair",
  C: "pair",
};

/**
 * All views of a system whose C is the true one. The state is h [B H N]. A step costs O(R N) a channel; a kernel of length L
 * takes Abar^L, as squares of matrices [H 2N 2N], for {@link truncateOutput}, and then O(N L).
 */
export function dplrSystem(system: DplrLti, options: DplrRule = {}): LtiSystem<Complex> {
  assertSettings("dplrSystem", system, DPLR);
  assertSettings("dplrSystem", options, RULE);
  const { rule = "bilinear", alpha } = options;
  const { C, dt } = system;
  const [M, H, N] = C.re.shape as [number, number, number];
  const recurrence = discretizeDplr(system, dt, rule, { alpha });
  const { advance, Bbar } = recurrence;
  const form = realFormOf(recurrence, C);
  const dense = discreteDenseSystem(form);
  const toReal = (h: Complex): Tensor => concat([h.re, h.im], -1);
  const fromReal = (x: Tensor): Complex => ({ re: sliceAxis(x, -1, 0, N), im: sliceAxis(x, -1, N, 2 * N) });
  return {
    channels: H,
    outputs: M,
    restState: (batch) => ({ re: zeros([batch, H, N]), im: zeros([batch, H, N]) }),
    step(u, h) {
      const next = complexAdd(advance(h), complexScale(Bbar, expandDims(u, 2)));
      return [mul(2, einsumReal("B H N, M H N -> B M H", next, C)), next];
    },
    kernel(L) {
      if (rule !== "bilinear" || L === 0) return dense.kernel(L);
      return dplrKernel({ ...system, C: withPower(form, L, -1) }, L).K;
    },
    response: (h, L) => dense.response(toReal(h), L),
    finalState: (u, h0) => (u.shape[2] === 0 && h0 ? h0 : fromReal(dense.finalState(u, h0 && toReal(h0)))),
  };
}

/**
 * All views of a bilinear system whose C is C~ of length `truncation`, as published checkpoints have it. Kernels need no
 * powers of Abar, but for lengths beyond the truncation, which is doubled; steps need the true C ({@link completeOutput}).
 */
export function truncatedDplrSystem(system: DplrLti, truncation: number): LtiSystem<Complex> {
  assertNumber("truncatedDplrSystem", "the truncation", truncation, { from: 1, whole: true });
  const atLeast = (L: number): { readonly C: Complex; readonly length: number } => {
    let [C, length] = [system.C, truncation];
    for (; length < L; length *= 2) C = doubleTruncation({ ...system, C }, length);
    return { C, length };
  };
  // Neither states nor what an input makes of them depend on C.
  const shared = dplrSystem(system);
  const kernels = (L: number, state?: Complex): DplrKernel => {
    const { C, length } = atLeast(L);
    return dplrKernel({ ...system, C }, L, { truncation: length, state });
  };
  const [M, H] = system.C.re.shape as [number, number];
  return {
    ...shared,
    step: (u, h) => dplrSystem({ ...system, C: completeOutput(system, truncation) }).step(u, h),
    kernel: (L) => (L === 0 ? zeros([M, H, 0]) : kernels(L).K),
    response: (h, L) => (L === 0 ? zeros([h.re.shape[0]!, M, H, 0]) : kernels(L, h).KState!),
  };
}

/** Settings of {@link dplrKernel}. */
export interface DplrKernelOptions {
  /** L' of C = C~ = C (1 - Abar^L'); the kernel's length by default. */
  readonly truncation?: number | undefined;
  /** Sampling rate relative to that of `truncation`; step sizes are multiplied by it. */
  readonly rate?: number | undefined;
  /** State before the sequence [B H N]. */
  readonly state?: Complex | undefined;
}

/** What {@link dplrKernel} returns. */
export interface DplrKernel {
  /** The kernel [M H L]. */
  readonly K: Tensor;
  /** What the given state adds to each output [B M H L]. */
  readonly KState?: Tensor;
}

/**
 * The kernel of a bilinear system whose C is C~ = C (1 - Abar^L'), what S4 trains: its generating function at the roots of
 * unity, by Cauchy sums and Woodbury's identity for the low-rank part, of any rank, and an inverse transform of length L'/rate.
 * @throws RangeError if L exceeds that length; see {@link doubleTruncation}.
 */
export function dplrKernel(system: DplrLti, L: number, options: DplrKernelOptions = {}): DplrKernel {
  assertSettings("dplrKernel", system, DPLR);
  assertSettings("dplrKernel", options, { truncation: "own", rate: "own", state: "pair?" });
  const { truncation = L, rate = 1, state } = options;
  assertNumber("dplrKernel", "the length L", L, { from: 0, whole: true });
  assertNumber("dplrKernel", "the truncation", truncation, { from: 0, whole: true });
  const length = stepsAtRate(truncation, rate);
  if (L > length)
    throw new RangeError(
      `dplrKernel: expected a kernel of at most ${length} values from C truncated at ${truncation}, got ${L}; double the truncation`,
    );
  const { A, P, Q = P, C } = system;
  const dt = mul(system.dt, rate);
  const columns = state ? [...started(system, dt, state), system.B] : [system.B];
  const [M, H, N] = C.re.shape as [number, number, number];
  const R = P.re.shape[0]!;
  const J = columns.length;
  const left = joined([C, complexConj(Q)]);
  const inputs = joined([...columns.map((b) => complexMap(b, (part) => expandDims(part, 0))), P]);
  const right = complexScale(inputs, dt);
  const v = complexMul(
    complexMap(left, (part) => expandDims(part, 1)),
    complexMap(right, (part) => expandDims(part, 0)),
  );
  const points = halfAngles(length);
  const sums = cauchySums(
    complexMap(v, (part) => reshape(part, [(M + R) * (J + R), H, N])),
    complexScale(A, dt),
    length,
  );
  const F = points.sine.shape[0]!;
  const table = complexMap(sums, (part) => reshape(part, [M + R, J + R, H, F]));
  const corrected = lowRankCorrection(table, { outputs: M, inputs: J, weight: points.cosine });
  // The sums lack the factor e^(i theta/2).
  const spectrum = complexMul(corrected, { re: points.cosine, im: points.sine });
  const all = sliceAxis(
    irfft(R === 0 ? spectrum : withFirst(responseAtZero(A, left, inputs, R), spectrum), length),
    -1,
    0,
    L,
  );
  const kernel = (from: number, to: number): Tensor => sliceAxis(all, 1, from, to);
  return {
    K: reshape(kernel(J - 1, J), [M, H, L]),
    ...(state && { KState: transpose(kernel(0, J - 1), [1, 0, 2, 3]) }),
  };
}

/** A spectrum [.. F] with another, real, value at frequency 0 [..]. */
const withFirst = (first: Tensor, { re, im }: Complex): Complex => {
  const others = (part: Tensor): Tensor => sliceAxis(part, -1, 1, part.shape.at(-1)!);
  const zero = expandDims(first, -1);
  return { re: concat([zero, others(re)], -1), im: concat([mul(0, zero), others(im)], -1) };
};

const joined = (parts: readonly Complex[]): Complex => ({
  re: concat(
    parts.map(({ re }) => re),
    0,
  ),
  im: concat(
    parts.map(({ im }) => im),
    0,
  ),
});

/** Input maps with which the kernel is C Abar^(l+1) h for each h of the batch: h/dt + (diag(A) - P Q^H) h / 2. */
function started({ A, P, Q = P }: DplrLti, dt: Tensor, state: Complex): Complex[] {
  const [B, H, N] = state.re.shape as [number, number, number];
  const { re } = complexEinsum("R H N, B H N -> B R H", complexConj(Q), state);
  const moved = complexSub(
    complexMul(A, state),
    complexMap(P, (part) => einsum("B R H, R H N -> B H N", mul(2, re), part)),
  );
  const all = complexAdd(
    complexMap(state, (part) => div(part, dt)),
    complexScale(moved, 0.5),
  );
  return Array.from({ length: B }, (_, b) => complexMap(all, (part) => reshape(sliceAxis(part, 0, b, b + 1), [H, N])));
}

/** The recurrence as real matrices that act on real and then imaginary parts of a state: Abar [H 2N 2N], Bbar [H 2N], C [M H 2N]. */
export function realForm(system: DplrLti, options: DplrRule = {}): DiscreteDense {
  assertSettings("realForm", system, DPLR);
  assertSettings("realForm", options, RULE);
  const { rule = "bilinear", alpha } = options;
  return realFormOf(discretizeDplr(system, system.dt, rule, { alpha }), system.C);
}

function realFormOf({ advance, Bbar }: DplrRecurrence, C: Complex): DiscreteDense {
  const [, H, N] = C.re.shape as [number, number, number];
  // Images of the unit vectors [2N H 2N].
  const vectors = broadcastTo(expandDims(identityMatrix(2 * N), 1), [2 * N, H, 2 * N]);
  const images = advance({ re: sliceAxis(vectors, 2, 0, N), im: sliceAxis(vectors, 2, N, 2 * N) });
  return {
    Abar: transpose(concat([images.re, images.im], 2), [1, 2, 0]),
    Bbar: concat([Bbar.re, Bbar.im], 1),
    C: realOutput(C),
  };
}

/** C as a row that acts on real and then imaginary parts, 2 Re(C h). */
const realOutput = (C: Complex): Tensor => mul(2, concat([C.re, neg(C.im)], 2));
const complexOutput = (row: Tensor): Complex => {
  const N = row.shape[2]! / 2;
  return { re: mul(0.5, sliceAxis(row, 2, 0, N)), im: mul(-0.5, sliceAxis(row, 2, N, 2 * N)) };
};

/** C~ = C (1 - Abar^L) of a system with the true C [M H N]: with it the kernel of length L is a finite Fourier transform. */
export const truncateOutput = (system: DplrLti, L: number): Complex => withPower(realForm(system), L, -1);

/** C~ of twice the length, C~ (1 + Abar^L), of a system with C~ of length L. */
export const doubleTruncation = (system: DplrLti, L: number): Complex => withPower(realForm(system), L, 1);

function withPower({ Abar, C }: DiscreteDense, L: number, sign: 1 | -1): Complex {
  assertNumber("truncateOutput", "the length L", L, { from: 0, whole: true });
  const moved = einsum("M H N, H N K -> M H K", C, matrixPower(Abar, L));
  return complexOutput(sign === 1 ? add(C, moved) : sub(C, moved));
}

/** The true C = C~ (1 - Abar^L)^-1 of a system with C~ of length L: what a recurrence needs. */
export function completeOutput(system: DplrLti, L: number): Complex {
  assertNumber("completeOutput", "the length L", L, { from: 1, whole: true });
  const { Abar, C } = realForm(system);
  const whole = inverse(sub(identityMatrix(Abar.shape[1]!), matrixPower(Abar, L)));
  return complexOutput(einsum("M H N, H N K -> M H K", C, whole));
}
