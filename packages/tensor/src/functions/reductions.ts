/** Reductions composed of sums and maxima. */
import { assertSettings, assertTensor } from "../graph/assert.js";
import { DTypeError } from "../graph/errors.js";
import { formatShape, normalizeAxes } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import { cast, greater, mul, neg, not, sub } from "../ops/elementwise.js";
import { pad, reshape, sliceAxis } from "../ops/movement.js";
import { max, REDUCE_OPTIONS, type ReduceOptions } from "../ops/reduce.js";

/** Minimum over the axes (all by default); NaN if any element is. The minimum of nothing is infinity, of i32 the largest number. */
export function min(x: Tensor, axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
  assertTensor("min", x);
  // -1 - x turns the order of i32 around without overflow
  return x.dtype === "i32" ? sub(-1, max(sub(-1, x), axes, options)) : neg(max(neg(x), axes, options));
}

/** Product over the axes (all by default), in pairs; the product of nothing is 1. In f16 it is rounded once. */
export function prod(x: Tensor, axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
  assertTensor("prod", x);
  assertSettings("prod", options, REDUCE_OPTIONS);
  if (x.dtype === "bool")
    throw new DTypeError(`prod: expected f32, f16 or i32, got bool ${formatShape(x.shape)}; convert it with cast`);
  const along = normalizeAxes(axes, x.shape.length, "prod");
  // a part may be beyond the largest f16 number where the whole is not
  if (x.dtype === "f16") return cast(prod(cast(x, "f32"), along, options), "f16");
  let y = x;
  for (const axis of along) {
    const none = y.shape.map(() => 0);
    if (y.shape[axis] === 0) y = pad(y, none, none.with(axis, 1), 1);
    while (y.shape[axis]! > 1) {
      const half = Math.ceil(y.shape[axis]! / 2);
      const rest = sliceAxis(y, axis, half, y.shape[axis]!);
      y = mul(sliceAxis(y, axis, 0, half), pad(rest, none, none.with(axis, half - rest.shape[axis]!), 1));
    }
  }
  return options.keepDims
    ? y
    : reshape(
        y,
        y.shape.filter((_, axis) => !along.includes(axis)),
      );
}

/** Whether any element is not 0 over the axes (all by default), bool; false for nothing. */
export function any(x: Tensor, axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
  return greater(max(cast(cast(x, "bool"), "i32"), axes, options), 0);
}

/** Whether all elements are not 0 over the axes (all by default), bool; true for nothing. */
export const all = (x: Tensor, axes?: number | readonly number[], options: ReduceOptions = {}): Tensor =>
  not(any(not(cast(x, "bool")), axes, options));
