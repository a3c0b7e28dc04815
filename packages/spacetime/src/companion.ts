/** What companion models of SpaceTime add to {@link companionSystem}: the norm of the last column, and one model for several channels. */
import { companionKernel, companionSystem, type LtiSystem } from "@seqmix/lti";
import {
  abs,
  assertSettings,
  broadcastTo,
  div,
  exp,
  expandDims,
  greater,
  log,
  mean,
  mul,
  power,
  reshape,
  sqrt,
  square,
  sum,
  where,
  type Tensor,
} from "@seqmix/tensor";

/** K discrete models with companion matrices: entries move one place down, and the last is fed back with the weights `a`. */
export interface CompanionModels {
  /** Last columns [K N]; none: shifts, whose output maps are filters of N taps behind b. */
  readonly a?: Tensor | undefined;
  /** Input maps [K N]. */
  readonly b: Tensor;
  /** Output maps [K N]. */
  readonly c: Tensor;
}

/**
 * Each model for D/K channels that follow each other, as one system of D channels. Kernels are made once a model.
 * @throws RangeError if K does not divide D.
 */
export function sharedCompanion(models: CompanionModels, D: number): LtiSystem<Tensor> {
  assertSettings("sharedCompanion", models, { a: "tensor?", b: "tensor", c: "tensor" });
  const { a, b, c } = models;
  const K = c.shape[0]!;
  if (D % K !== 0) throw new RangeError(`spacetime: expected models that divide the ${D} channels, got ${K}`);
  const each = (x: Tensor): Tensor => reshape(broadcastTo(expandDims(x, 1), [K, D / K, x.shape[1]!]), [D, x.shape[1]!]);
  const system = companionSystem({ a: a && each(a), b: each(b), c: expandDims(each(c), 0) });
  if (K === D) return system;
  const kernel = (L: number): Tensor =>
    expandDims(each(reshape(companionKernel({ a, b, c: expandDims(c, 0) }, L), [K, L])), 0);
  return { ...system, kernel };
}

/**
 * x / ||x||_order for every row of x [K N]: with order 1 no tap of a model grows beyond what b and c allow.
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
