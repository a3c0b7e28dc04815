/** Into which passes a transform comes apart, and the roots of unity that they take. */
import { TWIDDLES } from "./passes.js";

const SMALLEST = 16;

/** Points of the transform of rows of this length. */
export const transformLength = (length: number): number =>
  2 ** Math.max(Math.log2(SMALLEST), Math.ceil(Math.log2(Math.max(1, length))));
/** What the first pass divides by. */
export const firstRadix = (size: number): 2 | 4 => (Math.log2(size) % 2 === 0 ? 4 : 2);

/** A pass behind the first: blocks of this size. */
export interface Depth {
  readonly size: number;
  readonly blocks: number;
  /** Where its twiddles begin in the table, in bytes. */
  readonly table: number;
}

/** Depths after the first pass. */
export function depthsOf(size: number): Depth[] {
  const depths = [];
  let table = 0;
  for (let block = size / firstRadix(size); block >= 4; block /= 4) {
    depths.push({ size: block, blocks: size / block, table });
    table += (TWIDDLES * size) / block;
  }
  return depths;
}

/** The roots that programs for inputs of this length take behind the other inputs; the same for all of the length. */
export function rootsOf(length: number): Float32Array<ArrayBuffer> {
  const size = transformLength(length);
  const radix = firstRadix(size);
  // Angles, in turns, of the moduli's constants.
  let angles: number[] = Array.from({ length: radix }, (_, m) => 1 / (4 * radix) + m / radix);
  const numbers: number[] = [];
  for (const _ of depthsOf(size)) {
    for (const angle of angles)
      for (let power = 1; power <= 3; power++)
        numbers.push(Math.cos((Math.PI / 2) * angle * power), Math.sin((Math.PI / 2) * angle * power));
    angles = angles.flatMap((angle) => [0, 1, 2, 3].map((m) => angle / 4 + m / 4));
  }
  return Float32Array.from(numbers);
}
