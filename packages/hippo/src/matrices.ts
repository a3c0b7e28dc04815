/** HiPPO matrices of every measure, row-major numbers of the system x' = A x + B u (Gu, Dao, Ermon, Rudra, Re, HiPPO: Recurrent Memory with Optimal Polynomial Projections, 2020; Gu, Johnson, Timalsina, Rudra, Re, How to Train Your HiPPO, 2023). */
import { assertKey, assertNumber, assertSettings } from "@seqmix/tensor";
import type { Key } from "@seqmix/tensor";
import { logGamma } from "./linear-algebra.js";
import { normalNumbers } from "./random-numbers.js";

/** A continuous system, row-major. */
export interface HippoSystem {
  /** Transition [N N]. */
  readonly A: Float64Array;
  /** Input map [N]. */
  readonly B: Float64Array;
}

/** Measures by which the past is weighted; each has a system. */
export const hippoMeasures = [
  /** Scaled Legendre: the whole past, or exponentially warped in its time-invariant form. */
  "legs",
  /** Translated Legendre: a sliding window. */
  "legt",
  /** The same window in the coordinates of Legendre memory units; time is in windows. */
  "lmu",
  /** Translated Laguerre: exponential decay. */
  "lagt",
  /** Tilted Laguerre, with `beta`. */
  "tlagt",
  /** Generalized Laguerre, with `alpha` and `beta`. */
  "glagt",
  /** Truncated Fourier on a sliding window; also "fout". */
  "fourier",
  /** "fourier" on a window of 1. */
  "fourier2",
  /** "fourier" with a decay from window to window. */
  "fourier_decay",
  /** The normal part of "fourier2" with a decay of 1/2; also "fourier_diag". */
  "foud",
  /** "legs" without its part of rank one: normal. */
  "legsd",
  /** Entries from a normal distribution: no measure, for ablations. */
  "random",
  /** A random negative diagonal, for ablations. */
  "diagonal",
] as const;

/** One of {@link hippoMeasures}. */
export type HippoMeasure = (typeof hippoMeasures)[number];

/** A measure under this or an older name. */
export type HippoMeasureName = HippoMeasure | "fout" | "fourier_diag";

/** Settings of {@link hippo}. */
export interface HippoOptions {
  /**
   * Length of the sliding window of "legt" and "fourier", in the unit of time: 2 as in the S4 code, which halves A and B, by
   * default; 1 as in the HiPPO paper and its code.
   */
  readonly window?: number | undefined;
  /** Of "glagt", above -1; 0 by default. */
  readonly alpha?: number | undefined;
  /** Tilt of "tlagt" and "glagt", at least 0, and factor of B of "lagt" and "tlagt"; 1, for "glagt" 0.01, by default. */
  readonly beta?: number | undefined;
  /** Of "random" and "diagonal". */
  readonly key?: Key | undefined;
}

/** The system of a measure, of order N. @throws RangeError for an unknown measure or an impossible setting. */
export function hippo(measure: HippoMeasureName, N: number, options: HippoOptions = {}): HippoSystem {
  assertOrder("hippo", N);
  assertOptions("hippo", options);
  for (const [name, measures] of Object.entries(MEASURES_WITH))
    if (options[name as keyof typeof MEASURES_WITH] !== undefined && !measures.includes(measureOf(measure)))
      throw new RangeError(
        `hippo: expected ${name} with the measure ${measures.map((each) => `"${each}"`).join(" or ")} alone, got it with "${measure}"; leave it out`,
      );
  return SYSTEMS[measureOf(measure)](N, options);
}

/** The name without aliases. @throws RangeError if it is none. */
export function measureOf(name: HippoMeasureName): HippoMeasure {
  const measure = name === "fout" ? "fourier" : name === "fourier_diag" ? "foud" : name;
  if (!hippoMeasures.includes(measure))
    throw new RangeError(
      `hippo: expected a measure ${hippoMeasures.map((each) => `"${each}"`).join(", ")}, got "${String(name)}"`,
    );
  return measure;
}

/** A_nk = -sqrt((2n+1)(2k+1)) below the diagonal, -(n+1) on it, 0 above; B_n = sqrt(2n+1). */
export const hippoLegs = (N: number): HippoSystem => hippo("legs", N);

const MEASURES_WITH: Readonly<Record<"window" | "alpha" | "beta", readonly HippoMeasure[]>> = {
  window: ["legt", "fourier"],
  alpha: ["glagt"],
  beta: ["lagt", "tlagt", "glagt"],
};

const root = (n: number): number => Math.sqrt(2 * n + 1);

