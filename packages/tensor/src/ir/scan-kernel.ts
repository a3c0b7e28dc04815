/**
 * The scan IR: a diagonal linear recurrence together with what is computed into and out of it, so that the states
 * [B L D N] need not be stored.
 *
 * A {@link ScanKernel} runs, for every point of the axes of `extents` other than `along`,
 *
 *     h_t = decay_t h_(t-1) + drive_t              over the axis `along`, from `initial` (zero without it);
 *     g_t = conj(decay_(t+1)) g_(t+1) + seed_t     the other way, from zero, if there is an `adjoint`,
 *
 * in the order of t, or from the last t to the first with `reverse` (then t - 1 reads t + 1). Its `sums` are taken over
 * points of the loop, and each output stores one value for each point of the axes it keeps, row-major.
 * Indices in all expressions run over the axes of `extents`.
 */
import type { DType } from "../graph/dtype.js";
import type { Scalar } from "./loop.js";

/** A real value, or real and imaginary part of a complex one. */
export type ScanValue = readonly [re: Scalar] | readonly [re: Scalar, im: Scalar];

/** "each": every step; "first" and "last": one step in the order of the recurrence, so `along` is neither kept nor summed. */
export type ScanStep = "each" | "first" | "last";

/** A sum of `value` over the axes that are not kept. */
export interface ScanSum {
  /** May use `state` nodes, and `reduced` ones no more; that of a total the other way round. */
  readonly value: Scalar;
  /** Axes of `extents`, ascending. */
  readonly keeps: readonly number[];
  readonly step: ScanStep;
  /**
   * Makes it a *total*: a sum over the points of these axes alone, the recurrence's among them, at every step. The value may
   * use `reduced` nodes that name sums which keep just these axes: the gradient of a bias sums what another output holds.
   */
  readonly of?: readonly number[];
}

/** A result: shape `keeps.map((axis) => extents[axis])`. */
export interface ScanOutput {
  readonly dtype: DType;
  readonly keeps: readonly number[];
  readonly step: ScanStep;
  /**
   * May use `reduced` nodes that name sums of the same `keeps` and `step`. If it keeps all axes (all but `along` for a
   * single step) it may use `state` nodes directly.
   */
  readonly value: Scalar;
}

/** How often states are kept, and along which axis they are neighbours. */
export interface KeptStates {
  /** Steps from one to the next. */
  readonly every: number;
  /** The axis. */
  readonly lanes: number;
}

export interface ScanKernel {
  /** The axes of the loop, e.g. [B, L, D, N], outermost first. */
  readonly extents: readonly number[];
  /** Number of the recurrence's axis. */
  readonly along: number;
  readonly reverse: boolean;
  /** A decay of 0 forgets the state (and the adjoint) it would multiply, infinite or not: 0 times it is 0. */
  readonly forgets?: true;
  /** Element counts and types of the buffers read. */
  readonly inputs: readonly { readonly dtype: DType; readonly size: number }[];
  /** All of decay, drive, initial and seed are real, or all are complex. No `state` nodes in them. */
  readonly decay: ScanValue;
  readonly drive: ScanValue;
  /** The state before the first step; does not depend on `along`. */
  readonly initial?: ScanValue;
  /** The cotangent recurrence; `seed` is the cotangent of h_t from its uses at t. */
  readonly adjoint?: { readonly seed: ScanValue };
  /**
   * States before every `every`-th step, in an f32 buffer of the device's own order, `lanes` being neighbours in it: a kernel
   * without adjoint writes them, behind its outputs; the one with the adjoint of the same recurrence reads them, behind
   * its inputs.
   */
  readonly keptStates?: KeptStates;
  readonly sums: readonly ScanSum[];
  readonly outputs: readonly ScanOutput[];
}
