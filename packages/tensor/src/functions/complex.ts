/** Arithmetic of complex tensors, elementwise with broadcasting. A complex tensor is a pair `{ re, im }` of one shape. */
import { einsum } from "./composed.js";
import { add, cos, div, exp, expm1, mul, neg, sin, sub, type Operand } from "../ops/elementwise.js";
import { zeros } from "../ops/generators.js";
import type { Tensor } from "../graph/tensor.js";

/** A complex tensor: real and imaginary parts of one shape. */
export type Complex = {
  /** Real part. */
  readonly re: Tensor;
  /** Imaginary part. */
  readonly im: Tensor;
};

/** f of both parts: for changes of shape, and everything else that is linear over the reals. */
export const complexMap = (x: Complex, f: (part: Tensor) => Tensor): Complex => ({ re: f(x.re), im: f(x.im) });

/** x as a complex tensor without imaginary part. */
export const complexOf = (x: Tensor): Complex => ({ re: x, im: zeros(x.shape) });

/** x + y. */
export const complexAdd = (x: Complex, y: Complex): Complex => ({
  re: add(x.re, y.re),
  im: add(x.im, y.im),
});

/** x - y. */
export const complexSub = (x: Complex, y: Complex): Complex => ({
  re: sub(x.re, y.re),
  im: sub(x.im, y.im),
});

/** x y. */
export const complexMul = (x: Complex, y: Complex): Complex => ({
  re: sub(mul(x.re, y.re), mul(x.im, y.im)),
  im: add(mul(x.re, y.im), mul(x.im, y.re)),
});

/** x times a real factor. */
export const complexScale = (x: Complex, factor: Operand): Complex => complexMap(x, (part) => mul(part, factor));

/** x plus a real term. */
export const complexShift = (x: Complex, term: Operand): Complex => ({ re: add(x.re, term), im: x.im });

/** The conjugate of x. */
export const complexConj = (x: Complex): Complex => ({ re: x.re, im: neg(x.im) });

/** conj(x) / (|x|^2 + eps): 1/x for eps = 0, its default, and |x| from 1e-19 to 1e19, whose squares are f32 numbers. */
export function complexReciprocal(x: Complex, eps = 0): Complex {
  const size = add(mul(x.re, x.re), mul(x.im, x.im));
  const weight = div(1, eps === 0 ? size : add(size, eps));
  return { re: mul(x.re, weight), im: neg(mul(x.im, weight)) };
}

/** e^x. */
export function complexExp(x: Complex): Complex {
  const size = exp(x.re);
  return { re: mul(size, cos(x.im)), im: mul(size, sin(x.im)) };
}

/** e^x - 1, without cancellation where x is small. */
export function complexExpm1(x: Complex): Complex {
  // e^a cos b - 1 = (e^a - 1) cos b - 2 sin^2(b/2).
  const half = sin(mul(x.im, 0.5));
  return { re: sub(mul(expm1(x.re), cos(x.im)), mul(2, mul(half, half))), im: mul(exp(x.re), sin(x.im)) };
}

/** {@link einsum} of two complex operands. */
export const complexEinsum = (spec: string, x: Complex, y: Complex): Complex => ({
  re: einsumReal(spec, x, y),
  im: add(einsum(spec, x.re, y.im), einsum(spec, x.im, y.re)),
});

/** The real part of {@link complexEinsum}, for half its work. */
export const einsumReal = (spec: string, x: Complex, y: Complex): Tensor =>
  sub(einsum(spec, x.re, y.re), einsum(spec, x.im, y.im));
