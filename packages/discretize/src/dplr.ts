/** Systems whose transition is a diagonal plus a part of low rank, as in S4 (Gu, Goel, Re, Efficiently Modeling Long Sequences with Structured State Spaces, 2022, section 3). */
import {
  add,
  assertSettings,
  complexAdd,
  complexConj,
  complexEinsum,
  complexMap,
  complexMul,
  complexReciprocal,
  complexScale,
  complexShift,
  complexSub,
  concat,
  einsum,
  expandDims,
  formatShape,
  matmul,
  mul,
  neg,
  reshape,
  ShapeError,
  sliceAxis,
  sub,
  sum,
  transpose,
  zeros,
  type Complex,
  type Operand,
  type Tensor,
} from "@seqmix/tensor";
import { identityMatrix, inverse } from "./inverse.js";
import { matrixExponential } from "./matrix-exponential.js";
import { ALPHA, differenceWeight, type DiscretizationRule, type RuleOptions } from "./rules.js";

/** x' = (diag(A) - sum_r P_r Q_r^H) x + B u for each of H channels, of rank R. */
export interface DplrSystem {
  /** Diagonal [H N]. */
  readonly A: Complex;
  /** Columns of the low-rank part [R H N]. */
  readonly P: Complex;
  /** Rows of the low-rank part before conjugation [R H N]; P by default. */
  readonly Q?: Complex | undefined;
  /** Input map [H N]. */
  readonly B: Complex;
}

/** Settings of {@link discretizeDplr} and {@link dplrMatrix}. */
export interface DplrOptions extends RuleOptions {
  /**
   * Each of the N stored modes stands for itself and its conjugate, as in a real system: Q^H x is then 2 Re(Q^H x).
   * true by default.
   */
  readonly conjugatePairs?: boolean | undefined;
}

/** h_t = Abar h_(t-1) + Bbar u_t with Abar as a function. */
export interface DplrRecurrence {
  /** Abar h for h [.. H N], in O(R N) a channel for a difference rule. */
  advance(h: Complex): Complex;
  /** [H N]. */
  readonly Bbar: Complex;
}

/** Of a whole system too, whose step sizes and output map are given elsewhere or not needed. */
const assertStructure = (
  name: string,
  system: Partial<DplrSystem> & { readonly dt?: Tensor; readonly C?: Complex },
  rule: "pair" | "pair?" = "pair",
): void => assertSettings(name, system, { A: "pair", P: "pair", Q: "pair?", B: rule, dt: "tensor?", C: "pair?" });

/**
 * The recurrence of a diagonal-plus-low-rank system. Difference rules keep the structure: inverses are those of diagonal
 * matrices and of matrices [R R] (Woodbury). Exponential rules do not, and go through {@link dplrMatrix}.
 * @param dt Step sizes [H 1], or [H N] to scale each row of the system.
 * @throws ShapeError if the parts do not fit; RangeError for an unknown rule, or "gbt" without alpha.
 */
export function discretizeDplr(
  system: DplrSystem,
  dt: Operand,
  rule: DiscretizationRule,
  options: DplrOptions = {},
): DplrRecurrence {
  assertSettings("discretizeDplr", options, { ...ALPHA, conjugatePairs: "flag" });
  assertStructure("discretizeDplr", system);
  const { conjugatePairs = true, ...weight } = options;
  const alpha = differenceWeight(rule, weight, "discretizeDplr");
  assertFits(system);
  if (alpha === undefined) return exponential(system, dt, rule, conjugatePairs);
  const rows = { A: complexScale(system.A, dt), P: complexScale(system.P, dt), B: complexScale(system.B, dt) };
  const structure = { ...rows, Q: system.Q ?? system.P, conjugatePairs };
  const solve = implicitSolve(structure, alpha);
  return {
    advance: (h) => solve(complexAdd(h, complexScale(transition(structure, h), 1 - alpha))),
    Bbar: solve(rows.B),
  };
}

/** A system with unit step. */
interface Structure {
  readonly A: Complex;
  readonly P: Complex;
  readonly Q: Complex;
  readonly conjugatePairs: boolean;
}

/** (diag(A) - P Q^H) h. */
const transition = (s: Structure, h: Complex): Complex => complexSub(complexMul(s.A, h), spread(s.P, contract(s, h)));

/** Q^H h [.. R H 1] of h [.. H N]. */
function contract({ Q, conjugatePairs }: Structure, h: Complex): Complex {
  const terms = complexMul(
    complexConj(Q),
    complexMap(h, (x) => expandDims(x, -3)),
  );
  const total = (x: Tensor): Tensor => sum(x, -1, { keepDims: true });
  const re = total(terms.re);
  return conjugatePairs ? { re: mul(2, re), im: zeros(re.shape) } : { re, im: total(terms.im) };
}

/** P c [.. H N] of c [.. R H 1]. */
const spread = (P: Complex, c: Complex): Complex => complexMap(complexMul(P, c), (x) => sum(x, -3));

