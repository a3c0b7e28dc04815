/** Forecasting by a companion model that feeds its own predictions of the next input back (SpaceTime paper, section 3.2). */
import { convolve, discreteDenseSystem, type DiscreteDense } from "@seqmix/lti";
import {
  abs,
  add,
  assertSettings,
  broadcastTo,
  cast,
  concat,
  div,
  einsum,
  equal,
  expandDims,
  greater,
  iota,
  reshape,
  split,
  stack,
  sum,
  transpose,
  type Tensor,
  type SettingRules,
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

/** What the conventions may be. @internal */
export const CONVENTIONS: SettingRules<ClosedLoopConventions> = {
  stateInput: ["raw", "normalized"],
  nextInput: ["raw", "normalized"],
  unnormalizedFeedback: ["b", "k"],
};
const OPTIONS: SettingRules<ClosedLoopOptions> = { ...CONVENTIONS, normOrder: { from: 0, whole: true } };

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
  assertSettings("closedLoop", options, OPTIONS);
  const { normOrder = 1, stateInput, nextInput, unnormalizedFeedback } = { ...CONSISTENT, ...options };
  if (!Number.isInteger(horizon) || horizon < 1)
    throw new RangeError(`closedLoop: expected a horizon of at least 1, got ${horizon}`);
  const [a, b, c, k] = [params.a, params.b, params.c, params.k].map((x) => normalized(x, normOrder)) as Four;
  const driving = stateInput === "raw" ? params.b : b;
  const x = sharedCompanion({ a, b: driving, c }, u.shape[2]!).finalState(transpose(u));
  const feedback = normOrder === 0 && unnormalizedFeedback === "b" ? params.b : k;
  const loop = add(companionMatrix(a), einsum("K M, K N -> K M N", b, feedback));
  const maps = stack([c, nextInput === "raw" ? params.k : k]);
  const [y, nextInputs] = rollOut({ Abar: loop, Bbar: b, C: maps }, x, horizon);
  return { y: y!, nextInputs: nextInputs! };
}

/**
 * C A^i x, i = 0 .. horizon - 1.
 * @param system K models with M outputs.
 * @param x States [B D N], the D/K channels of a model one after another.
 * @returns For each output [B horizon D].
 */
function rollOut(system: DiscreteDense, x: Tensor, horizon: number): readonly Tensor[] {
  const [M, K, N] = system.C.shape as [number, number, number];
  const [B, D] = x.shape as [number, number];
  const R = D / K;
  // The channels of a model go with the batch.
  const states = reshape(transpose(reshape(x, [B, K, R, N]), [0, 2, 1, 3]), [B * R, K, N]);
  const now = expandDims(einsum("X K N, M K N -> X M K", states, system.C), 3);
  const later = discreteDenseSystem(system).response(states, horizon - 1);
  const all = reshape(concat([now, later], 3), [B, R, M, K, horizon]);
  return split(
    all,
    Array.from({ length: M }, () => 1),
    2,
  ).map((y) => reshape(transpose(y, [0, 4, 2, 3, 1]), [B, horizon, D]));
}

/** Outputs and predicted inputs at every position of u [B L D], each from the inputs up to it, by convolution. */
export function openLoop(params: ClosedLoopParameters, u: Tensor, options: ClosedLoopOptions = {}): LoopResult {
  assertSettings("openLoop", options, OPTIONS);
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

/** The norm of order 0 of each row [K 1]. */
const countNonZero = (x: Tensor): Tensor => sum(cast(greater(abs(x), 0), "f32"), 1, { keepDims: true });
