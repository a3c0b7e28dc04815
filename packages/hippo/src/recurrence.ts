/** The recurrences by which a memory is kept, as numbers. */
import { assertNumber } from "@seqmix/tensor";
import { exponential, multiply, solve } from "./linear-algebra.js";
import { legendre, normalized } from "./basis.js";
import { assertOrder, hippo, vector, type HippoMeasureName, type HippoOptions, type HippoSystem } from "./matrices.js";

/** How the continuous memory becomes a recurrence. */
export type HippoRule = "euler" | "backward_euler" | "bilinear" | "zoh";

/** x_t = Abar x_(t-1) + Bbar u_t, row-major. */
export interface HippoRecurrence {
  /** [N N]. */
  readonly Abar: Float64Array;
  /** [N]. */
  readonly Bbar: Float64Array;
}

/** The recurrence of x' = A x + B u at steps of dt. */
export function hippoRecurrence(
  measure: HippoMeasureName,
  N: number,
  dt: number,
  rule: HippoRule,
  options: HippoOptions = {},
): HippoRecurrence {
  const { A, B } = hippo(measure, N, options);
  assertNumber("hippoRecurrence", "a step dt", dt, { above: 0 });
  if (rule !== "zoh") return difference({ A, B }, dt, ruleWeight(rule), solveAny);
  // The exponential of [[A, B], [0, 0]] holds the integral that gives Bbar; A may be singular.
  const whole = new Float64Array((N + 1) ** 2);
  for (let n = 0; n < N; n++) {
    whole.set(A.subarray(n * N, (n + 1) * N), n * (N + 1));
    whole[n * (N + 1) + N] = B[n]!;
  }
  const power = exponential(
    whole.map((value) => value * dt),
    N + 1,
  );
  return {
    Abar: Float64Array.from({ length: N * N }, (_, i) => power[Math.floor(i / N) * (N + 1) + (i % N)]!),
    Bbar: vector(N, (n) => power[n * (N + 1) + N]!),
  };
}

/**
 * Step t = 1, 2, .. of the scaled LegS memory, x' = (A x + B u) / t, which holds the whole past (HiPPO paper, theorem 2).
 * Difference rules use A/t and B/t at the end of the step, as the released code does; "zoh" goes from t to t + 1 exactly.
 */
export function scaledLegsRecurrence(N: number, t: number, rule: HippoRule): HippoRecurrence {
  assertOrder("scaledLegsRecurrence", N);
  assertNumber("scaledLegsRecurrence", "a step t", t, { from: 1, whole: true });
  if (rule === "zoh") return stretched(N, t / (t + 1));
  return difference(hippo("legs", N), 1 / t, ruleWeight(rule), solveLowerTriangular);
}

function ruleWeight(rule: HippoRule): number {
  const weight = { euler: 0, backward_euler: 1, bilinear: 0.5, zoh: undefined }[rule];
  if (weight === undefined)
    throw new RangeError(
      `hippoRecurrence: expected a rule "euler", "backward_euler", "bilinear" or "zoh", got "${String(rule)}"`,
    );
  return weight;
}

type Solver = (M: Float64Array, rhs: Float64Array, columns: number) => Float64Array;
const solveAny: Solver = solve;

/** Forward substitution: a step of its own for every t leaves no time for a general solver. */
const solveLowerTriangular: Solver = (M, rhs, K) => {
  const N = rhs.length / K;
  const x = rhs.slice();
  for (let n = 0; n < N; n++) {
    for (let m = 0; m < n; m++) {
      const factor = M[n * N + m]!;
      for (let k = 0; k < K; k++) x[n * K + k]! -= factor * x[m * K + k]!;
    }
    for (let k = 0; k < K; k++) x[n * K + k]! /= M[n * N + n]!;
  }
  return x;
};

/** (1 - alpha dt A)^-1 applied to 1 + (1 - alpha) dt A, and to dt B. */
function difference({ A, B }: HippoSystem, dt: number, alpha: number, solver: Solver): HippoRecurrence {
  const N = B.length;
  const one = (i: number): number => (i % (N + 1) === 0 ? 1 : 0);
  const implicit = A.map((value, i) => one(i) - alpha * dt * value);
  const rhs = new Float64Array(N * (N + 1));
  for (let n = 0; n < N; n++) {
    for (let k = 0; k < N; k++) rhs[n * (N + 1) + k] = one(n * N + k) + (1 - alpha) * dt * A[n * N + k]!;
    rhs[n * (N + 1) + N] = dt * B[n]!;
  }
  const both = alpha === 0 ? rhs : solver(implicit, rhs, N + 1);
  return {
    Abar: Float64Array.from({ length: N * N }, (_, i) => both[Math.floor(i / N) * (N + 1) + (i % N)]!),
    Bbar: vector(N, (n) => both[n * (N + 1) + N]!),
  };
}

/**
 * e^(A s) of LegS for r = e^-s, without an exponential: its entries are r times the integral of p_n(r v) p_k(v) over 0..1, as
 * coefficients of a function on 0..1 become those of the same function squeezed into 0..r. A Gauss rule with N nodes is exact.
 */
function stretched(N: number, r: number): HippoRecurrence {
  const { nodes, weights } = gaussLegendre(N);
  const at = (scale: number): Float64Array =>
    Float64Array.from(nodes.flatMap((v) => [...normalized(legendre(N, 2 * scale * v - 1))]));
  const [squeezed, plain] = [at(r), at(1)];
  // [N nodes] times [nodes N].
  const left = Float64Array.from(
    { length: N * N },
    (_, i) => squeezed[(i % N) * N + Math.floor(i / N)]! * r * weights[i % N]!,
  );
  const Abar = multiply(left, plain, N);
  // B = -A e_0, and a constant input 1 has the coefficients e_0.
  return { Abar, Bbar: vector(N, (n) => (n === 0 ? 1 : 0) - Abar[n * N]!) };
}

/** Nodes and weights on 0..1, by Newton's iteration from Chebyshev's nodes. */
function gaussLegendre(N: number): { readonly nodes: number[]; readonly weights: number[] } {
  const [nodes, weights] = [[] as number[], [] as number[]];
  for (let i = 0; i < N; i++) {
    let x = Math.cos((Math.PI * (i + 0.75)) / (N + 0.5));
    let slope = 1;
    for (let step = 0; step < 20; step++) {
      const P = legendre(N + 1, x);
      slope = (N * (x * P[N]! - P[N - 1]!)) / (x * x - 1);
      const move = P[N]! / slope;
      x -= move;
      if (Math.abs(move) < 1e-15) break;
    }
    nodes.push((1 + x) / 2);
    weights.push(1 / ((1 - x * x) * slope ** 2));
  }
  return { nodes, weights };
}
