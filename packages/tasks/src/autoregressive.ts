import { defineTask, laptopBudget } from "./define-task.js";
import { signalTask } from "./signal-task.js";
import { cosine } from "./fourier.js";
import type { HostRandom } from "./host-random.js";

/** Settings of {@link autoregressive}. */
export type AutoregressiveConfig = {
  /** p, the order: roots of the characteristic polynomial. */
  readonly order: number;
  /** Largest modulus of a root, below 1. */
  readonly radius: number;
  /** Whether every series has coefficients of its own; else all have the same. */
  readonly fresh: boolean;
  /** Positions of a series. */
  readonly L: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/** Positions before a series begins, so that it has forgotten its start. */
const WASHOUT = 200;

/**
 * Autoregressive series of order p: say the next value.
 *
 *     x_t = a_1 x_(t-1) + .. + a_p x_(t-p) + noise
 *
 * The roots are complex pairs r exp(±2πiθ) with r uniform in [radius/2, radius] and θ in [0, 1/2), and for odd p one real root
 * in [-radius, radius]. Values are divided by their deviation in the series, in which the noise is the least error there is.
 */
export const autoregressive = defineTask<AutoregressiveConfig>({
  id: "autoregressive",
  family: "series",
  summary: "say the next value of a linear autoregressive series with random roots",
  defaults: { order: 4, radius: 0.95, fresh: false, L: 200, evaluationSequences: 200 },
  limits: { radius: { least: 0.01, most: 0.999, real: true } },
  training: { ...laptopBudget, steps: 600, batch: 16, lr: 3e-3, weightDecay: 0 },
  scales: { smoke: { order: 2, L: 40, steps: 30, warmup: 3, batch: 8, evaluationSequences: 16 } },
  make(config) {
    const { order, radius, fresh, L } = config;
    const shared = coefficientsOf(constantRandom(), order, radius);
    return signalTask("autoregressive", config, (random) => {
      const series = seriesOf(random, fresh ? coefficientsOf(random, order, radius) : shared, L + 1);
      return { inputs: series.subarray(0, L), targets: series.subarray(1) };
    });
  },
  definition:
    "x_t is a sum of the p values before, with coefficients whose characteristic roots are random and inside the unit circle, and normal noise; at every position the next value is due. With `fresh` every series has its own coefficients, which a model must find from the series itself.",
  tests:
    "Linear prediction: companion matrices (SpaceTime) express it exactly. With `fresh` it is least squares in context.",
  source:
    "Synthetic AR(p) series as in Zhang, Saab, Poli, Dao, Goel and Ré, Effectively Modeling Time Series with Simple Discrete State Spaces (2023), section 3; the distribution of the roots is this package's.",
});

/** Numbers that are the same for every task of an order. */
function constantRandom(): Pick<HostRandom, "uniform"> {
  // The multiples of the golden ratio spread evenly.
  let n = 0;
  return { uniform: () => (++n * 0.6180339887498949) % 1 };
}

/** a_1 .. a_p of a polynomial with random roots. */
function coefficientsOf(random: Pick<HostRandom, "uniform">, order: number, radius: number): Float64Array {
  let polynomial = [1];
  for (let k = 0; k + 1 < order; k += 2) {
    const r = radius * (0.5 + 0.5 * random.uniform());
    polynomial = product(polynomial, [1, -2 * r * cosine(random.uniform() / 2), r * r]);
  }
  if (order % 2 === 1) polynomial = product(polynomial, [1, -radius * (2 * random.uniform() - 1)]);
  return Float64Array.from(polynomial.slice(1), (value) => -value);
}

function product(a: readonly number[], b: readonly number[]): number[] {
  const all = new Array<number>(a.length + b.length - 1).fill(0);
  a.forEach((x, i) => b.forEach((y, j) => (all[i + j]! += x * y)));
  return all;
}

function seriesOf(random: HostRandom, coefficients: Float64Array, length: number): Float64Array {
  const all = new Float64Array(WASHOUT + length);
  for (let t = 0; t < all.length; t++) {
    all[t] = random.normal();
    for (let k = 0; k < coefficients.length && k < t; k++) all[t]! += coefficients[k]! * all[t - 1 - k]!;
  }
  const series = all.subarray(WASHOUT);
  const mean = series.reduce((sum, x) => sum + x, 0) / length;
  const deviation = Math.sqrt(series.reduce((sum, x) => sum + (x - mean) ** 2, 0) / length);
  return series.map((x) => x / deviation);
}
