/** TensorFlow.js with its WebAssembly backend. In Node it runs on one thread: its threads need a browser's Worker. */
import type { Contestant } from "../contestant.js";

/** A tensor of the package. */
export interface TensorflowTensor {
  data(): Promise<Float32Array>;
  dispose(): void;
}

/** A tensor that an optimizer changes. */
export interface TensorflowVariable extends TensorflowTensor {
  readonly name: string;
}

/** The package, as far as the benchmark calls it. */
export interface TensorflowPackage {
  tensor(values: Float32Array, shape: readonly number[]): TensorflowTensor;
  variable(value: TensorflowTensor): TensorflowVariable;
  tidy<T extends TensorflowTensor>(f: () => T): T;
  matMul(a: TensorflowTensor, b: TensorflowTensor, transposeA?: boolean, transposeB?: boolean): TensorflowTensor;
  add(a: TensorflowTensor, b: TensorflowTensor | number): TensorflowTensor;
  sub(a: TensorflowTensor, b: TensorflowTensor): TensorflowTensor;
  mul(a: TensorflowTensor, b: TensorflowTensor | number): TensorflowTensor;
  exp(x: TensorflowTensor): TensorflowTensor;
  log(x: TensorflowTensor): TensorflowTensor;
  tanh(x: TensorflowTensor): TensorflowTensor;
  sigmoid(x: TensorflowTensor): TensorflowTensor;
  relu(x: TensorflowTensor): TensorflowTensor;
  /** 1 where x is above 0, else 0. */
  step(x: TensorflowTensor): TensorflowTensor;
  square(x: TensorflowTensor): TensorflowTensor;
  rsqrt(x: TensorflowTensor): TensorflowTensor;
  cumsum(x: TensorflowTensor, axis: number): TensorflowTensor;
  softmax(x: TensorflowTensor, axis: number): TensorflowTensor;
  sum(x: TensorflowTensor, axis: number): TensorflowTensor;
  mean(x: TensorflowTensor, axis?: number, keepDims?: boolean): TensorflowTensor;
  readonly train: {
    adam(
      learningRate: number,
      beta1: number,
      beta2: number,
      epsilon: number,
    ): {
      applyGradients(gradients: readonly { readonly name: string; readonly tensor: TensorflowTensor }[]): void;
      dispose(): void;
    };
  };
}

/** Runs a function of inputs that are in place. */
export function tensorflowContestant(
  tf: TensorflowPackage,
  inputs: readonly { readonly values: Float32Array; readonly shape: readonly number[] }[],
  f: (...inputs: readonly TensorflowTensor[]) => TensorflowTensor,
): Contestant {
  const tensors = inputs.map(({ values, shape }) => tf.tensor(values, shape));
  const call = (): TensorflowTensor => tf.tidy(() => f(...tensors));
  return {
    run: () => call().dispose(),
    async read() {
      const y = call();
      const values = await y.data();
      y.dispose();
      return values;
    },
    close: () => tensors.forEach((x) => x.dispose()),
  };
}
