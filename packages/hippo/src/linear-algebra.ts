/** What mathjs does here, made when first needed: matrices as rows of numbers, for the time of initialization. */
import { create, expmDependencies, lusolveDependencies } from "mathjs";
import { lgamma } from "mathjs/number";

interface Solver {
  lusolve(A: number[][], b: number[][]): number[][];
}
interface Exponential {
  expm(A: number[][]): { toArray(): number[][] };
}

// One instance each, so that a bundle holds what it uses.
let solver: Solver | undefined;
let exponentials: Exponential | undefined;

const rowsOf = (A: Float64Array, columns: number): number[][] =>
  Array.from({ length: A.length / columns }, (_, n) => [...A.subarray(n * columns, (n + 1) * columns)]);

/** A^-1 b for A [N N] and b [N K], row-major. @throws Error if A is singular. */
export function solve(A: Float64Array, b: Float64Array, K: number): Float64Array {
  const { lusolve } = (solver ??= create(lusolveDependencies!) as unknown as Solver);
  const N = b.length / K;
  const rows = rowsOf(A, N);
  const columns = Array.from({ length: K }, (_, k) =>
    lusolve(
      rows,
      Array.from({ length: N }, (_unused, n) => [b[n * K + k]!]),
    ),
  );
  return Float64Array.from({ length: N * K }, (_, i) => columns[i % K]![Math.floor(i / K)]![0]!);
}

/** e^A for A [N N], row-major. */
export function exponential(A: Float64Array, N: number): Float64Array {
  const { expm } = (exponentials ??= create(expmDependencies!) as unknown as Exponential);
  return Float64Array.from(expm(rowsOf(A, N)).toArray().flat());
}

/** log Gamma(x) for x > 0. */
export const logGamma = (x: number): number => lgamma(x);

/** A b of row-major matrices [N M] and [M K]. */
export function multiply(A: Float64Array, b: Float64Array, M: number): Float64Array {
  const [N, K] = [A.length / M, b.length / M];
  const out = new Float64Array(N * K);
  for (let n = 0; n < N; n++)
    for (let m = 0; m < M; m++) {
      const factor = A[n * M + m]!;
      if (factor !== 0) for (let k = 0; k < K; k++) out[n * K + k]! += factor * b[m * K + k]!;
    }
  return out;
}
