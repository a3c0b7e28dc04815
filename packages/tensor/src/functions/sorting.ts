/**
 * Order along an axis. Up to {@link RANKED} elements by ranks: every element is compared with every other, n^2 comparisons that
 * take no memory; more by a bitonic network of n log2(n)^2 / 4 exchanges (Batcher, Sorting networks and their applications,
 * 1968), which is the same on every device. NaN comes last, as in numpy.
 */
import { assertSettings, assertTensor } from "../graph/assert.js";
import { isReal } from "../graph/dtype.js";
import { ShapeError } from "../graph/errors.js";
import { formatShape, normalizeAxis, type Shape } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import {
  add,
  and,
  bitAnd,
  bitXor,
  cast,
  equal,
  isNaN,
  less,
  mul,
  neg,
  not,
  or,
  sub,
  where,
} from "../ops/elementwise.js";
import { gather } from "../ops/gather.js";
import { iota } from "../ops/generators.js";
import { broadcastTo, concat, expandDims, pad, reshape, sliceAxis, transpose } from "../ops/movement.js";
import { sum } from "../ops/reduce.js";

/** Most elements that are ordered by ranks. */
const RANKED = 128;

/** How {@link sort} orders. */
export interface SortOptions {
  /** Largest first; NaN comes first then. */
  readonly descending?: boolean;
}

function isDescending(name: string, x: Tensor, options: SortOptions): boolean {
  assertTensor(name, x);
  assertSettings(name, options, { descending: "flag" });
  return options.descending ?? false;
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

/** Keys of a network: smaller ones first, those that are equal by their places. */
interface Keyed {
  readonly key: Tensor;
  /** i32. */
  readonly place: Tensor;
}

/**
 * Keys whose order is the one asked for. Not a number is an infinity whose place is behind (or before) those of the numbers.
 * @param x [.. n]
 */
function keyed(x: Tensor, descending: boolean): Keyed {
  const n = x.shape.at(-1)!;
  const place = iota(x.shape, x.shape.length - 1);
  if (!isReal(x.dtype)) {
    const whole = cast(x, "i32");
    return { key: descending ? bitXor(whole, -1) : whole, place };
  }
  const single = cast(x, "f32");
  const none = isNaN(single);
  return {
    key: where(none, descending ? -Infinity : Infinity, descending ? neg(single) : single),
    place: where(none, add(place, descending ? -n : n), place),
  };
}

/** Indices, i32 [.. n], of the elements of the last axis in order, by a bitonic network. */
function ordered(x: Tensor, descending: boolean): Tensor {
  const n = x.shape.at(-1)!;
  const size = 2 ** Math.ceil(Math.log2(n));
  const { key, place } = keyed(x, descending);
  const widen = (y: Tensor, value: number): Tensor =>
    pad(y, [...y.shape.slice(1).map(() => 0), 0], [...y.shape.slice(1).map(() => 0), size - n], value);
  // What fills up to a power of two is behind everything.
  let keys: Keyed = { key: widen(key, key.dtype === "i32" ? 2 ** 31 - 1 : Infinity), place: widen(place, 3 * n) };
  for (let block = 2; block <= size; block *= 2)
    for (let distance = block / 2; distance >= 1; distance /= 2) keys = exchanged(keys, block, distance);
  const found = sliceAxis(keys.place, -1, 0, n);
  return where(less(found, 0), add(found, n), where(less(found, n), found, sub(found, n)));
}

/** Compares elements at a distance, and puts them in order: ascending in even blocks, descending in odd ones. */
function exchanged({ key, place }: Keyed, block: number, distance: number): Keyed {
  const size = key.shape.at(-1)!;
  const outer = key.shape.slice(0, -1);
  const pairs = [...outer, size / (2 * distance), 2, distance];
  const half = (x: Tensor, k: 0 | 1): Tensor => sliceAxis(reshape(x, pairs), -2, k, k + 1);
  const [low, high] = [half(key, 0), half(key, 1)];
  const [lowPlace, highPlace] = [half(place, 0), half(place, 1)];
  const wrong = or(less(high, low), and(equal(high, low), less(highPlace, lowPlace)));
  const position = half(iota(key.shape, outer.length), 0);
  const swap = equal(wrong, equal(bitAnd(position, block), 0));
  const both = (first: Tensor, second: Tensor, shape: Shape): Tensor =>
    reshape(concat([where(swap, second, first), where(swap, first, second)], -2), shape);
  return { key: both(low, high, key.shape), place: both(lowPlace, highPlace, place.shape) };
}

/** Elements of the last axis of x [.. n] at indices [.. k]. */
function taken(x: Tensor, indices: Tensor): Tensor {
  const [n, k] = [x.shape.at(-1)!, indices.shape.at(-1)!];
  const rows = x.shape.slice(0, -1).reduce((a, b) => a * b, 1);
  const first = mul(iota([rows, k], 0), n);
  return reshape(gather(reshape(x, [rows * n]), add(first, reshape(indices, [rows, k]))), indices.shape);
}

/** Elements in order along an axis (the last by default), smallest first. The gradient goes to where each element came from. */
export function sort(x: Tensor, axis = -1, options: SortOptions = {}): Tensor {
  const descending = isDescending("sort", x, options);
  const { moved, back } = atEnd(x, normalizeAxis(axis, x.shape.length, "sort"));
  if (moved.shape.at(-1)! > RANKED) return back(taken(moved, ordered(moved, descending)));
  return back(byRank(moved, ranks(moved, descending)));
}

/** Indices, i32, of the elements in order along an axis (the last by default); equal ones in the order in which they lie. */
export function argsort(x: Tensor, axis = -1, options: SortOptions = {}): Tensor {
  const descending = isDescending("argsort", x, options);
  const { moved, back } = atEnd(x, normalizeAxis(axis, x.shape.length, "argsort"));
  if (moved.shape.at(-1)! > RANKED) return back(ordered(moved, descending));
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
  assertTensor("topk", x);
  const along = normalizeAxis(axis, x.shape.length, "topk");
  const extent = x.shape[along]!;
  if (!Number.isInteger(k) || k < 0 || k > extent)
    throw new ShapeError(
      `topk: expected k from 0 to ${extent}, the extent of axis ${along} of ${formatShape(x.shape)}, got ${k}; ask for fewer`,
    );
  const { moved, back } = atEnd(x, along);
  const largest = (y: Tensor): Tensor => sliceAxis(y, -1, 0, k);
  if (extent > RANKED) {
    const indices = largest(ordered(moved, true));
    return { values: back(taken(moved, indices)), indices: back(indices) };
  }
  const rank = ranks(moved, true);
  const first = (y: Tensor): Tensor => back(largest(byRank(y, rank)));
  return { values: first(moved), indices: first(iota(moved.shape, moved.shape.length - 1)) };
}
