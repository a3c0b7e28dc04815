/** Arithmetic of affine indices over the axes of a loop. */
import type { Affine } from "./loop.js";
import { sizeOf, stridesOf, type Shape } from "../graph/shape.js";

export const constant = (offset: number, axes: number): Affine => ({
  offset,
  coefficients: new Array<number>(axes).fill(0),
});

/** Sum of factors[k] * terms[k]. */
export function combine(terms: readonly Affine[], factors: readonly number[], axes: number): Affine {
  const coefficients = new Array<number>(axes).fill(0);
  let offset = 0;
  terms.forEach((term, k) => {
    offset += term.offset * factors[k]!;
    term.coefficients.forEach((c, axis) => (coefficients[axis]! += c * factors[k]!));
  });
  return { offset, coefficients };
}

export const keyOf = ({ offset, coefficients }: Affine): string => `${offset}:${coefficients.join(",")}`;

/** Whether the index is the row-major position over axes of these extents (extents of 1 do not matter). */
export function isRowMajor({ offset, coefficients }: Affine, extents: Shape): boolean {
  if (offset !== 0) return false;
  let stride = 1;
  for (let k = extents.length - 1; k >= 0; k--) {
    if (extents[k] !== 1 && coefficients[k] !== stride) return false;
    stride *= extents[k]!;
  }
  return true;
}

/** Asks that loop axis `axis` be split so that its inner part has extent `inner`. */
export interface SplitRequest {
  readonly axis: number;
  readonly inner: number;
}

/**
 * Quotient and remainder of an index by n, if both are affine over the loop axes; else a split of an axis that
 * may make them so, or undefined if nothing can.
 */
export function divide(index: Affine, n: number, extents: Shape): readonly [Affine, Affine] | SplitRequest | undefined {
  const quotient: number[] = [];
  const remainder: number[] = [];
  for (const c of index.coefficients) {
    const divisible = c % n === 0;
    quotient.push(divisible ? c / n : 0);
    remainder.push(divisible ? 0 : c);
  }
  const whole = Math.floor(index.offset / n);
  const rest = index.offset - whole * n;
  let low = rest;
  let high = rest;
  remainder.forEach((c, k) => {
    const reach = c * (extents[k]! - 1);
    if (reach < 0) low += reach;
    else high += reach;
  });
  if (low >= 0 && high < n)
    return [
      { offset: whole, coefficients: quotient },
      { offset: rest, coefficients: remainder },
    ];
  // The slowest axis whose steps fit into n a whole number of times may be cut where the quotient changes.
  let best: SplitRequest | undefined;
  let largest = 0;
  remainder.forEach((c, axis) => {
    if (c <= largest || n % c !== 0) return;
    const inner = n / c;
    if (extents[axis]! > inner && extents[axis]! % inner === 0) {
      best = { axis, inner };
      largest = c;
    }
  });
  return best;
}

/**
 * Indices into an array of shape `source` of the element at a row-major position given by indices into the same elements
 * under the shape `target`, over loop axes of these extents; else a split that may help, or undefined.
 */
export function reshapedIndex(
  index: readonly Affine[],
  target: Shape,
  source: Shape,
  extents: Shape,
): readonly Affine[] | SplitRequest | undefined {
  const axes = extents.length;
  const result: Affine[] = source.map(() => constant(0, axes));
  if (sizeOf(source) <= 1) return result;
  const from = target.flatMap((extent, k) => (extent === 1 ? [] : [k]));
  const to = source.flatMap((extent, k) => (extent === 1 ? [] : [k]));
  let i = 0;
  let j = 0;
  while (i < from.length || j < to.length) {
    // The smallest groups of axes with equal products on both sides.
    const a = [from[i++]!];
    const b = [to[j++]!];
    let p = target[a[0]!]!;
    let q = source[b[0]!]!;
    while (p !== q) {
      if (p < q) p *= target[a[a.push(from[i++]!) - 1]!]!;
      else q *= source[b[b.push(to[j++]!) - 1]!]!;
    }
    let flat = combine(
      a.map((k) => index[k]!),
      stridesOf(a.map((k) => target[k]!)),
      axes,
    );
    for (let k = b.length - 1; k > 0; k--) {
      const parted = divide(flat, source[b[k]!]!, extents);
      if (!parted || "inner" in parted) return parted;
      result[b[k]!] = parted[1];
      flat = parted[0];
    }
    result[b[0]!] = flat;
  }
  return result;
}
