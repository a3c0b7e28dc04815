/** Arithmetic of affine indices over the axes of a loop. */
import type { Affine } from "../loop.js";
import type { Shape } from "../shape.js";

export const constant = (offset: number, axes: number): Affine => ({ offset, coefficients: new Array<number>(axes).fill(0) });

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
  if (low >= 0 && high < n) return [{ offset: whole, coefficients: quotient }, { offset: rest, coefficients: remainder }];
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
