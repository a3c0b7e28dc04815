/** Arithmetic of complex tensors, elementwise with broadcasting. */
import type { Complex } from "@seqmix/fft";
import { add, cos, div, einsum, exp, expm1, mul, neg, sin, sub, type Tensor } from "@seqmix/tensor";

/** f of both parts. */
export const both = (x: Complex, f: (part: Tensor) => Tensor): Complex => ({ re: f(x.re), im: f(x.im) });

/** x + y. */
export const plus = (x: Complex, y: Complex): Complex => ({ re: add(x.re, y.re), im: add(x.im, y.im) });

/** x y. */
export const times = (x: Complex, y: Complex): Complex => ({
  re: sub(mul(x.re, y.re), mul(x.im, y.im)),
  im: add(mul(x.re, y.im), mul(x.im, y.re)),
});

/** x times a real factor. */
export const scale = (x: Complex, factor: Tensor | number): Complex => both(x, (part) => mul(part, factor));

/** conj(x) / (|x|^2 + eps): 1/x for eps = 0. */
export function reciprocal(x: Complex, eps = 0): Complex {
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

/** Re of a sum of products: {@link einsum} of two complex operands, real part only. */
export const einsumReal = (spec: string, x: Complex, y: Complex): Tensor =>
  sub(einsum(spec, x.re, y.re), einsum(spec, x.im, y.im));
