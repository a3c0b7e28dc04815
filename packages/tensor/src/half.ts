/** Numbers of 16 bits (IEEE 754 binary16) on the host: 5 bits of exponent, 10 of mantissa, the largest 65504. */

const double = new DataView(new ArrayBuffer(8));
const single = new DataView(new ArrayBuffer(4));

/** The least normal number; below it, numbers are multiples of 2^-24. */
const LEAST_NORMAL = 2 ** -14;
/** From here on the nearest is infinity: half way between 65504 and 2^16. */
const OVERFLOW = 65520;

/** The nearest f16 number, the even one of two that are equally near. */
export function roundToHalf(x: number): number {
  const size = Math.abs(x);
  if (size >= OVERFLOW) return x < 0 ? -Infinity : Infinity;
  if (x !== x || x === 0) return x;
  double.setFloat64(0, size);
  const exponent = size < LEAST_NORMAL ? -14 : ((double.getUint16(0) >>> 4) & 0x7ff) - 1023;
  // Neighbours of this number are 2^(exponent - 10) apart: adding it rounds to a multiple of that.
  const far = 1.5 * 2 ** (exponent - 10 + 52);
  const rounded = size + far - far;
  return x < 0 ? -rounded : rounded;
}

/** The bits of the nearest f16 number. */
export function halfBits(x: number): number {
  single.setFloat32(0, roundToHalf(x));
  const bits = single.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const exponent = (bits >>> 23) & 0xff;
  if (exponent === 0xff) return sign | ((bits & 0x7fffff) === 0 ? 0x7c00 : 0x7e00);
  if (exponent < 113) return sign | (Math.abs(single.getFloat32(0)) * 2 ** 24);
  return sign | ((exponent - 112) << 10) | ((bits >>> 13) & 0x3ff);
}

/** The number of the bits. */
export function halfFromBits(bits: number): number {
  const exponent = (bits >>> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  const size = exponent === 0x1f ? (mantissa === 0 ? Infinity : NaN) : exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -size : size;
}
