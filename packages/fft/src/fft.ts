/** Discrete Fourier transforms along the last axis, of any length. */
import {
  add,
  assertNumber,
  assertSettings,
  assertTensor,
  concat,
  flip,
  formatShape,
  matmul,
  mul,
  neg,
  pad,
  reshape,
  ShapeError,
  sizeOf,
  sliceAxis,
  sub,
  transpose,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import { chirp, dftMatrix, turns, twiddles } from "./tables.js";

/** A complex tensor: real and imaginary parts of one shape. */
export type Complex = {
  /** Real part. */
  readonly re: Tensor;
  /** Imaginary part. */
  readonly im: Tensor;
};

/** A complex tensor that may be real: without `im` the imaginary part is zero. */
export type ComplexInput = {
  /** Real part. */
  readonly re: Tensor;
  /** Imaginary part. */
  readonly im?: Tensor | undefined;
};

/** Longest transform done as one product with its matrix: on matrix units that beats radix-2 butterflies. */
const DIRECT = 32;

/**
 * X_k = sum_j x_j exp(-2 pi i j k / n) along the last axis.
 *
 * Lengths with divisors up to 32 are split by Cooley and Tukey's rule (1965) into products with small Fourier
 * matrices, so that a transform of 1,024 points is two matrix products; what is left of other lengths goes by
 * Bluestein's algorithm (1970). Differentiable like any composition of ops.
 * @param x [.. n]; leave `im` out for real values
 * @returns [.. n]
 * @throws ShapeError if x has no axis, or `re` and `im` differ in shape.
 */
export function fft(x: ComplexInput): Complex {
  const n = lengthOf(x, "fft");
  const { shape } = x.re;
  if (sizeOf(shape) === 0) return { re: x.re, im: x.im ?? x.re };
  const rows = (part: Tensor): Tensor => reshape(part, [sizeOf(shape) / n, n]);
  const { re, im } = transform({ re: rows(x.re), im: x.im && rows(x.im) });
  return { re: reshape(re, shape), im: reshape(im, shape) };
}

/**
 * x_j = 1/n sum_k X_k exp(2 pi i j k / n) along the last axis: the inverse of {@link fft}.
 * @param x [.. n]
 * @returns [.. n]
 */
export function ifft(x: ComplexInput): Complex {
  const n = lengthOf(x, "ifft");
  // Real and imaginary parts change places on the way in and out: that turns the transform's direction.
  const { re, im } = fft({ re: x.im ?? zeros(x.re.shape), im: x.re });
  return { re: mul(im, 1 / n), im: mul(re, 1 / n) };
}

/**
 * The first floor(n/2) + 1 values of {@link fft} of real values; the others are their conjugates, reversed. Of even n by a
 * complex transform of half the length.
 * @param x [.. n]
 * @returns [.. floor(n/2)+1]
 * @throws ShapeError if x has no axis or nothing along it.
 */
export function rfft(x: Tensor): Complex {
  const n = lengthOf({ re: x }, "rfft");
  if (n === 0) throw new ShapeError(`rfft: expected a last axis of at least 1, got shape ${formatShape(x.shape)}`);
  const half = Math.floor(n / 2) + 1;
  if (n % 2 === 1 || x.size === 0) {
    const { re, im } = fft({ re: x });
    return { re: sliceAxis(re, -1, 0, half), im: sliceAxis(im, -1, 0, half) };
  }
  const outer = x.shape.slice(0, -1);
  const m = n / 2;
  const pairs = reshape(x, [sizeOf(outer), m, 2]);
  const part = (k: 0 | 1): Tensor => reshape(sliceAxis(pairs, 2, k, k + 1), [sizeOf(outer), m]);
  // z_j = x_(2j) + i x_(2j+1): its transform is that of the even values plus i times that of the odd ones.
  const z = transform({ re: part(0), im: part(1) });
  const around = (y: Tensor): Tensor => concat([y, sliceAxis(y, 1, 0, 1)], 1);
  const mirrored = (y: Tensor): Tensor => concat([sliceAxis(y, 1, 0, 1), flip(y, 1)], 1);
  const [re, im, mirroredRe, mirroredIm] = [around(z.re), around(z.im), mirrored(z.re), mirrored(z.im)];
  const even = { re: add(re, mirroredRe), im: sub(im, mirroredIm) };
  const odd = product({ re: add(im, mirroredIm), im: sub(mirroredRe, re) }, turns(n, half), mul);
  const joined = (a: Tensor, b: Tensor): Tensor => reshape(mul(add(a, b), 0.5), [...outer, half]);
  return { re: joined(even.re, odd.re), im: joined(even.im, odd.im) };
}

/**
 * The real values whose {@link rfft} is x. The imaginary parts of the first value and, for even n, of the last one are not used.
 * @param x [.. floor(n/2)+1]
 * @param length n, that of the result; twice the extent minus 2 by default
 * @returns [.. n]
 * @throws ShapeError if the extent is not floor(n/2) + 1.
 */
export function irfft(x: Complex, length?: number): Tensor {
  const half = lengthOf(x, "irfft");
  const n = length === undefined ? 2 * (half - 1) : length;
  assertNumber("irfft", "n", n, { from: 1, whole: true });
  if (Math.floor(n / 2) + 1 !== half)
    throw new ShapeError(
      `irfft: expected a last axis of floor(n/2)+1 = ${Math.floor(n / 2) + 1} for n = ${n}, got shape ${formatShape(x.re.shape)}; pass the length of the real values`,
    );
  // Values 1 .. ceil(n/2)-1 come back conjugated and reversed.
  const mirrored = Math.ceil(n / 2);
  const inner = (part: Tensor): Tensor => {
    const outer = part.shape.slice(1).map(() => 0);
    return pad(sliceAxis(part, -1, 1, mirrored), [...outer, 1], [...outer, half - mirrored]);
  };
  const im = inner(x.im);
  if (n % 2 === 0 && x.re.size > 0) return fromHalf({ re: x.re, im }, n);
  const rest = (part: Tensor): Tensor => flip(sliceAxis(part, -1, 1, mirrored), -1);
  return ifft({ re: concat([x.re, rest(x.re)], -1), im: concat([im, neg(rest(x.im))], -1) }).re;
}

/** The inverse of {@link rfft} for even n: the even values are the real parts of a transform of n/2, the odd ones the imaginary parts. */
function fromHalf(x: Complex, n: number): Tensor {
  const outer = x.re.shape.slice(0, -1);
  const m = n / 2;
  const rows = (part: Tensor): Tensor => reshape(part, [sizeOf(outer), m + 1]);
  const [re, im] = [rows(x.re), rows(x.im)];
  const first = (part: Tensor): Tensor => sliceAxis(part, 1, 0, m);
  const back = (part: Tensor): Tensor => flip(sliceAxis(part, 1, 1, m + 1), 1);
  const even = { re: add(first(re), back(re)), im: sub(first(im), back(im)) };
  const w = turns(n, m);
  const odd = product({ re: sub(first(re), back(re)), im: add(first(im), back(im)) }, { re: w.re, im: neg(w.im) }, mul);
  const z = ifft({ re: sub(even.re, odd.im), im: add(even.im, odd.re) });
  const column = (part: Tensor): Tensor => reshape(mul(part, 0.5), [sizeOf(outer), m, 1]);
  return reshape(concat([column(z.re), column(z.im)], 2), [...outer, n]);
}

function lengthOf(x: ComplexInput, name: string): number {
  assertSettings(name, x, ["re", "im"]);
  assertTensor(`${name}, re`, x.re);
  if (x.im) assertTensor(`${name}, im`, x.im);
  const { re, im } = x;
  const n = re.shape.at(-1);
  if (n === undefined) throw new ShapeError(`${name}: expected a tensor with at least one axis, got a scalar`);
  if (im && formatShape(im.shape) !== formatShape(re.shape))
    throw new ShapeError(
      `${name}: expected re and im of one shape, got ${formatShape(re.shape)} and ${formatShape(im.shape)}`,
    );
  return n;
}

/** x [R n] -> [R n]. */
function transform(x: ComplexInput): Complex {
  const [R, n] = x.re.shape as [number, number];
  if (n <= DIRECT) return product(x, dftMatrix(n), matmul);
  const r = factorOf(n);
  if (r === undefined) return bluestein(x);
  // x_(j1 m + j2) -> [R r m]; sum over j1, turn by exp(-2 pi i k1 j2 / n), transform over j2: X_(k1 + r k2).
  const m = n / r;
  const split = (part: Tensor): Tensor => reshape(part, [R, r, m]);
  const first = product({ re: split(x.re), im: x.im && split(x.im) }, dftMatrix(r), (part, matrix) =>
    matmul(matrix, part),
  );
  const turned = product(first, twiddles(r, m), mul);
  const join = (part: Tensor): Tensor => reshape(part, [R * r, m]);
  const second = transform({ re: join(turned.re), im: join(turned.im) });
  const order = (part: Tensor): Tensor => reshape(transpose(reshape(part, [R, r, m])), [R, n]);
  return { re: order(second.re), im: order(second.im) };
}

/** A bilinear product of complex x and t from its real one. */
function product({ re, im }: ComplexInput, t: Complex, multiply: (x: Tensor, t: Tensor) => Tensor): Complex {
  const real = { re: multiply(re, t.re), im: multiply(re, t.im) };
  return im ? { re: sub(real.re, multiply(im, t.im)), im: add(real.im, multiply(im, t.re)) } : real;
}

/** A divisor of n in 2..DIRECT that makes the steps alike in size; undefined if there is none. */
function factorOf(n: number): number | undefined {
  const steps = Math.ceil(Math.log(n) / Math.log(DIRECT) - 1e-9);
  const ideal = n ** (1 / steps);
  let best: number | undefined;
  for (let r = 2; r <= DIRECT; r++)
    if (n % r === 0 && (best === undefined || Math.abs(Math.log(r / ideal)) <= Math.abs(Math.log(best / ideal))))
      best = r;
  return best;
}

/**
 * 2 j k = j^2 + k^2 - (k - j)^2 turns the transform into a convolution with a chirp, done by transforms of a power of 2:
 * X_k = c_k sum_j (x_j c_j) conj(c_(k-j)) with c_j = exp(-i pi j^2 / n).
 */
function bluestein(x: ComplexInput): Complex {
  const n = x.re.shape[1]!;
  const length = 2 ** Math.ceil(Math.log2(2 * n - 1));
  const c = chirp(n);
  const around = (part: Tensor): Tensor =>
    concat([part, zeros([1, length - (2 * n - 1)]), flip(sliceAxis(part, 1, 1, n), 1)], 1);
  const filter = transform({ re: around(c.re), im: around(neg(c.im)) });
  const wide = (part: Tensor): Tensor => pad(part, [0, 0], [0, length - n]);
  const turned = product(x, c, mul);
  const spectrum = product(transform({ re: wide(turned.re), im: wide(turned.im) }), filter, mul);
  const { re, im } = ifft(spectrum);
  return product({ re: sliceAxis(re, 1, 0, n), im: sliceAxis(im, 1, 0, n) }, c, mul);
}
