/** Sums over poles at the points of a Fourier transform: the kernels of S4 in the frequency domain. */
import {
  add,
  arange,
  assertNumber,
  cast,
  complexConj,
  complexMap,
  complexMul,
  defineKernel,
  div,
  expandDims,
  mul,
  neg,
  sin,
  sub,
  sum,
  type Complex,
  type Kernel,
  type Tensor,
} from "@seqmix/tensor";
import { cauchyOnGpu } from "./webgpu/cauchy-variant.js";

/** Axes of the inputs of {@link cauchyKernel}; each pole stands for itself and its conjugate. */
export type CauchyInputs = {
  /** 2 Re v of each sum and pole. */
  readonly p: "K H N";
  /** 2 Re(v conj(a)). */
  readonly q: "K H N";
  /** 2 Re a. */
  readonly s: "H N";
  /** |a|^2. */
  readonly d: "H N";
};

/** Settings of {@link cauchyKernel}. */
export interface CauchyOptions {
  /** L: the points are at the angles 2 pi k / L, k = 0 .. floor(L/2), F of them. */
  readonly length: number;
}

/** Axes of the outputs of {@link cauchyKernel}. */
export type CauchyOutputs = {
  /** Real part. */
  readonly re: "K H F";
  /** Imaginary part. */
  readonly im: "K H F";
};

type Inputs = { readonly [K in keyof CauchyInputs]: Tensor };
type Points = ReturnType<typeof halfAngles>;

/**
 * sum_n over poles a_n and their conjugates of 2 v_n / (2 (1 - w) - a_n (1 + w)) at w = e^(-i theta), times e^(-i theta/2): with
 * S and R for sine and cosine of theta/2 it is 2 sum_n (i S p - R q/2) / (R^2 d - 4 S^2 - 2 i S R s), finite at w = -1 too.
 *
 * No [H N F] array: the sums are reductions, and each part of the gradient computes their terms again.
 */
export const cauchyKernel: Kernel<CauchyInputs, CauchyOutputs, CauchyOptions> = defineKernel({
  name: "cauchy",
  options: { length: { from: 1, whole: true } },
  inputs: { p: "K H N", q: "K H N", s: "H N", d: "H N" },
  extraDims: (_, { length }: CauchyOptions) => ({ F: Math.floor(length / 2) + 1 }),
  outputs: { re: "K H F", im: "K H F" },
  backwardReads: [],
  reference(inputs: Inputs, { length }) {
    const { re, im } = termOf(inputs, halfAngles(length));
    return { re: sum(re, 2), im: sum(im, 2) };
  },
  gradient(inputs: Inputs, { re, im }: { readonly re?: Tensor; readonly im?: Tensor }, { length }) {
    // Re(conj(g) x) for cotangents g [K H 1 F].
    const along = (x: Complex): Tensor => {
      const parts = [re && mul(expandDims(re, 2), x.re), im && mul(expandDims(im, 2), x.im)].filter((part) => !!part);
      return parts.length === 2 ? add(parts[0]!, parts[1]!) : parts[0]!;
    };
    const points = halfAngles(length);
    const { sine: S, cosine: R } = points;
    const reciprocal = reciprocalOf(inputs, points);
    const times = (x: Complex, factor: Tensor): Complex => complexMap(x, (part) => mul(part, factor));
    // Terms are numerator/x with 1/x = reciprocal: what changes the numerator, and what changes x, d(1/x) = -1/x^2 dx.
    const above = (factor: Tensor): Complex => times(reciprocal, factor);
    const below = (factor: Tensor): Complex => times(complexMul(termOf(inputs, points), reciprocal), neg(factor));
    return {
      p: sum(along(timesI(above(mul(2, S)))), 3),
      q: sum(along(above(neg(R))), 3),
      s: sum(along(timesI(below(mul(-2, mul(S, R))))), [0, 3]),
      d: sum(along(below(mul(R, R))), [0, 3]),
    };
  },
  cost: ({ K, H, N, F }) => ({
    flops: (14 + 16 * K!) * H! * N! * F!,
    bytes: 4 * H! * (2 * K! * N! + 2 * N! + 2 * K! * F!),
  }),
  variants: [cauchyOnGpu],
  // Poles to the left of the imaginary axis, from which the points stay away.
  samples: (
    [
      ["two sums", { K: 2, H: 2, N: 3 }, 9],
      ["five sums of many poles", { K: 5, H: 1, N: 70 }, 40],
      ["one pole, one point", { K: 1, H: 3, N: 1 }, 1],
    ] as const
  ).map(([name, dims, length]) => ({
    name,
    dims,
    options: { length },
    ranges: { s: [-2, -1], d: [2, 4] },
  })),
});

const timesI = ({ re, im }: Complex): Complex => ({ re: neg(im), im: re });

/** 1 / (R^2 d - 4 S^2 - 2 i S R s) [H N F]. */
function reciprocalOf({ s, d }: Inputs, { sine: S, cosine: R }: Points): Complex {
  const pole = (x: Tensor): Tensor => expandDims(x, 2);
  const x = sub(mul(pole(d), mul(R, R)), mul(4, mul(S, S)));
  const y = mul(pole(s), mul(2, mul(S, R)));
  const size = add(mul(x, x), mul(y, y));
  return { re: div(x, size), im: div(y, size) };
}

/** The terms of the sums [K H N F]. */
function termOf(inputs: Inputs, points: Points): Complex {
  const { p, q } = inputs;
  const { sine: S, cosine: R } = points;
  const numerator = { re: mul(expandDims(q, 3), neg(R)), im: mul(expandDims(p, 3), mul(2, S)) };
  return complexMul(numerator, reciprocalOf(inputs, points));
}

/** sin and cos of half the angles 2 pi k / L, k = 0 .. floor(L/2) [F]; small values of both keep their digits. */
export function halfAngles(L: number): {
  /** Sines. */
  readonly sine: Tensor;
  /** Cosines. */
  readonly cosine: Tensor;
} {
  assertNumber("halfAngles", "the length L", L, { from: 1, whole: true });
  const k = cast(arange(Math.floor(L / 2) + 1), "f32");
  return { sine: sin(mul(k, Math.PI / L)), cosine: sin(mul(sub(L / 2, k), Math.PI / L)) };
}

/**
 * {@link cauchyKernel} of complex numerators and poles.
 * @param v [K H N]
 * @param a [H N]
 * @param length L of the points.
 * @returns [K H F]
 */
export function cauchySums(v: Complex, a: Complex, length: number): Complex {
  const turned = complexMul(v, complexConj(a));
  return cauchyKernel(
    {
      p: mul(2, v.re),
      q: mul(2, turned.re),
      s: mul(2, a.re),
      d: add(mul(a.re, a.re), mul(a.im, a.im)),
    },
    { length },
  );
}
