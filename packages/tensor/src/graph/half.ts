/** Numbers of 16 bits (IEEE 754 binary16) on the host: 5 bits of exponent, 10 of mantissa, the largest 65504. */

const words = new Float64Array(1);
const highAndLow = new Uint32Array(words.buffer);
/** Where the word with the exponent lies. */
const HIGH = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 1 : 0;
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
  // f16 numbers of this size are as far apart as float64 numbers of the size of 2^42 times the power of two below them: adding that rounds.
  let far = LEAST_NORMAL * 2 ** 42;
  if (size >= LEAST_NORMAL) {
    words[0] = size;
    highAndLow[HIGH] = (highAndLow[HIGH]! & 0x7ff00000) + (42 << 20);
    highAndLow[1 - HIGH] = 0;
    far = words[0]!;
  }
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
  const size =
    exponent === 0x1f
      ? mantissa === 0
        ? Infinity
        : NaN
      : exponent === 0
        ? mantissa * 2 ** -24
        : (1024 + mantissa) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -size : size;
}

/** The nearest f16 numbers. */
export function roundedToHalf(values: ArrayLike<number>): Float32Array<ArrayBuffer> {
  const rounded = new Float32Array(values.length);
  for (let k = 0; k < values.length; k++) rounded[k] = roundToHalf(values[k]!);
  return rounded;
}

/** The bits of the nearest f16 numbers, in whole words: a zero follows an odd number of them. */
export function toHalfBits(values: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const bits = new Uint16Array(2 * Math.ceil(values.length / 2));
  for (let k = 0; k < values.length; k++) bits[k] = halfBits(values[k]!);
  return bits;
}

let numbers: Float32Array | undefined;

/** The numbers of the bits. */
export function fromHalfBits(bits: Uint16Array): Float32Array<ArrayBuffer> {
  numbers ??= Float32Array.from({ length: 2 ** 16 }, (_, k) => halfFromBits(k));
  const values = new Float32Array(bits.length);
  for (let k = 0; k < bits.length; k++) values[k] = numbers[bits[k]!]!;
  return values;
}
