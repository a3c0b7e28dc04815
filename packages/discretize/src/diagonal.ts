/** Systems with a diagonal transition: every rule is a function of one eigenvalue at a time. */
import {
  add,
  assertNumber,
  assertTensors,
  cast,
  complexAdd,
  complexExp,
  complexExpm1,
  complexMul,
  complexReciprocal,
  complexScale,
  complexShift,
  div,
  exp,
  expm1OverX,
  less,
  mul,
  stopGradient,
  sub,
  Tensor,
  type Complex,
  type Operand,
} from "@seqmix/tensor";
import { complexExpm1OverX } from "./expm1-over-x.js";
import { differenceWeight, type DiscretizationRule, type RuleOptions } from "./rules.js";

/** Decay and input weight of each eigenvalue, real or complex as the eigenvalues are. */
export interface DiagonalRecurrence<T extends Tensor | Complex> {
  /** Abar: what the state is multiplied by. */
  readonly Abar: T;
  /** What B is multiplied by to give Bbar. */
  readonly weight: T;
}

/**
 * h_t = Abar h_(t-1) + weight B u_t for eigenvalues A and step sizes dt, which broadcast against each other. Nothing is
 * divided by A, so an eigenvalue of 0 is as good as any other, in values and in gradients.
 * @param A Eigenvalues, real or complex [..].
 * @param dt Step sizes, or one for all.
 * @throws RangeError for an unknown rule, or "gbt" without alpha.
 */
export function discretizeDiagonal(
  A: Tensor,
  dt: Operand,
  rule: DiscretizationRule,
  options?: RuleOptions,
): DiagonalRecurrence<Tensor>;
export function discretizeDiagonal(
  A: Complex,
  dt: Operand,
  rule: DiscretizationRule,
  options?: RuleOptions,
): DiagonalRecurrence<Complex>;
export function discretizeDiagonal(
  A: Tensor | Complex,
  dt: Operand,
  rule: DiscretizationRule,
  options: RuleOptions = {},
): DiagonalRecurrence<Tensor> | DiagonalRecurrence<Complex> {
  assertTensors("discretizeDiagonal", { A }, ["A"]);
  if (typeof dt === "number") assertNumber("discretizeDiagonal", "dt", dt);
  const alpha = differenceWeight(rule, options, "discretizeDiagonal");
  if (A instanceof Tensor) return alpha === undefined ? realExponential(A, dt, rule) : realDifference(A, dt, alpha);
  return alpha === undefined ? complexExponential(A, dt, rule) : complexDifference(A, dt, alpha);
}

function realDifference(A: Tensor, dt: Operand, alpha: number): DiagonalRecurrence<Tensor> {
  const z = mul(A, dt);
  const inverse = div(1, sub(1, mul(alpha, z)));
  return { Abar: mul(add(1, mul(1 - alpha, z)), inverse), weight: mul(inverse, dt) };
}

function complexDifference(A: Complex, dt: Operand, alpha: number): DiagonalRecurrence<Complex> {
  const z = complexScale(A, dt);
  const inverse = complexReciprocal(complexShift(complexScale(z, -alpha), 1));
  return {
    Abar: complexMul(complexShift(complexScale(z, 1 - alpha), 1), inverse),
    weight: complexScale(inverse, dt),
  };
}

function realExponential(A: Tensor, dt: Operand, rule: DiscretizationRule): DiagonalRecurrence<Tensor> {
  const z = mul(A, dt);
  const one = add(1, mul(0, z));
  const weight = rule === "zoh" ? mul(expm1OverX(z), dt) : rule === "async" ? mul(expm1OverX(A), one) : one;
  return { Abar: exp(z), weight };
}

function complexExponential(A: Complex, dt: Operand, rule: DiscretizationRule): DiagonalRecurrence<Complex> {
  const z = complexScale(A, dt);
  const none = complexScale(z, 0);
  const weight =
    rule === "zoh"
      ? complexScale(complexExpm1OverX(z), dt)
      : rule === "async"
        ? complexAdd(complexExpm1OverX(A), none)
        : complexShift(none, 1);
  return { Abar: complexExp(z), weight };
}

/** Weights of the kernel whose rows are normalised by a softmax: {@link discretizeDss}. */
export interface DssWeights {
  /** dt A. */
  readonly z: Complex;
  /** 1 for eigenvalues whose powers grow, else 0; f32. */
  readonly growing: Tensor;
  /**
   * What B is multiplied by: (e^z - 1) / (A (e^(zL) - 1)), or where the powers grow (e^-z - 1) / (A (e^(-zL) - 1)): the
   * powers of those are then e^(z (l - L + 1)).
   */
  readonly weight: Complex;
}

/**
 * Diagonal state spaces (Gupta, Gu, Berant, Diagonal State Spaces are as Effective as Structured State Spaces, 2022,
 * proposition 1): powers e^(dt A l), l < L, normalised to sum 1 and divided by A. The weights depend on the length, so no
 * recurrence has this kernel at all lengths. As in the released code the shift of growing powers by L - 1 is a constant to
 * gradients, and 1/x is conj(x) / (|x|^2 + epsilon).
 */
export function discretizeDss(A: Complex, dt: Operand | Complex, L: number, epsilon = 1e-7): DssWeights {
  assertTensors("discretizeDss", { A }, ["A"]);
  assertNumber("discretizeDss", "the length L", L, { from: 0, whole: true });
  assertNumber("discretizeDss", "epsilon", epsilon, { from: 0 });
  const z =
    dt instanceof Tensor || typeof dt === "number"
      ? complexScale(A, dt)
      : { re: mul(A.re, dt.re), im: mul(A.im, dt.im) };
  const growing = cast(less(0, A.re), "f32");
  const falling = complexScale(z, sub(1, mul(2, growing)));
  const normalised = complexMul(
    complexExpm1(falling),
    complexReciprocal(complexMul(complexExpm1(complexScale(falling, L)), A), epsilon),
  );
  // 1, with the gradient of the powers' shift taken back.
  const shift = complexScale(z, mul(growing, L - 1));
  const unit = complexExp({ re: sub(shift.re, stopGradient(shift.re)), im: sub(shift.im, stopGradient(shift.im)) });
  return { z, growing, weight: complexMul(normalised, unit) };
}
