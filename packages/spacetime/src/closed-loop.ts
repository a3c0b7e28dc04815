/** Forecasting by a companion model that feeds its own predictions of the next input back (SpaceTime paper, section 3.2). */
import { fftConv } from "@seqmix/fft";
import {
  abs,
  add,
  broadcastTo,
  cast,
  div,
  einsum,
  expandDims,
  flip,
  greater,
  reshape,
  sum,
  transpose,
  type Tensor,
} from "@seqmix/tensor";
import { companionMatrix, normalized, powersTimes } from "./companion.js";

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
  const A = companionMatrix(a);
  const feedback = normOrder === 0 && unnormalizedFeedback === "b" ? params.b : k;
  const loop = add(A, einsum("K M, K N -> K M N", b, feedback));
  const driving = stateInput === "raw" ? params.b : b;
  const inputs = perKernel(u, a.shape[0]!);
  const x = einsum("B K R L, K N L -> B K R N", inputs, flip(powersTimes(A, driving, u.shape[1]!), 2));
  // Rows c^T (A + b k^T)^i instead of states: K N numbers a step, whatever the batch.
  const read = (map: Tensor): Tensor =>
    perPosition(einsum("B K R N, K N T -> B K R T", x, powersTimes(transpose(loop), map, horizon)));
  return { y: read(c), nextInputs: read(nextInput === "raw" ? params.k : k) };
}

/** Outputs and predicted inputs at every position of u [B L D], each from the inputs up to it, by convolution. */
export function openLoop(params: ClosedLoopParameters, u: Tensor, options: ClosedLoopOptions = {}): LoopResult {
  const { normOrder = 1, unnormalizedFeedback } = { ...CONSISTENT, ...options };
  const [a, b, c, normalK] = [params.a, params.b, params.c, params.k].map((x) => normalized(x, normOrder)) as Four;
  const k = normOrder === 0 && unnormalizedFeedback === "b" ? div(params.k, countNonZero(params.k)) : normalK;
  const [B, L, D] = u.shape as [number, number, number];
  const columns = powersTimes(companionMatrix(a), b, L);
  const K = a.shape[0]!;
  const read = (map: Tensor): Tensor => {
    const kernel = einsum("K N L, K N -> K L", columns, map);
    const each = reshape(broadcastTo(expandDims(kernel, 1), [K, D / K, L]), [D, L]);
    return perPosition(reshape(fftConv({ u: transpose(u), k: each }), [B, K, D / K, L]));
  };
  return { y: read(c), nextInputs: read(k) };
}

type Four = [Tensor, Tensor, Tensor, Tensor];

/** [B L D] -> [B K D/K L]. */
function perKernel(u: Tensor, K: number): Tensor {
  const [B, L, D] = u.shape as [number, number, number];
  if (D % K !== 0)
    throw new RangeError(`closedLoop: expected a number of channels that the ${K} models divide, got ${D}`);
  return reshape(transpose(u), [B, K, D / K, L]);
}

/** [B K R T] -> [B T K R]. */
function perPosition(y: Tensor): Tensor {
  const [B, K, R, T] = y.shape as [number, number, number, number];
  return transpose(reshape(y, [B, K * R, T]));
}

/** The norm of order 0 of each row [K 1]. */
const countNonZero = (x: Tensor): Tensor => sum(cast(greater(abs(x), 0), "f32"), 1, { keepDims: true });
