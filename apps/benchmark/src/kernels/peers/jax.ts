/** jax-js with its WebAssembly backend, compiled by its jit. In Node it runs on one thread: its threads need a browser's Worker. */
import type { Contestant } from "../contestant.js";

/** An array of the package. A use takes the value; `ref` keeps it for another. */
export interface JaxArray {
  readonly ref: JaxArray;
  add(other: JaxArray | number): JaxArray;
  sub(other: JaxArray): JaxArray;
  mul(other: JaxArray | number): JaxArray;
  div(other: JaxArray): JaxArray;
  neg(): JaxArray;
  blockUntilReady(): Promise<JaxArray>;
  data(): Promise<Float32Array>;
  dispose(): void;
}

/** The package, as far as the benchmark calls it. */
export interface JaxPackage {
  readonly numpy: {
    readonly float32: unknown;
    array(
      values: Float32Array | number,
      options?: { readonly shape: readonly number[]; readonly dtype: unknown },
    ): JaxArray;
    zerosLike(x: JaxArray): JaxArray;
    matmul(a: JaxArray, b: JaxArray): JaxArray;
    exp(x: JaxArray): JaxArray;
    log(x: JaxArray): JaxArray;
    tanh(x: JaxArray): JaxArray;
    sqrt(x: JaxArray): JaxArray;
    square(x: JaxArray): JaxArray;
    reciprocal(x: JaxArray): JaxArray;
    mean(x: JaxArray, axis?: number, options?: { readonly keepdims: boolean }): JaxArray;
    cumsum(x: JaxArray, axis: number): JaxArray;
  };
  readonly nn: {
    relu(x: JaxArray): JaxArray;
    silu(x: JaxArray): JaxArray;
    sigmoid(x: JaxArray): JaxArray;
    softmax(x: JaxArray, axis: number): JaxArray;
  };
  readonly tree: { ref<T>(tree: T): T; dispose(tree: unknown): void };
  jit<A extends readonly unknown[], R>(f: (...args: A) => R): ((...args: A) => R) & { dispose(): void };
  valueAndGrad<P>(
    f: (params: P, ...rest: readonly JaxArray[]) => JaxArray,
  ): (params: P, ...rest: readonly JaxArray[]) => [JaxArray, P];
  blockUntilReady<T>(tree: T): Promise<T>;
}

/** Host values as an array. */
export const jaxArray = ({ numpy }: JaxPackage, values: Float32Array, shape: readonly number[]): JaxArray =>
  numpy.array(values, { shape, dtype: numpy.float32 });

/** Runs a compiled function of inputs that are in place. */
export function jaxContestant(
  jax: JaxPackage,
  inputs: readonly { readonly values: Float32Array; readonly shape: readonly number[] }[],
  f: (...inputs: readonly JaxArray[]) => JaxArray,
): Contestant {
  const arrays = inputs.map(({ values, shape }) => jaxArray(jax, values, shape));
  const compiled = jax.jit(f);
  const call = (): JaxArray => compiled(...arrays.map((x) => x.ref));
  return {
    run: async () => (await call().blockUntilReady()).dispose(),
    read: () => call().data(),
    close: () => {
      compiled.dispose();
      for (const x of arrays) x.dispose();
    },
  };
}
