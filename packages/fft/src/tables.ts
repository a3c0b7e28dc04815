/** Tables of complex exponentials, computed in float64 and kept on the host while they are among the last in use. */
import { tensor, type Tensor } from "@seqmix/tensor";

/** Real and imaginary parts of one shape. */
export interface Table {
  readonly re: Tensor;
  readonly im: Tensor;
}

/** Complex numbers kept at most, with the table that was asked for last: 64 MB. */
const KEPT = 2 ** 22;

/** Tables in the order they were asked for last. */
const cache = new Map<string, Table>();
let kept = 0;

/** Puts a table at the end of those in use, and lets go of the ones before that are too many. */
function keep(entry: string, known: Table | undefined, table: Table): Table {
  if (known) cache.delete(entry);
  else kept += table.re.size;
  cache.set(entry, table);
  for (const [oldest, { re }] of cache) {
    if (kept <= KEPT || oldest === entry) break;
    cache.delete(oldest);
    kept -= re.size;
  }
  return table;
}

/** How many complex numbers are kept, for tests. */
export const keptNumbers = (): number => kept;

/** exp(-i pi h(i, j) / n) for i < rows, j < columns, where h counts half turns of 1/n. */
function table(
  name: string,
  rows: number,
  columns: number,
  n: number,
  halfTurns: (i: number, j: number) => number,
): Table {
  const entry = `${name} ${rows} ${columns} ${n}`;
  const known = cache.get(entry);
  if (known) return keep(entry, known, known);
  const re = new Float64Array(rows * columns);
  const im = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) {
      // Whole turns are taken off exactly, in integers, before the angle is rounded.
      const angle = (-Math.PI * (halfTurns(i, j) % (2 * n))) / n;
      re[i * columns + j] = Math.cos(angle);
      im[i * columns + j] = Math.sin(angle);
    }
  return keep(entry, undefined, { re: tensor(re, [rows, columns]), im: tensor(im, [rows, columns]) });
}

/** The matrix of the discrete Fourier transform, exp(-2 pi i j k / n) [n n]. */
export const dftMatrix = (n: number): Table => table("dft", n, n, n, (j, k) => 2 * j * k);

/** Factors between two steps of a transform of length r m: exp(-2 pi i j k / (r m)) [r m]. */
export const twiddles = (r: number, m: number): Table => table("twiddles", r, m, r * m, (k, j) => 2 * k * j);

/** exp(-i pi j^2 / n) [1 n], the chirp of Bluestein's algorithm. */
export const chirp = (n: number): Table => table("chirp", 1, n, n, (_, j) => j * j);

/** exp(-2 pi i k / n) for k < count [1 count]: what joins the transforms of even and odd values. */
export const turns = (n: number, count: number): Table => table("turns", 1, count, n, (_, k) => 2 * k);
