/** How far a result is from the reference. NaN or a missing value is infinitely far. */

type Values = ArrayLike<number>;

/** Largest difference over the largest magnitude of the reference. */
export function relativeError(result: Values, reference: Values): number {
  if (result.length !== reference.length) return Infinity;
  let scale = 0;
  let worst = 0;
  for (let i = 0; i < reference.length; i++) {
    const difference = Math.abs(result[i]! - reference[i]!);
    if (!(difference < Infinity)) return Infinity;
    worst = Math.max(worst, difference);
    scale = Math.max(scale, Math.abs(reference[i]!));
  }
  return worst === 0 ? 0 : worst / scale;
}

const bits = new DataView(new ArrayBuffer(4));

/** Distance of neighbouring float32 values around x. */
function spacing(x: number): number {
  bits.setFloat32(0, x);
  const exponent = (bits.getUint32(0) >>> 23) & 255;
  return 2 ** (Math.max(exponent, 1) - 150);
}

/** Largest difference in units of the last place of the reference as a float32. */
export function maxUlp(result: Values, reference: Values): number {
  if (result.length !== reference.length) return Infinity;
  let worst = 0;
  for (let i = 0; i < reference.length; i++) {
    const expected = reference[i]!;
    if (Object.is(result[i], Math.fround(expected))) continue;
    const distance = Math.abs(result[i]! - expected) / spacing(expected);
    if (!(distance < Infinity)) return Infinity;
    worst = Math.max(worst, distance);
  }
  return worst;
}
