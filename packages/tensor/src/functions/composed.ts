/** Everyday functions composed from the op table. They fuse like anything written by hand. */
import { assertSettings, assertTensor } from "../graph/assert.js";
import { describeValue, ShapeError } from "../graph/errors.js";
import { isReal } from "../graph/dtype.js";
import {
  abs,
  add,
  cast,
  div,
  equal,
  erf,
  exp,
  expm1,
  isNaN,
  less,
  log,
  maximum,
  minimum,
  mul,
  not,
  or,
  sigmoid,
  sqrt,
  sub,
  tanh,
  where,
} from "../ops/elementwise.js";
import { full, iota } from "../ops/generators.js";
import { matmul } from "../ops/matmul.js";
import { powerOf } from "../ops/power.js";
import { broadcastTo, reshape, stopGradient, transpose } from "../ops/movement.js";
import { max, REDUCE_OPTIONS, sum, type ReduceOptions } from "../ops/reduce.js";
import { formatShape, normalizeAxes, normalizeAxis, sizeOf } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";

/** x^2. */
export const square = (x: Tensor): Tensor => mul(x, x);

/** x^p for a fixed number p; x at least 0 unless p is a whole number. */
export function power(x: Tensor, p: number): Tensor {
  if (!Number.isFinite(p))
    throw new RangeError(
      `power: expected a finite number as the exponent, got ${describeValue(p)}; for a tensor write exp(mul(p, log(x)))`,
    );
  if (p === 0.5) return sqrt(x);
  if (!Number.isInteger(p)) return inSingle(x, (y) => powerOf(y, p));
  if (p === 0) return full(x.shape, 1, x.dtype);
  // the reciprocal first: x^-p may be infinite, and its gradient 0 times infinity
  return inSingle(x, (y) => (p < 0 ? wholePower(div(1, y), -p) : wholePower(y, p)));
}

/** x^p by squares, p a whole number of at least 1. */
function wholePower(x: Tensor, p: number): Tensor {
  if (p === 1) return x;
  const even = square(wholePower(x, Math.floor(p / 2)));
  return p % 2 === 0 ? even : mul(even, x);
}

/** max(x, 0). */
export const relu = (x: Tensor): Tensor => maximum(x, 0);
/** x sigmoid(x), also called swish. */
export const silu = (x: Tensor): Tensor => mul(x, sigmoid(x));
/** x Phi(x) with the exact normal distribution function (erf). */
export const gelu = (x: Tensor): Tensor => inSingle(x, (y) => mul(mul(y, 0.5), add(erf(mul(y, Math.SQRT1_2)), 1)));
/** {@link gelu} with Phi by tanh, sqrt(2 / pi) (x + 0.044715 x^3) inside (Hendrycks and Gimpel, 2016); GPT-2's and flax's. */
export const geluTanh = (x: Tensor): Tensor =>
  inSingle(x, (y) => {
    // Beyond 16 the tanh is 1; the cube of a large number would overflow, and its gradient be 0 times infinity.
    const z = clip(y, -16, 16);
    const inner = mul(add(z, mul(mul(square(z), z), 0.044715)), Math.sqrt(2 / Math.PI));
    return mul(mul(y, 0.5), add(tanh(inner), 1));
  });
/** x limited to low..high. */
export function clip(x: Tensor, low: number, high: number): Tensor {
  if (!(low <= high)) throw new RangeError(`clip: expected numbers low <= high, got ${low} and ${high}; swap them`);
  return minimum(maximum(x, low), high);
}
/** -1, 0 or 1, of the type of x; NaN for NaN. */
export const sign = (x: Tensor): Tensor => {
  assertTensor("sign", x);
  if (!isReal(x.dtype)) return sub(cast(less(0, x), "i32"), cast(less(x, 0), "i32"));
  return where(isNaN(x), x, sub(cast(less(0, x), x.dtype), cast(less(x, 0), x.dtype)));
};

/** Mean over the axes (all by default). */
export function mean(x: Tensor, axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
  assertTensor("mean", x);
  // the sum may be beyond the largest f16 number where the mean is not
  if (x.dtype === "f16") return cast(mean(cast(x, "f32"), axes, options), "f16");
  const along = normalizeAxes(axes, x.shape.length, "mean");
  return div(sum(x, along, options), sizeOf(along.map((axis) => x.shape[axis]!)));
}

/** Mean of the squared distance from the mean over the axes (all by default). */
export function variance(x: Tensor, axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
  return inSingle(x, (y) => mean(square(sub(y, mean(y, axes, { keepDims: true }))), axes, options));
}

