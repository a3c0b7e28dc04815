/** Tables of complex exponentials, computed once in float64 for each length and kept on the host. */
import { tensor, type Tensor } from "@seqmix/tensor";

/** Real and imaginary parts of one shape. */
export interface Table {
  readonly re: Tensor;
  readonly im: Tensor;
}

const cache = new Map<string, Table>();

/** exp(-i pi h(i, j) / n) for i < rows, j < columns, where h counts half turns of 1/n. */
function table(
  name: string,
  rows: number,
  columns: number,
  n: number,
  halfTurns: (i: number, j: number) => number,
): Table {
  const entry = `${name} ${rows} ${columns}`;
  let known = cache.get(entry);
  if (!known) {
    const re = new Float64Array(rows * columns);
    const im = new Float64Array(rows * columns);
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++) {
        // Whole turns are taken off exactly, in integers, before the angle is rounded.
        const angle = (-Math.PI * (halfTurns(i, j) % (2 * n))) / n;
        re[i * columns + j] = Math.cos(angle);
        im[i * columns + j] = Math.sin(angle);
      }
    known = { re: tensor(re, [rows, columns]), im: tensor(im, [rows, columns]) };
    cache.set(entry, known);
  }
  return known;
}

/** The matrix of the discrete Fourier transform, exp(-2 pi i j k / n) [n n]. */
export const dftMatrix = (n: number): Table => table("dft", n, n, n, (j, k) => 2 * j * k);

/** Factors between two steps of a transform of length r m: exp(-2 pi i j k / (r m)) [r m]. */
export const twiddles = (r: number, m: number): Table => table("twiddles", r, m, r * m, (k, j) => 2 * k * j);

/** exp(-i pi j^2 / n) [1 n], the chirp of Bluestein's algorithm. */
export const chirp = (n: number): Table => table("chirp", 1, n, n, (_, j) => j * j);
