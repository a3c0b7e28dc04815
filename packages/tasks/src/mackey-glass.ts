import { defineTask, laptopBudget } from "./define-task.js";
import { signalTask } from "./signal-task.js";
import type { HostRandom } from "./host-random.js";

/** Settings of {@link mackeyGlass}. */
export type MackeyGlassConfig = {
  /** Positions of a series. */
  readonly L: number;
  /** Delay of the equation, in units of time. */
  readonly tau: number;
  /** Positions ahead of which the value is due. */
  readonly ahead: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/** Steps of the integration in a unit of time, and units before the series begins. */
const STEPS = 10;
const WASHOUT = 100;

/**
 * The Mackey-Glass equation: say the value of a chaotic series some units of time ahead.
 *
 *     dx/dt = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x(t)
 *
 * Euler steps of a tenth, read once a unit; the history of a series is 1.2 plus 0.2 (u - 1/2) with u uniform, one a step. The
 * input is tanh(x - 1).
 *
 * Source: the `MackeyGlass` data of the S4 code base, after Mantas Lukoševičius' and the Legendre Memory Unit's examples
 * (Voelker, Kajić and Eliasmith, Legendre Memory Units, 2019).
 */
export const mackeyGlass = defineTask<MackeyGlassConfig>({
  id: "mackey-glass",
  family: "series",
  summary: "say the value of a chaotic series 15 steps ahead",
  defaults: { L: 500, tau: 17, ahead: 15, evaluationSequences: 64 },
  training: { ...laptopBudget, steps: 600, batch: 16, lr: 3e-3, weightDecay: 0 },
  scales: {
    smoke: { L: 60, ahead: 5, steps: 30, warmup: 3, batch: 8, evaluationSequences: 16 },
    paper: { L: 5000, steps: 3000, batch: 32 },
  },
  make(config) {
    const { L, tau, ahead } = config;
    return signalTask("mackey-glass", config, (random) => {
      const series = mackeyGlassSeries(random, L + ahead, tau);
      return { inputs: series.subarray(0, L), targets: series.subarray(ahead) };
    });
  },
  definition:
    "A series of the Mackey-Glass equation with delay tau = 17, where it is mildly chaotic, each from a random history. At every position the value 15 units of time ahead is due.",
  tests: "Nonlinear prediction that needs a window of the past: the next values depend on those of 17 units before.",
  source:
    "Mackey and Glass, Oscillation and Chaos in Physiological Control Systems (1977); Voelker, Kajić and Eliasmith, Legendre Memory Units (2019), section 4.3; `MackeyGlass` of the S4 code base: length 5,000, 15 ahead, 1,024 series.",
});

function mackeyGlassSeries(random: HostRandom, length: number, tau: number): Float64Array {
  // The last `tau` units, as a ring.
  const history = Float64Array.from({ length: tau * STEPS }, () => 1.2 + 0.2 * (random.uniform() - 0.5));
  const series = new Float64Array(length);
  let x = 1.2;
  for (let step = 0; step < (WASHOUT + length) * STEPS; step++) {
    const place = step % history.length;
    const delayed = history[place]!;
    history[place] = x;
    x += ((0.2 * delayed) / (1 + tenthPower(delayed)) - 0.1 * x) / STEPS;
    const unit = Math.floor(step / STEPS) - WASHOUT;
    if (unit >= 0 && step % STEPS === STEPS - 1) series[unit] = squashed(x - 1);
  }
  return series;
}

/** By products: `**` may differ in its last bits between engines, and chaos would make it more. */
function tenthPower(x: number): number {
  const square = x * x;
  const fourth = square * square;
  return fourth * fourth * square;
}

/** tanh by a continued fraction (Lambert), exact to 1e-9 within the series' range of -1 to 1/2. */
function squashed(x: number): number {
  const square = x * x;
  let denominator = 15;
  for (let k = 13; k >= 1; k -= 2) denominator = k + square / denominator;
  return x / denominator;
}