/** f of x in f32, rounded to the type of x at the end: what f squares or adds up may be beyond the largest f16 number. */
function inSingle(x: Tensor, f: (x: Tensor) => Tensor): Tensor {
  assertTensor("cast", x);
  return x.dtype === "f16" ? cast(f(cast(x, "f32")), "f16") : f(x);
}

/**
 * Index of the first largest element along an axis, i32, without that axis. NaN counts as larger than any number, as in numpy.
 * @throws ShapeError if the axis has no elements.
 */
export function argmax(x: Tensor, axis: number): Tensor {
  assertTensor("argmax", x);
  const along = normalizeAxis(axis, x.shape.length, "argmax");
  const extent = x.shape[along]!;
  if (extent === 0)
    throw new ShapeError(
      `argmax: expected at least one element along axis ${along}, got shape ${formatShape(x.shape)}; leave such tensors out`,
    );
  const largest = broadcastTo(max(x, along, { keepDims: true }), x.shape);
  const attained = isReal(x.dtype) ? or(equal(x, largest), not(equal(x, x))) : equal(x, largest);
  // The first index is the largest distance from the end.
  return sub(extent - 1, max(where(attained, sub(extent - 1, iota(x.shape, along)), -1), along));
}

/** The largest element along an axis, to be subtracted before exp; 0 where that is infinite, since inf - inf is no number. */
function shiftOf(x: Tensor, axis: number): Tensor {
  const largest = stopGradient(max(x, axis, { keepDims: true }));
  return where(equal(abs(largest), Infinity), 0, largest);
}

/** log(sum(e^x)) over an axis, without overflow; -infinity where there is nothing to sum, or -infinity alone. */
export function logSumExp(x: Tensor, axis: number, options: ReduceOptions = {}): Tensor {
  assertTensor("logSumExp", x);
  assertSettings("logSumExp", options, REDUCE_OPTIONS);
  const along = normalizeAxis(axis, x.shape.length, "logSumExp");
  return inSingle(x, (y) => {
    const shift = shiftOf(y, along);
    const total = sum(exp(sub(y, shift)), along, { keepDims: true });
    // A branch of its own for nothing, whose gradient would be 0 / 0.
    const none = equal(total, 0);
    const out = where(none, -Infinity, add(log(where(none, 1, total)), shift));
    return options.keepDims
      ? out
      : reshape(
          out,
          y.shape.filter((_, k) => k !== along),
        );
  });
}

/** e^x / sum(e^x) along an axis; NaN where all are -infinity, or one is infinite. */
export function softmax(x: Tensor, axis = -1): Tensor {
  return inSingle(x, (y) => {
    const weights = exp(sub(y, stopGradient(max(y, axis, { keepDims: true }))));
    return div(weights, sum(weights, axis, { keepDims: true }));
  });
}

/** log(softmax(x)) along an axis. */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  return inSingle(x, (y) => {
    const shifted = sub(y, stopGradient(max(y, axis, { keepDims: true })));
    return sub(shifted, log(sum(exp(shifted), axis, { keepDims: true })));
  });
}

/** Below this size (e^x - 1) / x is summed as a series: its derivative would cancel otherwise. */
const SERIES = 0.5;
/** Terms of the series, enough for float64. */
const TERMS = 14;

/** (e^x - 1) / x, 1 at x = 0, without cancellation in it or its derivative: the weight of a zero-order hold. */
export function expm1OverX(x: Tensor): Tensor {
  const small = less(abs(x), SERIES);
  // Each branch sees arguments it is good for, so that the other's gradient is 0 and not 0 times infinity.
  const near = where(small, x, 0);
  // 1 + x/2 (1 + x/3 (1 + ...))
  let series: Tensor = add(mul(near, 1 / (TERMS + 1)), 1);
  for (let n = TERMS; n > 1; n--) series = add(mul(mul(near, 1 / n), series), 1);
  const far = where(small, 1, x);
  // e^x is infinite before x is
  return where(small, series, div(expm1(far), minimum(far, LARGEST)));
}

/** The largest f32 number. */
const LARGEST = (2 - 2 ** -23) * 2 ** 127;

/**
 * Sum of products in Einstein's notation with axis names separated by spaces,
 * e.g. `einsum("B L D, D N -> B L N", x, w)`, or without spaces a letter each, `einsum("ij,jk->ik", x, y)`. Every name has one extent; names not in the result are summed.
 * @throws ShapeError naming the axis and the two extents that differ.
 */
