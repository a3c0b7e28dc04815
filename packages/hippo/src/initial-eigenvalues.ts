/** Where the eigenvalues of diagonal models start. */
import { assertKey, assertSettings } from "@seqmix/tensor";
import type { Key } from "@seqmix/tensor";
import { assertOrder, vector } from "./matrices.js";
import { hippoDiagonal, type ComplexNumbers } from "./normal-forms.js";
import { normalNumbers, uniformNumbers } from "./random-numbers.js";
import { diagonalizeLegs } from "./legs.js";

/** Starts of S4D (Gu, Gupta, Goel, Re, On the Parameterization and Initialization of Diagonal State Space Models, 2022, section 4); n counts the N/2 stored modes. */
export const s4dInits = [
  /** -1/2 + i pi n */
  "lin",
  /** -1/2 + i (N/pi) (N/(2n+1) - 1), the asymptotics of "legs" */
  "inv",
  /** -1/2 + i (N/pi) (N/(n+1) - 1) */
  "inv2",
  /** -1/2 + i (1/pi) (1 + 2n)^2 */
  "quad",
  /** The normal part of HiPPO-LegS */
  "legs",
  /** -(n + 1): decay without oscillation */
  "real",
  /** -1/2 + i e^x, x from a normal distribution */
  "rand",
] as const;

/** One of {@link s4dInits}. */
export type S4dInit = (typeof s4dInits)[number];

/** Settings of {@link s4dEigenvalues}. */
export interface S4dEigenvalueOptions {
  /** Factor of the real parts; 1 by default. */
  readonly realScale?: number | undefined;
  /** Factor of the imaginary parts; 1 by default. */
  readonly imagScale?: number | undefined;
  /** Uniform real parts in place of 1/2: up to 1, or N/2 for "real". */
  readonly realRandom?: boolean | undefined;
  /** In place of n a number uniform in 0 .. N/2. */
  readonly imagRandom?: boolean | undefined;
  /** For random starts. */
  readonly key?: Key | undefined;
}

/**
 * The N/2 stored eigenvalues of a start, imaginary parts at least 0 and, except for "legs", ascending in n as listed.
 * @param N States counting both of each conjugate pair; even.
 */
export function s4dEigenvalues(init: S4dInit, N: number, options: S4dEigenvalueOptions = {}): ComplexNumbers {
  assertOrder("s4dEigenvalues", N);
  if (N % 2 !== 0) throw new RangeError(`s4dEigenvalues: expected an even order, got ${N}`);
  assertSettings("s4dEigenvalues", options, {
    realScale: {},
    imagScale: {},
    realRandom: "flag",
    imagRandom: "flag",
    key: "own",
  });
  if (options.key !== undefined) assertKey("s4dEigenvalues, key", options.key);
  const { realScale = 1, imagScale = 1, realRandom = false, imagRandom = false, key } = options;
  const M = N / 2;
  const decays = realRandom ? uniformNumbers(key, "s4dEigenvalues", M) : vector(M, () => 0.5);
  const places = imagRandom
    ? uniformNumbers(key, "s4dEigenvalues", 2 * M)
        .subarray(M)
        .map((u) => u * M)
    : vector(M, (n) => n);
  const decay = init === "real" ? (realRandom ? decays.map((u) => u * M) : vector(M, (n) => n + 1)) : decays;
  return {
    re: decay.map((value) => -realScale * value),
    im: frequencies(init, N, places, key).map((value) => imagScale * value),
  };
}

function frequencies(init: S4dInit, N: number, places: Float64Array, key: Key | undefined): Float64Array {
  switch (init) {
    case "lin":
      return places.map((n) => Math.PI * n);
    case "inv":
      return places.map((n) => (N / Math.PI) * (N / (2 * n + 1) - 1));
    case "inv2":
      return places.map((n) => (N / Math.PI) * (N / (n + 1) - 1));
    case "quad":
      return places.map((n) => (1 + 2 * n) ** 2 / Math.PI);
    case "legs":
      return hippoDiagonal("legs", N).lambda.im.map((value) => -value);
    case "real":
      return places.map(() => 0);
    case "rand":
      return normalNumbers(key, "s4dEigenvalues", places.length).map(Math.exp);
    default:
      throw new RangeError(
        `s4dEigenvalues: expected a start ${s4dInits.map((each) => `"${each}"`).join(", ")}, got "${String(init)}"`,
      );
  }
}

/**
 * The N eigenvalues that DSS starts from: those of the normal part of HiPPO-LegS of order 2N with positive imaginary parts,
 * ascending (Gupta, Gu, Berant, Diagonal State Spaces are as Effective as Structured State Spaces, 2022, section 3.2).
 */
export function dssEigenvalues(N: number): ComplexNumbers {
  assertOrder("dssEigenvalues", N);
  const { re, im } = diagonalizeLegs(2 * N);
  return { re: vector(N, () => re), im: im.slice(N) };
}
