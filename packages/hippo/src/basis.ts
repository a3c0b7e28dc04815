/** The functions of time whose coefficients the states of a measure are. */
import { assertNumber } from "@seqmix/tensor";
import {
  assertOptions,
  assertOrder,
  laguerreFactor,
  laguerreNorms,
  measureOf,
  vector,
  type HippoMeasure,
  type HippoMeasureName,
  type HippoOptions,
} from "./matrices.js";

/**
 * The basis g_n with which a history is read from the states of the time-invariant system: u(now - age) = sum_n x_n g_n(age),
 * ages in the unit of time of {@link hippo}. Orthonormal in the measure's weight:
 * "legs" sqrt(2n+1) P_n(2 e^-age - 1); "legt" sqrt(2n+1) P_n(1 - 2 age/window); "lmu" P_n(2 age - 1); "lagt" e^(-age/2) L_n(age);
 * "tlagt", "glagt" the same, tilted; "fourier", "fourier2" 1, sqrt 2 cos, sqrt 2 sin of 2 pi j age/window.
 * @returns [N]
 * @throws RangeError for measures that are no projection onto a basis.
 */
export function hippoBasis(name: HippoMeasureName, N: number, age: number, options: HippoOptions = {}): Float64Array {
  assertOrder("hippoBasis", N);
  assertOptions("hippoBasis", options);
  assertNumber("hippoBasis", "an age", age, { from: 0 });
  const measure = measureOf(name);
  const basis = BASES[measure];
  if (!basis)
    throw new RangeError(
      `hippoBasis: expected a measure with an orthonormal basis (${Object.keys(BASES).join(", ")}), got "${name}"`,
    );
  return basis(N, age, options);
}

/**
 * What an impulse that came `age` ago has become: (e^(age A) B)_n, exactly for "legs" and the Laguerre measures, without the
 * Gibbs oscillations of a finite order for sliding windows, where it is 0 beyond the window.
 * @returns [N]
 */
export function hippoKernel(name: HippoMeasureName, N: number, age: number, options: HippoOptions = {}): Float64Array {
  const measure = measureOf(name);
  const g = hippoBasis(name, N, age, options);
  const { window = 2, beta } = options;
  switch (measure) {
    case "legs":
      return g.map((value) => value * Math.exp(-age));
    case "legt":
    case "fourier":
      return g.map((value) => (age <= window ? value / window : 0));
    case "fourier2":
      return g.map((value) => (age <= 1 ? value : 0));
    case "lmu":
      return g.map((value, n) => (age <= 1 ? (2 * n + 1) * value : 0));
    case "lagt":
      return g.map((value) => value * (beta ?? 1) ** 2);
    case "tlagt":
      return g.map((value) => value * (beta ?? 1) ** 2 * Math.exp(-(beta ?? 1) * age));
    default: {
      const { alpha = 0 } = options;
      const factor = laguerreFactor(alpha, beta ?? 0.01) ** 2;
      return g.map((value) => (factor * value * Math.exp(-(beta ?? 0.01) * age)) / (alpha === 0 ? 1 : age ** alpha));
    }
  }
}

type Basis = (N: number, age: number, options: HippoOptions) => Float64Array;

const BASES: Readonly<Partial<Record<HippoMeasure, Basis>>> = {
  legs: (N, age) => normalized(legendre(N, 2 * Math.exp(-age) - 1)),
  legt: (N, age, { window = 2 }) => normalized(legendre(N, 1 - (2 * age) / window)),
  lmu: (N, age) => legendre(N, 2 * age - 1),
  lagt: (N, age, { beta = 1 }) => laguerre(N, age, 0).map((value) => (value * Math.exp(-age / 2)) / beta),
  tlagt: (N, age, { beta = 1 }) =>
    laguerre(N, age, 0).map((value) => (value * Math.exp((-(1 - beta) * age) / 2)) / beta),
  glagt(N, age, { alpha = 0, beta = 0.01 }) {
    const norms = laguerreNorms(N, alpha);
    const weight = (Math.exp((-(1 - beta) * age) / 2) * (alpha === 0 ? 1 : age ** alpha)) / laguerreFactor(alpha, beta);
    return laguerre(N, age, alpha).map((value, n) => (value * weight) / norms[n]!);
  },
  fourier: (N, age, { window = 2 }) => fourier(N, age / window),
  fourier2: (N, age) => fourier(N, age),
};

/** P_0(x) .. P_(N-1)(x). */
export function legendre(N: number, x: number): Float64Array {
  const P = new Float64Array(N);
  for (let n = 0; n < N; n++)
    P[n] = n === 0 ? 1 : n === 1 ? x : ((2 * n - 1) * x * P[n - 1]! - (n - 1) * P[n - 2]!) / n;
  return P;
}

/** sqrt(2n+1) P_n. */
export const normalized = (P: Float64Array): Float64Array => P.map((value, n) => Math.sqrt(2 * n + 1) * value);

/** Generalized Laguerre polynomials. */
function laguerre(N: number, x: number, alpha: number): Float64Array {
  const P = new Float64Array(N);
  for (let n = 0; n < N; n++)
    P[n] =
      n === 0 ? 1 : n === 1 ? 1 + alpha - x : ((2 * n - 1 + alpha - x) * P[n - 1]! - (n - 1 + alpha) * P[n - 2]!) / n;
  return P;
}

/** 1, 0, sqrt 2 cos, sqrt 2 sin, ... of j turns. */
const fourier = (N: number, turns: number): Float64Array =>
  vector(N, (n) => {
    const angle = 2 * Math.PI * Math.floor(n / 2) * turns;
    if (n < 2) return n === 0 ? 1 : 0;
    return Math.SQRT2 * (n % 2 === 0 ? Math.cos(angle) : Math.sin(angle));
  });
