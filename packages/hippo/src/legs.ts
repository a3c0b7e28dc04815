/** HiPPO-LegS (Gu, Dao, Ermon, Rudra, Re, HiPPO: Recurrent Memory with Optimal Polynomial Projections, 2020), its normal part and eigenvectors. */
import { orthogonalizeColumns } from "./one-sided-jacobi.js";

/** A continuous system, row-major. */
export interface HippoSystem {
  /** Transition [N N]. */
  readonly A: Float64Array;
  /** Input map [N]. */
  readonly B: Float64Array;
}

/** A = S - P P^T with S normal (Gu, Goel, Re, 2022, theorem 1). */
export interface NormalPlusLowRank {
  /** -1/2 on the diagonal, skew-symmetric beside it [N N]. */
  readonly S: Float64Array;
  /** Column of the rank-one part [N]. */
  readonly P: Float64Array;
}

/** S = V diag(re + i im) V^H with V unitary. */
export interface LegsEigenvectors {
  /** Real part of every eigenvalue. */
  readonly re: -0.5;
  /** Imaginary parts, ascending: the first floor(N/2) are negative, each with its opposite later on [N]. */
  readonly im: Float64Array;
  /** Eigenvectors as columns, real and imaginary part [N N]. */
  readonly V: {
    /** [N N]. */
    readonly re: Float64Array;
    /** [N N]. */
    readonly im: Float64Array;
  };
}

/** A_nk = -sqrt((2n+1)(2k+1)) below the diagonal, -(n+1) on it, 0 above; B_n = sqrt(2n+1). */
export function hippoLegs(N: number): HippoSystem {
  assertOrder("hippoLegs", N);
  const A = matrix(N, (n, k) => (n > k ? -Math.sqrt((2 * n + 1) * (2 * k + 1)) : n === k ? -(n + 1) : 0));
  return { A, B: Float64Array.from({ length: N }, (_, n) => Math.sqrt(2 * n + 1)) };
}

/** The normal part of LegS ("HiPPO-N") and the rank-one part left over; P_n = sqrt(n + 1/2). */
export function hippoLegsNormal(N: number): NormalPlusLowRank {
  assertOrder("hippoLegsNormal", N);
  return {
    S: matrix(N, (n, k) => (n === k ? -0.5 : skew(n, k))),
    P: Float64Array.from({ length: N }, (_, n) => Math.sqrt(n + 0.5)),
  };
}

/**
 * Eigenvalues and eigenvectors of HiPPO-N. Rounding leaves V^H V = 1 to about 1e-13 up to N = 256.
 * The phase of each eigenvector is arbitrary; the vectors of a conjugate pair are conjugates.
 */
export function diagonalizeLegs(N: number): LegsEigenvectors {
  assertOrder("diagonalizeLegs", N);
  // For skew K the singular values come in pairs w, w: with a right singular vector u, K (u - i K u / w) = i w (u - i K u / w).
  const columns = Array.from({ length: N }, (_, k) =>
    Float64Array.from({ length: N }, (_unused, n) => (n === k ? 0 : skew(n, k))),
  );
  const turned = orthogonalizeColumns(columns);
  const sizes = columns.map((column) => Math.hypot(...column));
  const order = Array.from(sizes.keys()).sort((a, b) => sizes[b]! - sizes[a]!);
  const im = new Float64Array(N);
  const V = { re: new Float64Array(N * N), im: new Float64Array(N * N) };
  const pairs = Math.floor(N / 2);
  for (let p = 0; p < pairs; p++) {
    const k = order[2 * p]!;
    [im[p], im[N - 1 - p]] = [-sizes[k]!, sizes[k]!];
    for (let n = 0; n < N; n++) {
      const [u, w] = [turned[k]![n]! * Math.SQRT1_2, (columns[k]![n]! / sizes[k]!) * Math.SQRT1_2];
      V.re[n * N + p] = V.re[n * N + N - 1 - p] = u;
      V.im[n * N + p] = w;
      V.im[n * N + N - 1 - p] = -w;
    }
  }
  // An odd order has one mode that does not oscillate.
  if (N % 2 === 1) for (let n = 0; n < N; n++) V.re[n * N + pairs] = turned[order[N - 1]!]![n]!;
  return { re: -0.5, im, V };
}

/** S_nk for n != k. */
const skew = (n: number, k: number): number => (n > k ? -1 : 1) * Math.sqrt((n + 0.5) * (k + 0.5));

const matrix = (N: number, f: (n: number, k: number) => number): Float64Array =>
  Float64Array.from({ length: N * N }, (_, i) => f(Math.floor(i / N), i % N));

function assertOrder(name: string, N: number): void {
  if (!Number.isInteger(N) || N < 1) throw new RangeError(`${name}: expected an order N of at least 1, got ${N}`);
}
