/** Where the eigenvalues of the linear recurrent unit start (Orvieto et al., Resurrecting Recurrent Neural Networks for Long Sequences, 2023, section 3.3). */
import {
  assertNumber,
  assertSettings,
  exp,
  expm1,
  foldIn,
  log,
  maximum,
  mul,
  neg,
  uniform,
  type Key,
  type Tensor,
} from "@seqmix/tensor";

/** Settings of {@link lruRing}. */
export interface LruRing {
  /** Least size of an eigenvalue, 0 .. 1. */
  readonly rMin: number;
  /** Largest size, above `rMin` and at most 1. */
  readonly rMax: number;
  /** Phases are uniform in 0 .. maxPhase (radians). */
  readonly maxPhase: number;
}

/** lambda = exp(-exp(nu_log) + i exp(theta_log)), and the logarithm of an input's scale. */
export interface LruEigenvalues {
  /** [N]. */
  readonly nu_log: Tensor;
  /** [N]. */
  readonly theta_log: Tensor;
  /** log sqrt(1 - |lambda|^2) [N]: with it a state has the variance of its input. */
  readonly gamma_log: Tensor;
}

/** N eigenvalues, uniform on the ring rMin <= |lambda| <= rMax. @throws RangeError if that is no ring within the unit disc. */
export function lruRing(ring: LruRing, N: number, key: Key): LruEigenvalues {
  assertSettings("lruRing", ring, ["rMin", "rMax", "maxPhase"]);
  const { rMin, rMax, maxPhase } = ring;
  assertNumber("lruRing", "N", N, { from: 1, whole: true });
  assertNumber("lruRing", "maxPhase", maxPhase, { above: 0 });
  if (!(rMin >= 0 && rMin < rMax && rMax <= 1))
    throw new RangeError(`lruRing: expected 0 <= rMin < rMax <= 1, got rMin ${rMin} and rMax ${rMax}`);
  // |lambda|^2 is uniform; the bounds keep both logarithms finite.
  const area = uniform(foldIn(key, "nu_log"), [N], rMin ** 2, Math.min(rMax ** 2, 1 - 2 ** -20));
  const nu_log = log(mul(-0.5, log(maximum(area, 2 ** -24))));
  return {
    nu_log,
    theta_log: log(mul(maxPhase, maximum(uniform(foldIn(key, "theta_log"), [N]), 2 ** -24))),
    // log sqrt(1 - e^(-2 nu)).
    gamma_log: mul(0.5, log(neg(expm1(mul(-2, exp(nu_log)))))),
  };
}
