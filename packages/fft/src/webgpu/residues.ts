/**
 * The numbers behind transforms modulo x^n - i in residue form: a block holds a polynomial modulo x^m - w with
 * w = exp(2 pi i theta). A step of radix r splits it into r polynomials modulo x^(m/r) - v with v^r = w. All elements of
 * a block share the step's twiddles, nothing is reordered and nothing padded; at m = 1 the values are those at the n
 * roots of x^n = i.
 */

/** The angle of i in turns: the first block's modulus is x^n - i. */
export const QUARTER = 0.25;

export const range = (count: number): number[] => Array.from({ length: count }, (_, k) => k);

/** The lowest `bits` bits of x in reverse. */
export function reversed(x: number, bits: number): number {
  let y = 0;
  for (let k = 0; k < bits; k++) y |= ((x >> k) & 1) << (bits - 1 - k);
  return y;
}

/** log2 of a power of 2. */
export const levelsOf = (radix: number): number => 31 - Math.clz32(radix);

/** Angles (turns) of the blocks that a step of a radix makes of a block, in the order of their places. */
export const splitAngles = (theta: number, radix: number): number[] =>
  range(radix).map((q) => (theta + reversed(q, levelsOf(radix))) / radix);

/** Vectors of two complex numbers that a step's twiddles take for a block. */
export const twiddleVectors = (radix: number): number => Math.ceil(levelsOf(radix) / 2);

/** Twiddles of several steps in one table. */
export interface TwiddleTable {
  /** By step, where its first vector of four numbers lies. */
  readonly offsets: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}

/**
 * exp(2 pi i theta / 2^l) for l = 1 .. log2 r of every block of every step from `first` on, rounded once: their squares
 * would be twice as far off.
 * @param angles Of the blocks before step 0.
 */
export function twiddleTable(radices: readonly number[], angles: readonly number[], first: number): TwiddleTable {
  const offsets: number[] = [];
  const numbers: number[] = [];
  let blocks = angles;
  radices.forEach((radix, step) => {
    offsets[step] = numbers.length / 4;
    if (step >= first)
      for (const theta of blocks)
        for (let level = 1; level <= 2 * twiddleVectors(radix); level++) {
          const angle = 2 * Math.PI * (theta / 2 ** level);
          numbers.push(...(level <= levelsOf(radix) ? [Math.cos(angle), Math.sin(angle)] : [0, 0]));
        }
    if (step < radices.length - 1) blocks = blocks.flatMap((theta) => splitAngles(theta, radix));
  });
  return { offsets, values: Float32Array.from(numbers.length > 0 ? numbers : [0, 0, 0, 0]) };
}
