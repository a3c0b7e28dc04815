/** (e^x - 1) / x for complex x: what a held input weighs. */
import {
  complexConj,
  complexExp,
  complexExpm1,
  complexMap,
  complexMul,
  complexOf,
  complexScale,
  complexShift,
  complexSub,
  defineKernel,
  div,
  full,
  less,
  maximum,
  add,
  mul,
  neg,
  reshape,
  where,
  zeros,
  type Complex,
  type Kernel,
  type Tensor,
} from "@seqmix/tensor";

/** Elements of a complex tensor. */
export type ComplexElements = {
  /** Real parts. */
  readonly re: "E";
  /** Imaginary parts. */
  readonly im: "E";
};

/** Below this square of |x| the value is 1 + x/2 in double precision; above it nothing cancels. */
const TINY = 1e-16;
/** Below this square of |x| the derivative is its series with so many terms, exact in double precision. */
const NEAR = 1 / 256;
const TERMS = 9;

/**
 * The record of {@link complexExpm1OverX}. The gradient is a formula of its own, which needs nothing of the forward pass, and
 * a series where that would cancel.
 */
export const expm1OverXKernel: Kernel<ComplexElements, ComplexElements, undefined> = defineKernel({
  name: "expm1OverX",
  inputs: { re: "E", im: "E" },
  outputs: { re: "E", im: "E" },
  reference(x: Complex) {
    const near = complexShift(complexScale(x, 0.5), 1);
    const far = complexMul(complexExpm1(x), boundedReciprocal(x, TINY));
    return chosen(x, TINY, near, far);
  },
  gradient(x: Complex, { re, im }: { readonly re?: Tensor; readonly im?: Tensor }): Partial<Complex> {
    // sum of (k+1) x^k / (k+2)!
    let near = complexOf(full(x.re.shape, (TERMS + 1) / factorial(TERMS + 2)));
    for (let k = TERMS - 1; k >= 0; k--) near = complexShift(complexMul(near, x), (k + 1) / factorial(k + 2));
    // (e^x - (e^x - 1)/x) / x
    const inverse = boundedReciprocal(x, NEAR);
    const far = complexMul(complexSub(complexExp(x), complexMul(complexExpm1(x), inverse)), inverse);
    const none = zeros(x.re.shape);
    return complexMul({ re: re ?? none, im: im ?? none }, complexConj(chosen(x, NEAR, near, far)));
  },
  cost: ({ E }) => ({ flops: 30 * E!, bytes: 16 * E! }),
  variants: [],
  samples: [
    { name: "near 0", dims: { E: 5 }, options: undefined, ranges: { re: [-0.1, 0.1], im: [-0.1, 0.1] } },
    { name: "far", dims: { E: 5 }, options: undefined, ranges: { re: [-2, -0.5], im: [-3, 3] } },
  ],
});

/** (e^x - 1) / x, 1 at x = 0. @param x [..] */
export function complexExpm1OverX(x: Complex): Complex {
  const { shape, size } = x.re;
  const flat = complexMap(x, (part) => reshape(part, [size]));
  return complexMap(expm1OverXKernel(flat, undefined), (part) => reshape(part, shape));
}

const squared = (x: Complex): Tensor => add(mul(x.re, x.re), mul(x.im, x.im));

/** 1/x where |x|^2 is at least the bound, and something finite elsewhere. */
function boundedReciprocal(x: Complex, bound: number): Complex {
  const size = maximum(squared(x), bound);
  return { re: div(x.re, size), im: neg(div(x.im, size)) };
}

/** One value where |x|^2 is below the bound, another elsewhere. */
function chosen(x: Complex, bound: number, near: Complex, far: Complex): Complex {
  const isNear = less(squared(x), bound);
  return { re: where(isNear, near.re, far.re), im: where(isNear, near.im, far.im) };
}

const factorial = (n: number): number => (n <= 1 ? 1 : n * factorial(n - 1));
