/** State-space models with a companion matrix (Zhang et al., Effectively Modeling Time Series with Simple Discrete State Spaces, 2023, section 3). */
import { fftConv } from "@seqmix/fft";
import {
  abs,
  add,
  broadcastTo,
  cast,
  concat,
  div,
  einsum,
  equal,
  exp,
  expandDims,
  flip,
  greater,
  iota,
  log,
  matmul,
  mean,
  mul,
  power,
  reshape,
  sliceAxis,
  sqrt,
  square,
  sum,
  transpose,
  where,
  type Tensor,
} from "@seqmix/tensor";

/**
 * h_t = A h_(t-1) + b u_t, y_t = c^T h_t, one for each of K kernels, with the companion matrix A: it moves entries one place
 * down, and its last column is `a`. With a = 0 it is the shift matrix, and the model a moving average.
 */
export interface CompanionSystem {
  /** Last column of A [K N]. */
  readonly a: Tensor;
  /** Input map [K N]. */
  readonly b: Tensor;
  /** Output map [K N]. */
  readonly c: Tensor;
}

/**
 * x / ||x||_order for every row of x [K N]: keeps the spectral radius of a companion matrix at most 1 with order 1.
 * As published, rows stay as they are where the mean of their norms is at most 1e-4.
 * @param order A whole number; 0: x itself.
 */
export function normalized(x: Tensor, order: number): Tensor {
  if (!Number.isInteger(order) || order < 0)
    throw new RangeError(`normalized: expected a whole order of at least 0, got ${order}`);
  if (order === 0) return x;
  const norm = normOf(x, order);
  return div(x, where(greater(mean(norm), 1e-4), norm, 1));
}

/** Norms of rows [K 1]. */
function normOf(x: Tensor, order: number): Tensor {
  if (order === 1) return sum(abs(x), 1, { keepDims: true });
  if (order === 2) return sqrt(sum(square(x), 1, { keepDims: true }));
  return exp(mul(1 / order, log(sum(power(abs(x), order), 1, { keepDims: true }))));
}

/** The companion matrix [K N N] with last column a [K N]. */
export function companionMatrix(a: Tensor): Tensor {
  const [K, N] = a.shape as [number, number];
  const down = cast(equal(iota([N, N - 1], 0), add(iota([N, N - 1], 1), 1)), "f32");
  return concat([broadcastTo(down, [K, N, N - 1]), expandDims(a, 2)], 2);
}

/** A^l x for l = 0 .. L-1 [K N L], by doubling: A [K N N], x [K N]. */
export function powersTimes(A: Tensor, x: Tensor, L: number): Tensor {
  let columns = expandDims(x, 2);
  let square = A;
  for (let count = 1; count < L; count *= 2) {
    columns = concat([columns, matmul(square, sliceAxis(columns, 2, 0, Math.min(count, L - count)))], 2);
    if (2 * count < L) square = matmul(square, square);
  }
  return columns;
}

/** The convolution kernel c^T A^l b, l = 0 .. L-1. @returns [K L] */
export const companionKernel = ({ a, b, c }: CompanionSystem, L: number): Tensor =>
  einsum("K N L, K N -> K L", powersTimes(companionMatrix(a), b, L), c);

/**
 * One position.
 * @param u [B K R], R channels a kernel
 * @param h [B K R N]
 * @returns y [B K R] and the next state
 */
export function companionStep({ a, b, c }: CompanionSystem, u: Tensor, h: Tensor): readonly [Tensor, Tensor] {
  const rows = (x: Tensor): Tensor => expandDims(x, 1);
  const N = a.shape[1]!;
  const last = sliceAxis(h, 3, N - 1, N);
  const down = concat([mul(last, 0), sliceAxis(h, 3, 0, N - 1)], 3);
  const next = add(add(down, mul(last, rows(a))), mul(expandDims(u, 3), rows(b)));
  return [sum(mul(next, rows(c)), 3), next];
}

/**
 * A whole sequence by convolution.
 * @param u [B K R L]
 * @param h0 State before it [B K R N]; zeros by default.
 * @returns y [B K R L] and the state after it
 */
export function companionSequence(system: CompanionSystem, u: Tensor, h0?: Tensor): readonly [Tensor, Tensor] {
  const [B, K, R, L] = u.shape as [number, number, number, number];
  const A = companionMatrix(system.a);
  const columns = powersTimes(A, system.b, L);
  const kernel = einsum("K N L, K N -> K L", columns, system.c);
  const each = reshape(broadcastTo(expandDims(kernel, 1), [K, R, L]), [K * R, L]);
  const y = reshape(fftConv({ u: reshape(u, [B, K * R, L]), k: each }), u.shape);
  const h = einsum("B K R L, K N L -> B K R N", u, flip(columns, 2));
  if (!h0) return [y, h];
  return [add(y, fromState(system, A, h0, L)), add(h, advance(A, h0, L))];
}

/** What a state adds to the outputs: c^T A^(t+1) h, t = 0 .. L-1 [B K R L]. */
export function fromState({ c }: CompanionSystem, A: Tensor, h: Tensor, L: number): Tensor {
  const rows = sliceAxis(powersTimes(transpose(A), c, L + 1), 2, 1, L + 1);
  return einsum("B K R N, K N L -> B K R L", h, rows);
}

/** A^L h, by squaring: A [K N N], h [B K R N]. */
export function advance(A: Tensor, h: Tensor, L: number): Tensor {
  let [square, advanced] = [A, h];
  for (let left = L; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) advanced = einsum("B K R N, K M N -> B K R M", advanced, square);
    if (left > 1) square = matmul(square, square);
  }
  return advanced;
}
