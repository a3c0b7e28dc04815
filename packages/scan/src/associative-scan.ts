/** Prefix combinations under any associative operator, written as tensor code over trees. */
import {
  assertSettings,
  concat,
  formatShape,
  leavesOf,
  mapTree,
  ShapeError,
  sliceAxis,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";

/** Settings of {@link associativeScan}. */
export interface AssociativeScanOptions<T> {
  /** Run from the last element to the first. */
  readonly reverse?: boolean;
  /** An element combined before the first: the form of the elements, extent 1 along the axis. */
  readonly initial?: T | undefined;
  /** Result t combines what comes before element t and leaves the element itself out; needs `initial`. */
  readonly exclusive?: boolean;
}

/**
 * All prefix combinations x_0, x_0 o x_1, x_0 o x_1 o x_2, ... along an axis, in log2(L) rounds, each of which combines
 * every element with the one 1, 2, 4, ... places before it (Hillis and Steele, Data parallel algorithms, 1986).
 * The operator needs no identity.
 * @param operator Combines an earlier and a later stretch elementwise; associative, works for any extent of the axis.
 * @param elements Tree of tensors with the axis in common.
 * @param axis Axis of the sequence in every tensor; negative counts from each tensor's end.
 * @returns A tree of the form of the elements.
 * @throws ShapeError if the tensors disagree on the extent of the axis; RangeError if `exclusive` comes without `initial`.
 */
export function associativeScan<T extends Tree>(
  operator: (earlier: T, later: T) => T,
  elements: T,
  axis: number,
  options: AssociativeScanOptions<T> = {},
): T {
  assertSettings("associativeScan", options, { reverse: "flag", initial: "own", exclusive: "flag" });
  const { reverse = false, initial, exclusive = false } = options;
  const L = lengthOf(elements, axis);
  if (exclusive && !initial)
    throw new RangeError(
      "associativeScan: expected `initial` (the element before the first) with exclusive, got none; pass the operator's identity",
    );
  if (!initial) return L < 2 ? elements : prefixes(operator, elements, axis, L, reverse);
  const joined = reverse ? join(elements, initial, axis) : join(initial, elements, axis);
  const all = prefixes(operator, joined, axis, L + 1, reverse);
  return exclusive === reverse ? part(all, axis, 1, L + 1) : part(all, axis, 0, L);
}

function prefixes<T extends Tree>(
  operator: (earlier: T, later: T) => T,
  elements: T,
  axis: number,
  L: number,
  reverse: boolean,
): T {
  let x = elements;
  for (let shift = 1; shift < L; shift *= 2) {
    const low = part(x, axis, 0, L - shift);
    const high = part(x, axis, shift, L);
    x = reverse
      ? join(operator(high, low), part(x, axis, L - shift, L), axis)
      : join(part(x, axis, 0, shift), operator(low, high), axis);
  }
  return x;
}

const part = <T extends Tree>(tree: T, axis: number, start: number, end: number): T =>
  mapTree((x) => sliceAxis(x, axis, start, end), tree);
const join = <T extends Tree>(first: T, second: T, axis: number): T =>
  mapTree((x, _, ...[y]) => concat([x, y as Tensor], axis), first, second);

function lengthOf(elements: Tree, axis: number): number {
  const lengths = leavesOf(elements).map((x) => {
    const extent = x.shape.at(axis);
    if (extent === undefined || axis >= x.shape.length)
      throw new ShapeError(
        `associativeScan: expected tensors that have axis ${axis}, got shape ${formatShape(x.shape)}`,
      );
    return extent;
  });
  if (lengths.some((extent) => extent !== lengths[0]))
    throw new ShapeError(
      `associativeScan: expected one extent of axis ${axis} in all tensors, got ${lengths.join(", ")}; broadcast them first`,
    );
  return lengths[0] ?? 0;
}
