/** Gradients in f16: the loss is multiplied so that they fit, and steps in which one did not are left out (Micikevicius et al., Mixed Precision Training, 2018). */
import {
  abs,
  add,
  assertSettings,
  div,
  less,
  mapTree,
  maximum,
  minimum,
  mul,
  tensor,
  where,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { globalNorm } from "./clipping.js";

/** How the scale of the loss moves. */
export interface LossScaling {
  /** To begin with; 65536 by default. */
  readonly scale?: number;
  /** Steps in a row without infinite gradients after which the scale is doubled; 2000 by default. */
  readonly interval?: number;
}

/** The scale and what it depends on; part of what further steps depend on. */
export type LossScalingState = {
  /** What the loss is multiplied by, a power of two if it began as one, f32 []. */
  readonly scale: Tensor;
  /** Steps in a row without infinite gradients, i32 []. */
  readonly streak: Tensor;
  /** Steps left out so far, i32 []. */
  readonly skipped: Tensor;
};

/** Bounds of the scale: beyond them nothing is gained. */
const [LEAST, MOST] = [1, 2 ** 24];

/** The state before the first step. @throws RangeError for a scale or interval that is not positive. */
export function initLossScaling(options: LossScaling = {}): LossScalingState {
  assertSettings("initLossScaling", options, ["scale", "interval"]);
  const { scale = 65536, interval = 2000 } = options;
  if (!(scale >= LEAST && scale <= MOST))
    throw new RangeError(`initLossScaling: expected a scale from ${LEAST} to ${MOST}, got ${scale}`);
  if (!(interval >= 1)) throw new RangeError(`initLossScaling: expected an interval of at least 1, got ${interval}`);
  const zero = (): Tensor => tensor(Int32Array.of(0), []);
  return { scale: tensor(Float32Array.of(scale), []), streak: zero(), skipped: zero() };
}

/**
 * Gradients of the loss itself, from those of the loss times the scale.
 * @returns The gradients, and whether all of them are finite, bool [].
 */
export function unscaled<P extends Tree>(gradients: P, { scale }: LossScalingState): readonly [P, Tensor] {
  const own = mapTree((g) => (g.dtype === "f32" ? div(g, scale) : g), gradients as Tree) as P;
  return [own, less(abs(globalNorm(own)), Infinity)];
}

/** The state after a step: halved scale and one more skipped where gradients were not finite, doubled after a long streak. */
export function nextLossScaling(
  { scale, streak, skipped }: LossScalingState,
  finite: Tensor,
  { interval = 2000 }: LossScaling = {},
): LossScalingState {
  const longer = add(streak, 1);
  const isLong = less(interval - 1, longer);
  const grown = where(isLong, minimum(mul(scale, 2), MOST), scale);
  return {
    scale: where(finite, grown, maximum(mul(scale, 0.5), LEAST)),
    streak: where(finite, where(isLong, 0, longer), 0),
    skipped: where(finite, skipped, add(skipped, 1)),
  };
}

/** The tree after a step that counts, else the one before. */
export const chosenTree = <T extends Tree>(counts: Tensor, after: T, before: T): T =>
  mapTree((x, _, y) => (x === y ? x : where(counts, x, y!)), after as Tree, before as Tree) as T;
