/** Distributions of fresh parameters. */
import {
  add,
  assertNumber,
  div,
  full,
  matmul,
  mul,
  normal,
  reshape,
  sizeOf,
  sqrt,
  square,
  sum,
  transpose,
  uniform,
} from "@seqmix/tensor";
import type { Key, Shape, Tensor } from "@seqmix/tensor";

/** Makes a fresh parameter of the given shape. */
export type Initializer = (key: Key, shape: Shape) => Tensor;

/** Uniform in [-bound, bound). */
export const uniformInit =
  (bound: number): Initializer =>
  (key, shape) => {
    assertNumber("uniformInit", "the bound", bound, { from: 0 });
    return uniform(key, shape, -bound, bound);
  };

/** Normal with mean 0 and the given standard deviation. */
export const normalInit =
  (deviation: number): Initializer =>
  (key, shape) => {
    assertNumber("normalInit", "the deviation", deviation, { from: 0 });
    return normal(key, shape, 0, deviation);
  };

/** Every element the same. */
export const constantInit =
  (value: number): Initializer =>
  (_, shape) =>
    full(shape, value);

/** Steps of the iteration: a singular value of 1/3000 of the norm, few random matrices have a smaller one, reaches 1. */
const ORTHOGONAL_STEPS = 30;

/**
 * Random matrices [O I] with orthonormal rows or columns, whichever are fewer, times `gain`: the orthogonal factor of a
 * normal matrix, by Newton's iteration X = 3/2 X - 1/2 X X^T X (Bjorck and Bowie, 1971). By default the gain is
 * sqrt(O / I) where O > I, else 1, RWKV's choice.
 */
export const orthogonalInit =
  (gain?: number): Initializer =>
  (key, shape) => {
    const [O, I] = [shape[0]!, sizeOf(shape.slice(1))];
    const drawn = normal(key, [O, I]);
    // no singular value is above the root of the sum of squares
    let x = div(drawn, sqrt(sum(square(drawn))));
    for (let k = 0; k < ORTHOGONAL_STEPS; k++) {
      const product = O <= I ? matmul(matmul(x, transpose(x)), x) : matmul(x, matmul(transpose(x), x));
      x = add(mul(x, 1.5), mul(product, -0.5));
    }
    return reshape(mul(x, gain ?? Math.sqrt(Math.max(1, O / I))), shape);
  };
