/** What mathjs does here, made when first needed: matrices as rows of numbers, for the time of initialization. */
import { create, expmDependencies, lgammaDependencies, lusolveDependencies } from "mathjs";

interface LinearAlgebra {
  lusolve(A: number[][], b: number[][]): number[][];
  expm(A: number[][]): { toArray(): number[][] };
  lgamma(x: number): number;
}

let made: LinearAlgebra | undefined;
const mathjs = (): LinearAlgebra =>
  (made ??= create({
    ...lusolveDependencies!,
    ...expmDependencies!,
    ...lgammaDependencies!,
  }) as unknown as LinearAlgebra);

const rowsOf = (A: Float64Array, columns: number): number[][] =>
  Array.from({ length: A.length / columns }, (_, n) => [...A.subarray(n * columns, (n + 1) * columns)]);

/** A^-1 b for A [N N] and b [N K], row-major. @throws Error if A is singular. */
export function solve(A: Float64Array, b: Float64Array, K: number): Float64Array {
  const N = b.length / K;
  const columns = Array.from({ length: K }, (_, k) =>
    mathjs().lusolve(
      rowsOf(A, N),
      Array.from({ length: N }, (_unused, n) => [b[n * K + k]!]),
    ),
  );
  return Float64Array.from({ length: N * K }, (_, i) => columns[i % K]![Math.floor(i / K)]![0]!);
}

/** e^A for A [N N], row-major. */
export const exponential = (A: Float64Array, N: number): Float64Array =>
  Float64Array.from(mathjs().expm(rowsOf(A, N)).toArray().flat());

/** log Gamma(x) for x > 0. */
export const logGamma = (x: number): number => mathjs().lgamma(x);

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
