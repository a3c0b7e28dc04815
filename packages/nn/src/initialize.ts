/** Distributions of fresh parameters. */
import { full, normal, uniform, type Key, type Shape, type Tensor } from "@seqmix/tensor";

/** Makes a fresh parameter of the given shape. */
export type Initializer = (key: Key, shape: Shape) => Tensor;

/** Uniform in [-bound, bound). */
export const uniformInit =
  (bound: number): Initializer =>
  (key, shape) =>
    uniform(key, shape, -bound, bound);

/** Normal with mean 0 and the given standard deviation. */
export const normalInit =
  (deviation: number): Initializer =>
  (key, shape) =>
    normal(key, shape, 0, deviation);

/** Every element the same. */
export const constantInit =
  (value: number): Initializer =>
  (_, shape) =>
    full(shape, value);