/** h -> (1 - alpha (diag(A) - P Q^H))^-1 h. */
function implicitSolve(s: Structure, alpha: number): (h: Complex) => Complex {
  if (alpha === 0) return (h) => h;
  const D = complexReciprocal(complexShift(complexScale(s.A, -alpha), 1));
  // 1 + alpha Q^H D P [R S H], then its inverse.
  const core = complexScale(complexEinsum("R H N, S H N -> R S H", complexConj(s.Q), complexMul(D, s.P)), alpha);
  const R = s.P.re.shape[0]!;
  const one = expandDims(identityMatrix(R), 2);
  const inverted = s.conjugatePairs
    ? { re: onLast(add(one, mul(2, core.re)), inverse), im: zeros(core.re.shape) }
    : complexInverse({ re: add(one, core.re), im: core.im });
  return (h) => {
    const direct = complexMul(D, h);
    const c = complexMap(contract(s, direct), (x) => expandDims(sliceOff(x), -3));
    const solved = complexMap(complexMul(inverted, c), (x) => expandDims(sum(x, -2), -1));
    return complexSub(direct, complexScale(complexMul(D, spread(s.P, solved)), alpha));
  };
}

/** [.. R H 1] -> [.. R H]. */
const sliceOff = (x: Tensor): Tensor => reshape(x, x.shape.slice(0, -1));

/** f of the matrices [H R S] that x [R S H] holds. */
const onLast = (x: Tensor, f: (matrices: Tensor) => Tensor): Tensor => transpose(f(transpose(x, [2, 0, 1])), [1, 2, 0]);

/** Inverses of complex matrices [R R H], through real ones of twice the order. */
function complexInverse({ re, im }: Complex): Complex {
  const R = re.shape[0]!;
  const whole = onLast(concat([concat([re, neg(im)], 1), concat([im, re], 1)], 0), inverse);
  const left = sliceAxis(whole, 1, 0, R);
  return { re: sliceAxis(left, 0, 0, R), im: sliceAxis(left, 0, R, 2 * R) };
}

function exponential(
  { A, P, Q = P, B }: DplrSystem,
  dt: Operand,
  rule: DiscretizationRule,
  conjugatePairs: boolean,
): DplrRecurrence {
  const N = A.re.shape[1]!;
  const scaled = { A: complexScale(A, dt), P: complexScale(P, dt), Q, B: complexScale(B, dt) };
  const matrix = dplrMatrix(scaled, { conjugatePairs });
  const column = (x: Complex): Tensor => expandDims(concat([x.re, x.im], 1), 2);
  const fromColumn = (x: Tensor): Complex => ({ re: sliceAxis(x, -1, 0, N), im: sliceAxis(x, -1, N, 2 * N) });
  // The integral over a step of e^(s A) B, by the exponential of [[A, B], [0, 0]].
  const integral = (M: Tensor, b: Complex): Complex => {
    const top = concat([M, column(b)], 2);
    const whole = matrixExponential(concat([top, zeros([M.shape[0]!, 1, 2 * N + 1])], 1));
    return fromColumn(reshape(sliceAxis(sliceAxis(whole, 1, 0, 2 * N), 2, 2 * N, 2 * N + 1), [M.shape[0]!, 2 * N]));
  };
  const Abar = matrixExponential(matrix);
  return {
    advance(h) {
      const x = expandDims(concat([h.re, h.im], -1), -1);
      return fromColumn(reshape(matmul(Abar, x), x.shape.slice(0, -1)));
    },
    Bbar:
      rule === "zoh"
        ? integral(matrix, scaled.B)
        : rule === "dirac"
          ? B
          : integral(dplrMatrix({ A, P, Q }, { conjugatePairs }), B),
  };
}

/**
 * The transition diag(A) - P Q^H as real matrices [H 2N 2N] that act on the real parts and then the imaginary parts of a state.
 * With conjugate pairs it has the size of the real system, and its eigenvalues.
 */
export function dplrMatrix(
  system: Pick<DplrSystem, "A" | "P" | "Q">,
  options: { readonly conjugatePairs?: boolean } = {},
): Tensor {
  assertStructure("dplrMatrix", system, "pair?");
  assertSettings("dplrMatrix", options, { conjugatePairs: "flag" });
  const { A, P, Q = P } = system;
  const { conjugatePairs = true } = options;
  const diagonal = (x: Tensor): Tensor => mul(expandDims(x, 2), identityMatrix(x.shape[1]!));
  const square = (topLeft: Tensor, topRight: Tensor, bottomLeft: Tensor, bottomRight: Tensor): Tensor =>
    concat([concat([topLeft, topRight], 2), concat([bottomLeft, bottomRight], 2)], 1);
  const normal = square(diagonal(A.re), diagonal(neg(A.im)), diagonal(A.im), diagonal(A.re));
  if (conjugatePairs) {
    const stacked = (x: Complex): Tensor => concat([x.re, x.im], 2);
    return sub(normal, mul(2, einsum("R H N, R H K -> H N K", stacked(P), stacked(Q))));
  }
  const outer = complexEinsum("R H N, R H K -> H N K", P, complexConj(Q));
  return sub(normal, square(outer.re, neg(outer.im), outer.im, outer.re));
}

function assertFits({ A, P, Q = P, B }: DplrSystem): void {
  const [H, N] = A.re.shape;
  const fits = (x: Complex): boolean => x.re.shape.slice(-2).join() === `${H},${N}`;
  if (
    A.re.shape.length !== 2 ||
    P.re.shape.length !== 3 ||
    !fits(P) ||
    Q.re.shape.join() !== P.re.shape.join() ||
    !fits(B)
  )
    throw new ShapeError(
      `discretizeDplr: expected A [H N], P and Q [R H N] and B [H N], got shapes ${[A, P, Q, B].map((x) => formatShape(x.re.shape)).join(", ")}`,
    );
}
