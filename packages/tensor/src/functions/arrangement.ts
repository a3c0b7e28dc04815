/** Axes taken away and elements repeated; matrices by their diagonals. */
import { assertList, assertTensor } from "../graph/assert.js";
import { isReal, type DType } from "../graph/dtype.js";
import { ShapeError } from "../graph/errors.js";
import { formatShape, normalizeAxes, normalizeAxis } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import { add, and, cast, equal, floor, less, lessEqual, neg, not, or, sub, mul, where } from "../ops/elementwise.js";
import { iota } from "../ops/generators.js";
import { broadcastTo, expandDims, reshape } from "../ops/movement.js";

/**
 * Without axes of extent 1: all of them, or those named.
 * @throws ShapeError if a named one has another extent.
 */
export function squeeze(x: Tensor, axes?: number | readonly number[]): Tensor {
  assertTensor("squeeze", x);
  const along =
    axes === undefined
      ? x.shape.flatMap((extent, axis) => (extent === 1 ? [axis] : []))
      : normalizeAxes(axes, x.shape.length, "squeeze");
  for (const axis of along)
    if (x.shape[axis] !== 1)
      throw new ShapeError(
        `squeeze: expected axis ${axis} of extent 1, got ${x.shape[axis]} in ${formatShape(x.shape)}; leave that axis out`,
      );
  return reshape(
    x,
    x.shape.filter((_, axis) => !along.includes(axis)),
  );
}

/** The whole tensor repeated counts[k] times along each axis, as numpy's tile of a full list. */
export function tile(x: Tensor, counts: readonly number[]): Tensor {
  assertTensor("tile", x);
  assertList("tile", counts, "[2,1]");
  if (counts.length !== x.shape.length || counts.some((count) => !Number.isInteger(count) || count < 0))
    throw new ShapeError(
      `tile: expected ${x.shape.length} counts of at least 0 for ${formatShape(x.shape)}, got [${counts.join(",")}]; give one for each axis`,
    );
  const spread = reshape(
    x,
    x.shape.flatMap((extent) => [1, extent]),
  );
  return reshape(
    broadcastTo(
      spread,
      x.shape.flatMap((extent, axis) => [counts[axis]!, extent]),
    ),
    x.shape.map((extent, axis) => extent * counts[axis]!),
  );
}

/** Each element `count` times in a row along an axis, as numpy's repeat. */
export function repeat(x: Tensor, count: number, axis: number): Tensor {
  assertTensor("repeat", x);
  const along = normalizeAxis(axis, x.shape.length, "repeat");
  if (!Number.isInteger(count) || count < 0)
    throw new ShapeError(`repeat: expected a count that is a whole number of at least 0, got ${count}; round it`);
  const spread = expandDims(x, along + 1);
  return reshape(
    broadcastTo(spread, spread.shape.with(along + 1, count)),
    x.shape.with(along, x.shape[along]! * count),
  );
}

/** Ones on the diagonal of an n x m matrix (m = n by default), zeros elsewhere. */
export function eye(n: number, m = n, dtype: DType = "f32"): Tensor {
  return cast(equal(iota([n, m], 0), iota([n, m], 1)), dtype);
}

/** Column minus row of the last two axes. */
function offDiagonal(x: Tensor, name: string): Tensor {
  assertTensor(name, x);
  const rank = x.shape.length;
  if (rank < 2)
    throw new ShapeError(
      `${name}: expected at least rank 2, got shape ${formatShape(x.shape)}; add an axis with expandDims`,
    );
  return sub(iota(x.shape, rank - 1), iota(x.shape, rank - 2));
}

/** x on and below the k-th diagonal of its last two axes (k above 0 is above the main one), zeros elsewhere. */
export const tril = (x: Tensor, k = 0): Tensor => where(lessEqual(offDiagonal(x, "tril"), k), x, 0);

/** x on and above the k-th diagonal of its last two axes, zeros elsewhere. */
export const triu = (x: Tensor, k = 0): Tensor => where(not(less(offDiagonal(x, "triu"), k)), x, 0);

/** Smallest whole number at least x. */
export function ceil(x: Tensor): Tensor {
  assertTensor("ceil", x);
  return isReal(x.dtype) ? neg(floor(neg(x))) : x;
}

/** The nearest whole number, of two equally near the even one, as numpy and IEEE have it. */
export function round(x: Tensor): Tensor {
  assertTensor("round", x);
  if (!isReal(x.dtype)) return x;
  const below = floor(x);
  const over = sub(x, below);
  const isEven = equal(sub(below, mul(floor(mul(below, 0.5)), 2)), 0);
  const down = or(less(over, 0.5), and(equal(over, 0.5), isEven));
  return where(down, below, add(below, 1));
}