export function einsum(spec: string, ...operands: readonly Tensor[]): Tensor {
  for (const x of operands) assertTensor("einsum", x);
  const [left, right] = String(spec).split("->");
  if (right === undefined) throw new ShapeError(`einsum: expected "inputs -> output" with axis names, got "${spec}"`);
  const spaced = (text: string): string[] => text.split(" ").filter((name) => name !== "");
  const parts = left!.split(",");
  // "ij,jk->ik": without spaces every letter is an axis, where that is how many the operands have
  const letters =
    parts.length === operands.length &&
    parts.some((part, k) => spaced(part).length !== operands[k]!.shape.length) &&
    parts.every((part, k) => part.trim().length === operands[k]!.shape.length && !part.trim().includes(" "));
  const names = letters ? (text: string): string[] => [...text.trim()] : spaced;
  const inputs = parts.map(names);
  const output = names(right);
  if (inputs.length !== operands.length)
    throw new ShapeError(`einsum: expected ${inputs.length} operands for "${spec}", got ${operands.length}`);
  const extents = new Map<string, number>();
  inputs.forEach((axes, k) => {
    const { shape } = operands[k]!;
    if (axes.length !== shape.length || new Set(axes).size !== axes.length)
      throw new ShapeError(
        `einsum: expected operand ${k} with distinct axes "${axes.join(" ")}", got shape ${formatShape(shape)}`,
      );
    axes.forEach((name, axis) => {
      const known = extents.get(name);
      if (known !== undefined && known !== shape[axis])
        throw new ShapeError(
          `einsum: axis ${name} is ${known} before but ${shape[axis]} in operand ${k} ${formatShape(shape)}; make them equal`,
        );
      extents.set(name, shape[axis]!);
    });
  });
  for (const name of output)
    if (!extents.has(name)) throw new ShapeError(`einsum: expected the result axis ${name} in an operand of "${spec}"`);

  let [axes, value] = [inputs[0]!, operands[0]!];
  for (let k = 1; k < operands.length; k++) {
    const later = new Set([...output, ...inputs.slice(k + 1).flat()]);
    [axes, value] = contract(axes, value, inputs[k]!, operands[k]!, later);
  }
  const surplus = axes.flatMap((name, axis) => (output.includes(name) ? [] : [axis]));
  if (surplus.length > 0) [axes, value] = [axes.filter((name) => output.includes(name)), sum(value, surplus)];
  return transpose(
    value,
    output.map((name) => axes.indexOf(name)),
  );
}

/** Product of two operands as one batched matmul, summed over the names that nothing later needs. */
function contract(
  aAxes: readonly string[],
  a: Tensor,
  bAxes: readonly string[],
  b: Tensor,
  later: ReadonlySet<string>,
): [string[], Tensor] {
  const alone = (axes: readonly string[], x: Tensor, others: readonly string[]): [string[], Tensor] => {
    const gone = axes.flatMap((name, axis) => (later.has(name) || others.includes(name) ? [] : [axis]));
    return gone.length === 0 ? [[...axes], x] : [axes.filter((_, axis) => !gone.includes(axis)), sum(x, gone)];
  };
  const [p, x] = alone(aAxes, a, bAxes);
  const [q, y] = alone(bAxes, b, aAxes);
  const batch = p.filter((name) => q.includes(name) && later.has(name));
  const summed = p.filter((name) => q.includes(name) && !later.has(name));
  const rows = p.filter((name) => !q.includes(name));
  const columns = q.filter((name) => !p.includes(name));
  const extent = (name: string): number => (p.includes(name) ? x.shape[p.indexOf(name)]! : y.shape[q.indexOf(name)]!);
  const arrange = (axes: readonly string[], value: Tensor, order: readonly string[]): Tensor =>
    transpose(
      value,
      order.map((name) => axes.indexOf(name)),
    );
  const sizes = (list: readonly string[]): number[] => list.map(extent);
  const result = [...batch, ...rows, ...columns];
  if (summed.length === 0) {
    const left = reshape(arrange(p, x, [...batch, ...rows]), [
      ...sizes(batch),
      ...sizes(rows),
      ...columns.map(() => 1),
    ]);
    const right = reshape(arrange(q, y, [...batch, ...columns]), [
      ...sizes(batch),
      ...rows.map(() => 1),
      ...sizes(columns),
    ]);
    return [result, mul(left, right)];
  }
  const [M, K, N] = [rows, summed, columns].map((list) => sizeOf(sizes(list))) as [number, number, number];
  const left = reshape(arrange(p, x, [...batch, ...rows, ...summed]), [...sizes(batch), M, K]);
  const right = reshape(arrange(q, y, [...batch, ...summed, ...columns]), [...sizes(batch), K, N]);
  return [result, reshape(matmul(left, right), sizes(result))];
}