const SYSTEMS: Readonly<Record<HippoMeasure, (N: number, options: HippoOptions) => HippoSystem>> = {
  legs: (N) => ({
    A: matrix(N, (n, k) => (n > k ? -root(n) * root(k) : n === k ? -(n + 1) : 0)),
    B: vector(N, root),
  }),
  legt(N, { window = 2 }) {
    assertWindow(window);
    return {
      A: matrix(N, (n, k) => (-root(n) * root(k) * (n < k && (k - n) % 2 === 1 ? -1 : 1)) / window),
      B: vector(N, (n) => root(n) / window),
    };
  },
  lmu: (N) => ({
    A: matrix(N, (n, k) => (2 * n + 1) * (n < k ? -1 : (n - k) % 2 === 0 ? -1 : 1)),
    B: vector(N, (n) => (n % 2 === 0 ? 1 : -1) * (2 * n + 1)),
  }),
  lagt(N, { beta = 1 }) {
    assertNumber("hippo", "beta", beta);
    return { A: laguerre(N, -0.5), B: vector(N, () => beta) };
  },
  tlagt(N, { beta = 1 }) {
    assertNumber("hippo", "beta", beta, { from: 0 });
    return { A: laguerre(N, -(1 + beta) / 2), B: vector(N, () => beta) };
  },
  glagt(N, { alpha = 0, beta = 0.01 }) {
    assertNumber("hippo", "alpha", alpha, { above: -1, below: 1 });
    assertNumber("hippo", "beta", beta, { above: 0 });
    const plain = laguerre(N, -(1 + beta) / 2);
    const scale = laguerreNorms(N, alpha);
    const factor = laguerreFactor(alpha, beta);
    return {
      A: matrix(N, (n, k) => (plain[n * N + k]! * scale[k]!) / scale[n]!),
      // binom(alpha + n, n)
      B: vector(
        N,
        (n) => (factor * Math.exp(logGamma(alpha + n + 1) - logGamma(alpha + 1) - logGamma(n + 1))) / scale[n]!,
      ),
    };
  },
  fourier(N, { window = 2 }) {
    assertWindow(window);
    const B = fourierInput(N);
    return {
      A: matrix(N, (n, k) => (fourierSkew(2 * Math.PI, n, k) - 2 * B[n]! * B[k]!) / window),
      B: B.map((value) => (2 * value) / window),
    };
  },
  fourier2: (N) => SYSTEMS.fourier(N, { window: 1 }),
  fourier_decay(N) {
    const B = fourierInput(N);
    return {
      A: matrix(N, (n, k) => fourierSkew(Math.PI, n, k) - 0.5 * B[n]! * B[k]!),
      B: B.map((value) => value / 2),
    };
  },
  foud: (N) => ({
    A: matrix(N, (n, k) => fourierSkew(2 * Math.PI, n, k) - (n === k ? 0.5 : 0)),
    B: fourierInput(N),
  }),
  legsd: (N) => ({
    A: matrix(N, (n, k) => (n === k ? -0.5 : (n > k ? -0.5 : 0.5) * root(n) * root(k))),
    B: vector(N, (n) => root(n) / 2),
  }),
  random(N, { key }) {
    const draw = normalNumbers(key, "random", N * N + N);
    return { A: draw.subarray(0, N * N).map((value) => value / N), B: draw.slice(N * N) };
  },
  diagonal(N, { key }) {
    const draw = normalNumbers(key, "diagonal", 2 * N);
    return { A: matrix(N, (n, k) => (n === k ? -Math.exp(draw[n]!) : 0)), B: draw.slice(N) };
  },
};

/** `diagonal` on the diagonal and -1 below it. */
const laguerre = (N: number, diagonal: number): Float64Array =>
  matrix(N, (n, k) => (n === k ? diagonal : n > k ? -1 : 0));

/** Norms of the generalized Laguerre polynomials, sqrt(Gamma(n + alpha + 1) / n!). */
export const laguerreNorms = (N: number, alpha: number): Float64Array =>
  vector(N, (n) => Math.exp(0.5 * (logGamma(n + alpha + 1) - logGamma(n + 1))));

/** What the S4 code multiplies B of "glagt" by. */
export const laguerreFactor = (alpha: number, beta: number): number =>
  Math.exp(-0.5 * logGamma(1 - alpha)) * beta ** ((1 - alpha) / 2);

/** Rotation by j times `unit` of the pair (2j, 2j + 1). */
function fourierSkew(unit: number, n: number, k: number): number {
  if (Math.floor(n / 2) !== Math.floor(k / 2) || n === k) return 0;
  return (n > k ? 1 : -1) * unit * Math.floor(n / 2);
}

/** 1, 0, sqrt 2, 0, sqrt 2, 0, ... */
const fourierInput = (N: number): Float64Array => vector(N, (n) => (n === 0 ? 1 : n % 2 === 0 ? Math.SQRT2 : 0));

/** Row-major [N N]. */
export const matrix = (N: number, f: (n: number, k: number) => number): Float64Array =>
  Float64Array.from({ length: N * N }, (_, i) => f(Math.floor(i / N), i % N));

/** [N]. */
export const vector = (N: number, f: (n: number) => number): Float64Array =>
  Float64Array.from({ length: N }, (_, n) => f(n));

/** @throws RangeError if N is no positive integer. */
export function assertOrder(name: string, N: number): void {
  if (!Number.isInteger(N) || N < 1) throw new RangeError(`${name}: expected an order N of at least 1, got ${N}`);
}

/** @throws TypeError for a setting that {@link hippo} does not have. */
export function assertOptions(name: string, options: HippoOptions): void {
  assertSettings(name, options, { window: { above: 0 }, alpha: {}, beta: {}, key: "own" });
  if (options.key !== undefined) assertKey(`${name}, key`, options.key);
}

const assertWindow = (window: number): void => assertNumber("hippo", "a window", window, { above: 0 });
