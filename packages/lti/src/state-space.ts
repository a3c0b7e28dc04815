/** The continuous view: one equation x' = A x + B u, y = C x, from which recurrences and convolutions at any step follow. */
import { identityMatrix, inverse, type DiscretizationRule, type RuleOptions } from "@seqmix/discretize";
import {
  assertSettings,
  broadcastTo,
  complexAdd,
  complexConj,
  complexEinsum,
  complexMap,
  complexMul,
  complexReciprocal,
  complexScale,
  complexSub,
  concat,
  einsum,
  expandDims,
  mul,
  neg,
  reshape,
  sliceAxis,
  sub,
  type Complex,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { denseSystem, type DenseLti } from "./dense.js";
import { diagonalSystem, type DiagonalSystem } from "./diagonal.js";
import { DPLR, dplrSystem, type DplrLti } from "./dplr.js";
import { lowRankCorrection } from "./low-rank.js";
import type { LtiSystem } from "./system.js";

/** A rule of discretization with what it needs. */
export interface StateSpaceRule extends RuleOptions {
  /** "dirac" gives samples of the impulse response C e^(l dt A) B as its kernel. */
  readonly rule: DiscretizationRule;
}

/** A continuous system with a step size for each channel. */
export interface StateSpace<S extends Tree> {
  /** The transfer function C (s - A)^-1 B at points s [F] -> [M H F]. */
  transfer(s: Complex): Complex;
  /** Its recurrent and convolutional views. */
  discretize(rule: StateSpaceRule): LtiSystem<S>;
  /** The same system with step sizes multiplied by `rate`: 2 for a signal sampled half as often. */
  atRate(rate: number): StateSpace<S>;
}

/** A diagonal system; each mode stands for itself and its conjugate unless `conjugatePairs` is false. */
export function diagonalStateSpace(
  system: DiagonalSystem,
  options: { readonly conjugatePairs?: boolean } = {},
): StateSpace<Complex> {
  assertSettings("diagonalStateSpace", options, { conjugatePairs: "flag" });
  const { conjugatePairs = true } = options;
  return {
    transfer(s) {
      const residues = complexMul(system.B, system.C);
      // Inputs and outputs are real: Re(C h) is half the sum over modes and their conjugates.
      const sum = complexAdd(
        poleSums(residues, system.A, s),
        poleSums(complexConj(residues), complexConj(system.A), s),
      );
      return conjugatePairs ? sum : complexScale(sum, 0.5);
    },
    discretize: (rule) => diagonalSystem(system, { ...rule, conjugatePairs }),
    atRate: (rate) => diagonalStateSpace({ ...system, dt: mul(system.dt, rate) }, { conjugatePairs }),
  };
}

/** sum_n v_n / (s - a_n) for v [K H N] and a [H N] -> [K H F]. */
function poleSums(v: Complex, a: Complex, s: Complex): Complex {
  const distance = complexSub(
    s,
    complexMap(a, (part) => expandDims(part, 2)),
  );
  return complexEinsum("K H N, H N F -> K H F", v, complexReciprocal(distance));
}

/** A diagonal plus low-rank system of conjugate pairs. */
export function dplrStateSpace(system: DplrLti): StateSpace<Complex> {
  assertSettings("dplrStateSpace", system, DPLR);
  return {
    transfer(s) {
      const { A, B, C, P, Q = P } = system;
      const [M, H, N] = C.re.shape as [number, number, number];
      const R = P.re.shape[0]!;
      const stacked = (x: Complex, y: Complex, axis: number): Complex =>
        complexMap({ re: concat([x.re, y.re], 0), im: concat([x.im, y.im], 0) }, (part) => expandDims(part, axis));
      const row = complexMap(B, (part) => reshape(part, [1, H, N]));
      const v = complexMul(stacked(C, complexConj(Q), 1), stacked(row, P, 0));
      const flat = complexMap(v, (part) => reshape(part, [(M + R) * (1 + R), H, N]));
      const sums = complexAdd(poleSums(flat, A, s), poleSums(complexConj(flat), complexConj(A), s));
      const F = s.re.shape[0]!;
      const out = lowRankCorrection(
        complexMap(sums, (part) => reshape(part, [M + R, 1 + R, H, F])),
        { outputs: M, inputs: 1 },
      );
      return complexMap(out, (part) => reshape(part, [M, H, F]));
    },
    discretize: (rule) => dplrSystem(system, rule),
    atRate: (rate) => dplrStateSpace({ ...system, dt: mul(system.dt, rate) }),
  };
}

/** A dense system. */
export function denseStateSpace(system: DenseLti): StateSpace<Tensor> {
  return {
    transfer(s) {
      const { A, B, C } = system;
      const [, H, N] = C.shape as [number, number, number];
      const F = s.re.shape[0]!;
      // s - A as a real matrix on real and imaginary parts [F H 2N 2N].
      const point = (x: Tensor): Tensor => mul(reshape(x, [F, 1, 1, 1]), identityMatrix(N));
      const shape = [F, H, N, N];
      const [re, im] = [broadcastTo(sub(point(s.re), A), shape), broadcastTo(point(s.im), shape)];
      const whole = inverse(concat([concat([re, neg(im)], 3), concat([im, re], 3)], 2));
      const driven = einsum("F H N K, H K -> F H N", sliceAxis(whole, 3, 0, N), broadcastTo(B, [H, N]));
      const read = (from: number): Tensor => einsum("M H N, F H N -> M H F", C, sliceAxis(driven, 2, from, from + N));
      return { re: read(0), im: read(N) };
    },
    discretize: (rule) => denseSystem(system, rule),
    atRate: (rate) => denseStateSpace({ ...system, dt: mul(system.dt, rate) }),
  };
}
