/** Normal plus low rank: A = S - sum_r P_r P_r^T with S normal, and its diagonal form (Gu, Goel, Re, Efficiently Modeling Long Sequences with Structured State Spaces, 2022, theorem 1). */
import { assertNumber, assertSettings } from "@seqmix/tensor";
import { assertOrder, hippo, measureOf, vector, type HippoMeasureName, type HippoOptions } from "./matrices.js";
import { diagonalizeSkew } from "./skew-eigenvectors.js";

/** A = S - P^T P. */
export interface NormalPlusLowRank {
  /** Transition [N N]. */
  readonly A: Float64Array;
  /** Input map [N]. */
  readonly B: Float64Array;
  /** Normal part: a multiple of the identity plus a skew-symmetric matrix [N N]. */
  readonly S: Float64Array;
  /** Rows of the low-rank part [R N]. */
  readonly P: Float64Array;
  /** R. */
  readonly rank: number;
}

/** Complex numbers, real and imaginary parts. */
export interface ComplexNumbers {
  /** Real parts. */
  readonly re: Float64Array;
  /** Imaginary parts. */
  readonly im: Float64Array;
}

/** A = 2 Re(V diag(lambda) V^H) - P^T P, in the coordinates V^H x; one of each pair of conjugates is stored. */
export interface DiagonalPlusLowRank {
  /** Eigenvalues of the normal part, by ascending imaginary part, all of which are at most 0 [N/2]. */
  readonly lambda: ComplexNumbers;
  /** V^H P [R N/2]. */
  readonly P: ComplexNumbers;
  /** V^H B [N/2]. */
  readonly B: ComplexNumbers;
  /** Eigenvectors as columns [N N/2]. */
  readonly V: ComplexNumbers;
  /** R. */
  readonly rank: number;
}

/** Settings of {@link hippoNormal} and {@link hippoDiagonal}. */
export interface NormalFormOptions extends HippoOptions {
  /** Rows of P; those beyond the measure's own are 0. The measure's own number by default. */
  readonly rank?: number | undefined;
  /** Imaginary parts of B are cut off at this size, as in the S4 code (2); not at all by default. */
  readonly clipB?: number | undefined;
}

const SETTINGS = ["rank", "clipB", "window", "alpha", "beta", "key"] as const;

/**
 * A system as a normal part minus a part of low rank. "legs", "lagt", "fourier" and its variants have rank 1, "legt" 2, "foud"
 * and "legsd" 0 (one row of zeros).
 * @throws RangeError for a measure without such a form, or a rank below its own.
 */
export function hippoNormal(name: HippoMeasureName, N: number, given: NormalFormOptions = {}): NormalPlusLowRank {
  assertSettings("hippoNormal", given, SETTINGS);
  const { rank, ...options } = given;
  assertOrder("hippoNormal", N);
  const { A, B } = hippo(name, N, options);
  const own = lowRank(name, N, B, options);
  const R = rank ?? own.length;
  if (!(Number.isInteger(R) && R >= own.length))
    throw new RangeError(`hippoNormal: expected a rank of at least ${own.length} for "${name}", got ${R}`);
  const P = new Float64Array(R * N);
  own.forEach((row, r) => P.set(row, r * N));
  const S = A.map((value, i) => own.reduce((total, row) => total + row[Math.floor(i / N)]! * row[i % N]!, value));
  return { A, B, S, P, rank: R };
}

/** The rows of P. */
function lowRank(name: HippoMeasureName, N: number, B: Float64Array, { window }: HippoOptions): Float64Array[] {
  const measure = measureOf(name);
  switch (measure) {
    case "legs":
      return [vector(N, (n) => Math.sqrt(n + 0.5))];
    case "legt":
      return [1, 0].map((parity) => vector(N, (n) => (n % 2 === parity ? Math.sqrt((2 * n + 1) / (window ?? 2)) : 0)));
    case "lagt":
      return [vector(N, () => Math.SQRT1_2)];
    case "fourier":
      // P P^T = 2/window b b^T with B = 2/window b.
      return [B.map((value) => value * Math.sqrt((window ?? 2) / 2))];
    case "fourier2":
    case "fourier_decay":
      return [B.map((value) => (measure === "fourier2" ? value * Math.SQRT1_2 : value * Math.SQRT2))];
    case "foud":
    case "legsd":
      return [new Float64Array(N)];
    default:
      throw new RangeError(`hippoNormal: expected a measure that is normal plus low rank, got "${name}"`);
  }
}

/**
 * The diagonal form of {@link hippoNormal}, N even. The eigenvectors are those of a Hermitian matrix, so V^H V = 1 to
 * rounding; their phases are arbitrary.
 * @throws RangeError if N is odd or the measure has no such form.
 */
export function hippoDiagonal(name: HippoMeasureName, N: number, given: NormalFormOptions = {}): DiagonalPlusLowRank {
  assertSettings("hippoDiagonal", given, SETTINGS);
  const { clipB, ...options } = given;
  const { B, S, P, rank } = hippoNormal(name, N, options);
  if (clipB !== undefined) assertNumber("hippoDiagonal", "clipB", clipB, { from: 0 });
  if (N % 2 !== 0) throw new RangeError(`hippoDiagonal: expected an even order, got ${N}`);
  const mean = S.reduce((total, value, i) => (i % (N + 1) === 0 ? total + value / N : total), 0);
  const { im, V } = diagonalizeSkew(S.map((value, i) => (i % (N + 1) === 0 ? 0 : value)));
  const M = N / 2;
  const kept = (part: Float64Array): Float64Array =>
    Float64Array.from({ length: N * M }, (_, i) => part[Math.floor(i / M) * N + (i % M)]!);
  const half = { re: kept(V.re), im: kept(V.im) };
  const limit = clipB ?? Infinity;
  const input = projected(half, B, N);
  return {
    lambda: { re: vector(M, () => mean), im: im.slice(0, M) },
    P: projected(half, P, N),
    B: { re: input.re, im: input.im.map((value) => Math.min(limit, Math.max(-limit, value))) },
    V: half,
    rank,
  };
}

/** Rows x [R N] in the basis V [N M]: V^H x, [R M]. */
function projected(V: ComplexNumbers, x: Float64Array, N: number): ComplexNumbers {
  const [M, R] = [V.re.length / N, x.length / N];
  const out = { re: new Float64Array(R * M), im: new Float64Array(R * M) };
  for (let r = 0; r < R; r++)
    for (let n = 0; n < N; n++)
      for (let m = 0; m < M; m++) {
        out.re[r * M + m]! += V.re[n * M + m]! * x[r * N + n]!;
        out.im[r * M + m]! -= V.im[n * M + m]! * x[r * N + n]!;
      }
  return out;
}

/** C that reads the other end of the window, where there is one: "legt" and "fourier"; zeros for other measures [N]. */
export function otherEndpoint(name: HippoMeasureName, N: number): Float64Array {
  assertOrder("otherEndpoint", N);
  const measure = measureOf(name);
  if (measure === "legt") return vector(N, (n) => (n % 2 === 0 ? 1 : -1) * Math.sqrt(2 * n + 1));
  if (measure === "fourier") return vector(N, (n) => (n === 0 ? 1 : n % 2 === 0 ? Math.SQRT2 : 0));
  return new Float64Array(N);
}
