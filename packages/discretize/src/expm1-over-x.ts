/** (e^x - 1) / x for complex x: what a held input weighs. */
import {
  complexConj,
  complexExp,
  complexExpm1,
  complexMap,
  complexMul,
  complexOf,
  complexReciprocal,
  complexShift,
  defineKernel,
  full,
  less,
  add,
  mul,
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

/** Below this square of |x| the series with {@link TERMS} terms is exact in double precision, with its derivative. */
const RADIUS_SQUARED = 1 / 16;
const TERMS = 12;

/**
 * The record of {@link complexExpm1OverX}. Near 0 it is the series, so that neither the value nor its gradient loses digits
 * there; the gradient is a formula of its own, which needs nothing of the forward pass.
 */
export const expm1OverXKernel: Kernel<ComplexElements, ComplexElements, undefined> = defineKernel({
  name: "expm1OverX",
  inputs: { re: "E", im: "E" },
  outputs: { re: "E", im: "E" },
  reference: (x: Complex) =>
    nearOrFar(
      x,
      // sum of x^k / (k+1)!
      Array.from({ length: TERMS }, (_, k) => 1 / factorial(k + 1)),
      (far) => complexMul(complexExpm1(far), complexReciprocal(far)),
    ),
  gradient(x: Complex, { re, im }: { readonly re?: Tensor; readonly im?: Tensor }): Partial<Complex> {
    const slope = nearOrFar(
      x,
      Array.from({ length: TERMS }, (_, k) => (k + 1) / factorial(k + 2)),
      // ((x - 1) e^x + 1) / x^2
      (far) => {
        const inverse = complexReciprocal(far);
        return complexMul(
          complexShift(complexMul(complexShift(far, -1), complexExp(far)), 1),
          complexMul(inverse, inverse),
        );
      },
    );
    const none = zeros(x.re.shape);
    return complexMul({ re: re ?? none, im: im ?? none }, complexConj(slope));
  },
  cost: ({ E }) => ({ flops: 12 * TERMS * E!, bytes: 16 * E! }),
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

/** A power series near 0, and a function elsewhere; each gets arguments at which it is finite. */
function nearOrFar(x: Complex, coefficients: readonly number[], f: (x: Complex) => Complex): Complex {
  const near = less(add(mul(x.re, x.re), mul(x.im, x.im)), RADIUS_SQUARED);
  const small = complexMap(x, (part) => where(near, part, 0));
  const far = f({ re: where(near, 1, x.re), im: where(near, 0, x.im) });
  let series = complexOf(full(x.re.shape, coefficients.at(-1)!));
  for (const coefficient of coefficients.slice(0, -1).reverse())
    series = complexShift(complexMul(series, small), coefficient);
  return { re: where(near, series.re, far.re), im: where(near, series.im, far.im) };
}

const factorial = (n: number): number => (n <= 1 ? 1 : n * factorial(n - 1));
