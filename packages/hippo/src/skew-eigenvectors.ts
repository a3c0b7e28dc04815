/** Eigenvectors of real skew-symmetric matrices, in double precision. */
import { multiply } from "./linear-algebra.js";
import { orthogonalizeColumns } from "./one-sided-jacobi.js";

/** K V = V diag(i im) with V unitary. */
export interface SkewEigenvectors {
  /** Frequencies, ascending: the first floor(N/2) are at most 0, each with its opposite later on [N]. */
  readonly im: Float64Array;
  /** Eigenvectors as columns, real and imaginary part; those of a frequency and its opposite are conjugates [N N]. */
  readonly V: {
    /** [N N]. */
    readonly re: Float64Array;
    /** [N N]. */
    readonly im: Float64Array;
  };
}

/**
 * The eigenvectors of a skew-symmetric K [N N], that is of the Hermitian matrix -i K, from the singular vectors of K: these
 * come in pairs u, w with K u = s w, K w = -s u, and u -+ i w are eigenvectors. Small frequencies are as accurate as large
 * ones, and frequencies that coincide do no harm. The phase of each eigenvector is arbitrary.
 */
export function diagonalizeSkew(K: Float64Array): SkewEigenvectors {
  const N = Math.round(Math.sqrt(K.length));
  const columns = Array.from({ length: N }, (_, k) => Float64Array.from({ length: N }, (_u, n) => K[n * N + k]!));
  const turned = orthogonalizeColumns(columns);
  const sizes = columns.map((column) => Math.hypot(...column));
  const order = Array.from(sizes.keys()).sort((a, b) => sizes[b]! - sizes[a]!);
  const tiny = 1e-13 * Math.max(...sizes);
  const im = new Float64Array(N);
  const V = { re: new Float64Array(N * N), im: new Float64Array(N * N) };
  const taken: Float64Array[] = [];
  // Vectors of the null space pair with each other, every other one with its own image.
  let waiting: Float64Array | undefined;
  let p = 0;
  for (const k of order) {
    const u = rejected(turned[k]!, taken);
    // Nothing is left of the image of a vector already taken.
    if (!u) continue;
    taken.push(u);
    let [frequency, first, second] = [0, waiting, u];
    if (sizes[k]! > tiny) {
      const image = multiply(K, u, N);
      frequency = Math.hypot(...image);
      // The image of a slow mode is rounded as the fastest one is, so that it is not quite orthogonal to the others.
      [first, second] = [
        u,
        rejected(
          image.map((value) => value / frequency),
          taken,
        )!,
      ];
      taken.push(second);
    } else if (!waiting) {
      waiting = u;
      continue;
    } else waiting = undefined;
    [im[p], im[N - 1 - p]] = [0 - frequency, frequency];
    for (let n = 0; n < N; n++) {
      V.re[n * N + p] = V.re[n * N + N - 1 - p] = first![n]! * Math.SQRT1_2;
      V.im[n * N + p] = second[n]! * Math.SQRT1_2;
      V.im[n * N + N - 1 - p] = -second[n]! * Math.SQRT1_2;
    }
    p++;
  }
  // An odd order has one mode that does not oscillate.
  if (waiting) for (let n = 0; n < N; n++) V.re[n * N + p] = waiting[n]!;
  return { im, V };
}

/** x without its parts along unit vectors, of length 1; undefined if little is left. */
function rejected(x: Float64Array, taken: readonly Float64Array[]): Float64Array | undefined {
  const rest = x.slice();
  for (const unit of taken) {
    let part = 0;
    for (let n = 0; n < x.length; n++) part += unit[n]! * rest[n]!;
    for (let n = 0; n < x.length; n++) rest[n]! -= part * unit[n]!;
  }
  const length = Math.hypot(...rest);
  return length > 0.5 ? rest.map((value) => value / length) : undefined;
}
