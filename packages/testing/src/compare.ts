/** Comparing arrays of numbers, with a message that names the worst element. */
import { assertSettings, stridesOf, type Shape } from "@seqmix/tensor";

/** An element agrees if |actual - expected| <= absolute + relative |expected|. */
export interface Tolerance {
  /** Share of |expected|; 0 by default. */
  readonly relative?: number;
  /** In the unit of the values; 0 by default. */
  readonly absolute?: number;
}

/** The element that is furthest off, measured against its tolerance. */
export interface WorstElement {
  /** Error over tolerance: agreement is 1 or less. 0 if there are no elements. */
  readonly ratio: number;
  /** Position in the flat array. */
  readonly index: number;
  /** The value under test there. */
  readonly actual: number;
  /** What it should be. */
  readonly expected: number;
  /** |actual - expected|. */
  readonly error: number;
  /** What the element may be off. */
  readonly allowed: number;
}

/** The worst element of two arrays of one length. NaN agrees with NaN, an infinity with itself. */
export function maxError(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: Tolerance = {},
): WorstElement {
  assertSettings("maxError", tolerance, {
    relative: { from: 0, to: Infinity },
    absolute: { from: 0, to: Infinity },
  });
  const { relative = 0, absolute = 0 } = tolerance;
  if (actual.length !== expected.length)
    throw new RangeError(`maxError: expected ${expected.length} values, got ${actual.length}`);
  let worst: WorstElement = { ratio: 0, index: 0, actual: 0, expected: 0, error: 0, allowed: absolute };
  for (let index = 0; index < expected.length; index++) {
    const [a, e] = [actual[index]!, expected[index]!];
    const same = a === e || (Number.isNaN(a) && Number.isNaN(e));
    const difference = same ? 0 : Math.abs(a - e);
    const error = Number.isNaN(difference) ? Infinity : difference;
    const allowed = absolute + relative * Math.abs(e);
    const ratio = error === 0 ? 0 : Number.isFinite(error) ? error / allowed : Infinity;
    if (ratio > worst.ratio || index === 0) worst = { ratio, index, actual: a, expected: e, error, allowed };
  }
  return worst;
}

/** A law that did not hold. The message has the law and the numbers. */
export class LawError extends Error {
  constructor(law: string, evidence: string, options?: ErrorOptions) {
    super(`${law}: ${evidence}`, options);
    this.name = "LawError";
  }
}

/** Runs part of a check; an error that is thrown there becomes a {@link LawError} that says what was tried. */
export async function attempt<T>(law: string, part: () => Promise<T>): Promise<T> {
  try {
    return await part();
  } catch (error) {
    if (error instanceof LawError) throw error;
    throw new LawError(law, `expected a result, got ${String(error)}`, { cause: error });
  }
}

/**
 * @param law What must hold, e.g. "op cumsum, sample long: cpu = reference".
 * @param shape Of both arrays, to name the element's position.
 * @returns The worst element.
 * @throws LawError naming the worst element if one disagrees.
 */
export function assertClose(
  law: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: Tolerance = {},
  shape: Shape = [expected.length],
): WorstElement {
  if (actual.length !== expected.length)
    throw new LawError(law, `expected ${expected.length} values, got ${actual.length}`);
  const worst = maxError(actual, expected, tolerance);
  if (worst.ratio <= 1) return worst;
  let wrong = 0;
  for (let k = 0; k < expected.length; k++) if (maxError([actual[k]!], [expected[k]!], tolerance).ratio > 1) wrong++;
  const position = stridesOf(shape).map((stride, k) => Math.floor(worst.index / stride) % shape[k]!);
  throw new LawError(
    law,
    `expected ${worst.expected} at [${position.join(",")}] of [${shape.join(",")}], got ${worst.actual}, off by ${worst.error.toPrecision(3)} where ${worst.allowed.toPrecision(3)} is allowed (${wrong} of ${expected.length} elements disagree)`,
  );
}

/** A tolerance for arrays whose small elements carry the rounding of large ones: a share of each element and of the largest. */
export function toleranceOfScale(expected: ArrayLike<number>, relative: number): Tolerance {
  let largest = 0;
  for (let k = 0; k < expected.length; k++)
    if (Number.isFinite(expected[k]!)) largest = Math.max(largest, Math.abs(expected[k]!));
  return { relative, absolute: Math.max(relative * largest, Number.MIN_VALUE) };
}
