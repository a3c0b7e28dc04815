/** Forecasting by a companion model that feeds its own predictions of the next input back (SpaceTime paper, section 3.2). */
import { convolve } from "@seqmix/lti";
import {
  abs,
  add,
  broadcastTo,
  cast,
  concat,
  div,
  einsum,
  equal,
  expandDims,
  greater,
  iota,
  matmul,
  reshape,
  sliceAxis,
  sum,
  transpose,
  type Tensor,
} from "@seqmix/tensor";
import { normalized, sharedCompanion } from "./companion.js";

/** A companion model with a second output map, which predicts its next input; all [K N], before their norms. */
export type ClosedLoopParameters = {
  /** Last column of A. */
  readonly a: Tensor;
  /** Input map. */
  readonly b: Tensor;
  /** Output map. */
  readonly c: Tensor;
  /** Map to the prediction of the next input. */
  readonly k: Tensor;
};

/**
 * Where the released code (`closed_loop/companion.py`) is not of one piece, and what it does there. {@link RELEASED} is that
 * code, {@link CONSISTENT} one model throughout: its closed loop is its open loop run on its own predictions.
 */
export type ClosedLoopConventions = {
  /** b that drives the state over the lag: "raw" as released, though loop and open loop have it divided by its norm. */
  readonly stateInput: "raw" | "normalized";
  /** k that reads predicted inputs in closed loop: "raw" as released, though the loop itself runs on the normalized one. */
  readonly nextInput: "raw" | "normalized";
  /** What is k in the loop with normOrder 0: released code takes "b" there, and in open loop divides k by the number of its entries that are not zero. */
  readonly unnormalizedFeedback: "b" | "k";
};

/** As released. */
export const RELEASED: ClosedLoopConventions = { stateInput: "raw", nextInput: "raw", unnormalizedFeedback: "b" };

/** One model throughout. */
export const CONSISTENT: ClosedLoopConventions = {
  stateInput: "normalized",
  nextInput: "normalized",
  unnormalizedFeedback: "k",
};

/** Settings of {@link closedLoop} and {@link openLoop}. */
export interface ClosedLoopOptions extends Partial<ClosedLoopConventions> {
  /** Order of the norm that a, b, c and k are divided by; 0: none. 1 by default. */
  readonly normOrder?: number;
}

/** What {@link closedLoop} and {@link openLoop} return. */
export interface LoopResult {
  /** Outputs [B T D]: T is the horizon, or the lag in open loop. */
  readonly y: Tensor;
  /** Predictions of the input after each [B T D]. */
  readonly nextInputs: Tensor;
}

/**
 * Outputs after the lag: the state x that u leaves goes on by itself, x <- (A + b k^T) x, as if each predicted input k^T x
 * were given to it. $y_i = c^T (A + b k^T)^i x$ and the predicted inputs $k^T (A + b k^T)^i x$, i = 0 .. horizon - 1; the
 * first output is that of the last input.
 * @param u [B L D], D a multiple of the K models: each is used for D/K channels.
 */
export function closedLoop(
  params: ClosedLoopParameters,
  u: Tensor,
  horizon: number,
  options: ClosedLoopOptions = {},
): LoopResult {
  const { normOrder = 1, stateInput, nextInput, unnormalizedFeedback } = { ...CONSISTENT, ...options };
  if (!Number.isInteger(horizon) || horizon < 1)
    throw new RangeError(`closedLoop: expected a horizon of at least 1, got ${horizon}`);
  const [a, b, c, k] = [params.a, params.b, params.c, params.k].map((x) => normalized(x, normOrder)) as Four;
  const [K, N] = a.shape as [number, number];
  const [B, , D] = u.shape as [number, number, number];
  const x = sharedCompanion({ a, b: stateInput === "raw" ? params.b : b, c }, D).finalState(transpose(u));
  const feedback = normOrder === 0 && unnormalizedFeedback === "b" ? params.b : k;
  const loop = add(companionMatrix(a), einsum("K M, K N -> K M N", b, feedback));
  const states = reshape(x, [B, K, D / K, N]);
  // Rows c^T (A + b k^T)^i instead of states: K N numbers a step, whatever the batch.
  const read = (map: Tensor): Tensor => {
    const y = einsum("B K R N, K N T -> B K R T", states, powersTimes(transpose(loop), map, horizon));
    return transpose(reshape(y, [B, D, horizon]));
  };
  return { y: read(c), nextInputs: read(nextInput === "raw" ? params.k : k) };
}

/** Outputs and predicted inputs at every position of u [B L D], each from the inputs up to it, by convolution. */
export function openLoop(params: ClosedLoopParameters, u: Tensor, options: ClosedLoopOptions = {}): LoopResult {
  const { normOrder = 1, unnormalizedFeedback } = { ...CONSISTENT, ...options };
  const [a, b, c, normalK] = [params.a, params.b, params.c, params.k].map((x) => normalized(x, normOrder)) as Four;
  const k = normOrder === 0 && unnormalizedFeedback === "b" ? div(params.k, countNonZero(params.k)) : normalK;
  const [B, L, D] = u.shape as [number, number, number];
  const read = (map: Tensor): Tensor =>
    transpose(reshape(convolve(sharedCompanion({ a, b, c: map }, D), transpose(u)).y, [B, D, L]));
  return { y: read(c), nextInputs: read(k) };
}

type Four = [Tensor, Tensor, Tensor, Tensor];

/** The companion matrix [K N N] with last column a [K N]. */
function companionMatrix(a: Tensor): Tensor {
  const [K, N] = a.shape as [number, number];
  const down = cast(equal(iota([N, N - 1], 0), add(iota([N, N - 1], 1), 1)), "f32");
  return concat([broadcastTo(down, [K, N, N - 1]), expandDims(a, 2)], 2);
}

/** A^l x for l = 0 .. L-1 [K N L], by doubling: A [K N N], x [K N]. */
function powersTimes(A: Tensor, x: Tensor, L: number): Tensor {
  let columns = expandDims(x, 2);
  let square = A;
  for (let count = 1; count < L; count *= 2) {
    columns = concat([columns, matmul(square, sliceAxis(columns, 2, 0, Math.min(count, L - count)))], 2);
    if (2 * count < L) square = matmul(square, square);
  }
  return columns;
}

/** The norm of order 0 of each row [K 1]. */
const countNonZero = (x: Tensor): Tensor => sum(cast(greater(abs(x), 0), "f32"), 1, { keepDims: true });
