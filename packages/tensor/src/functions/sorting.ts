/** Order along an axis, by ranks: every element is compared with every other, n^2 comparisons that take no memory. NaN comes last, as in numpy. */
import { isReal } from "../graph/dtype.js";
import { ShapeError } from "../graph/errors.js";
import { formatShape, normalizeAxis } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import { and, cast, equal, isNaN, less, not, or, where } from "../ops/elementwise.js";
import { iota } from "../ops/generators.js";
import { broadcastTo, expandDims, sliceAxis, transpose } from "../ops/movement.js";
import { sum } from "../ops/reduce.js";

/** How {@link sort} orders. */
export interface SortOptions {
  /** Largest first; NaN comes first then. */
  readonly descending?: boolean;
}

/** The axis moved to the end, and back. */
function atEnd(x: Tensor, axis: number): { readonly moved: Tensor; readonly back: (y: Tensor) => Tensor } {
  const rank = x.shape.length;
  const order = [...Array.from({ length: rank }, (_, k) => k).filter((k) => k !== axis), axis];
  return {
    moved: transpose(x, order),
    back: (y) =>
      transpose(
        y,
        order.map((_, k) => order.indexOf(k)),
      ),
  };
}

/** Place of each element of the last axis in order, i32; equal ones in the order in which they lie. */
function ranks(x: Tensor, descending: boolean): Tensor {
  const n = x.shape.at(-1)!;
  const shape = [...x.shape, n];
  const own = broadcastTo(expandDims(x, -1), shape);
  const other = broadcastTo(expandDims(x, -2), shape);
  const comesBefore = (a: Tensor, b: Tensor): Tensor =>
    isReal(x.dtype) ? or(less(a, b), and(isNaN(b), not(isNaN(a)))) : less(a, b);
  const [first, second] = descending ? [own, other] : [other, own];
  const before = comesBefore(first, second);
  const tie = and(not(before), not(comesBefore(second, first)));
  const earlier = less(iota(shape, shape.length - 1), iota(shape, shape.length - 2));
  return sum(cast(or(before, and(tie, earlier)), "i32"), -1);
}

/** Element r of the last axis is the one of `values` whose rank is r. */
function byRank(values: Tensor, rank: Tensor): Tensor {
  const n = rank.shape.at(-1)!;
  const shape = [...rank.shape, n];
  const isHere = equal(broadcastTo(expandDims(rank, -2), shape), iota(shape, shape.length - 2));
  return sum(where(isHere, broadcastTo(expandDims(values, -2), shape), 0), -1);
}

/** Elements in order along an axis (the last by default), smallest first. The gradient goes to where each element came from. */
export function sort(x: Tensor, axis = -1, { descending = false }: SortOptions = {}): Tensor {
  const { moved, back } = atEnd(x, normalizeAxis(axis, x.shape.length, "sort"));
  return back(byRank(moved, ranks(moved, descending)));
}

/** Indices, i32, of the elements in order along an axis (the last by default); equal ones in the order in which they lie. */
export function argsort(x: Tensor, axis = -1, { descending = false }: SortOptions = {}): Tensor {
  const { moved, back } = atEnd(x, normalizeAxis(axis, x.shape.length, "argsort"));
  return back(byRank(iota(moved.shape, moved.shape.length - 1), ranks(moved, descending)));
}

/** The k largest elements along an axis, largest first, and their indices. */
export interface TopK {
  /** [.. k ..]. */
  readonly values: Tensor;
  /** i32 [.. k ..]. */
  readonly indices: Tensor;
}

/**
 * The k largest elements along an axis (the last by default), largest first; NaN counts as larger than any number.
 * @throws ShapeError if the axis has fewer.
 */
export function topk(x: Tensor, k: number, axis = -1): TopK {
  const along = normalizeAxis(axis, x.shape.length, "topk");
  const extent = x.shape[along]!;
  if (!Number.isInteger(k) || k < 0 || k > extent)
    throw new ShapeError(
      `topk: expected k from 0 to ${extent}, the extent of axis ${along} of ${formatShape(x.shape)}, got ${k}; ask for fewer`,
    );
  const { moved, back } = atEnd(x, along);
  const rank = ranks(moved, true);
  const first = (y: Tensor): Tensor => back(sliceAxis(byRank(y, rank), -1, 0, k));
  return { values: first(moved), indices: first(iota(moved.shape, moved.shape.length - 1)) };
}
