import { defineTask } from "./define-task.js";
import { signalTask } from "./signal-task.js";
import { whiteSignal } from "./white-signal.js";

/** Settings of {@link delay}. */
export type DelayConfig = {
  /** Positions of a signal. */
  readonly L: number;
  /** Positions by which the answer lags; below L. */
  readonly lag: number;
  /** Seconds between two positions. */
  readonly dt: number;
  /** Highest frequency of the signal, in 1/s; at most 1 / (2 dt). */
  readonly frequency: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * Continuous delay: at every position say the signal of `lag` positions before.
 *
 * The signal is band-limited white noise, 0 at first; the answer is 0 for the first `lag` positions.
 *
 * Source: `DelayTrainDataset` of the S4 code base; Gu et al., How to Train Your HiPPO, 2022.
 */
export const delay = defineTask<DelayConfig>({
  id: "delay",
  family: "memory",
  summary: "repeat a band-limited signal with a lag: the capacity of a memory",
  defaults: { L: 1000, lag: 250, dt: 1e-3, frequency: 100, evaluationSequences: 256 },
  limits: { dt: { least: 0, real: true }, frequency: { least: 0, real: true } },
  training: { steps: 600, batch: 16, lr: 3e-3, warmup: 30, clip: 1, weightDecay: 0 },
  scales: {
    smoke: { L: 60, lag: 15, steps: 30, warmup: 3, evaluationSequences: 32 },
    paper: {
      L: 4000,
      lag: 1000,
      dt: 2.5e-4,
      frequency: 1000,
      steps: 5120,
      batch: 64,
      lr: 1e-3,
      evaluationSequences: 1024,
    },
  },
  make(config) {
    const { L, lag, dt, frequency } = config;
    if (lag >= L) throw new RangeError(`delay: expected a lag below L=${L}, got ${lag}; lower lag or raise L`);
    return signalTask("delay", config, (random) => {
      const inputs = Float32Array.from(whiteSignal(random, { length: L, dt, frequency, rms: 0.5 }));
      const targets = new Float32Array(L);
      targets.set(inputs.subarray(0, L - lag), lag);
      return { inputs, targets };
    });
  },
  definition:
    "The input is white noise of frequencies up to a limit, root mean square 0.5, shifted to start at 0. At every position the value of `lag` positions before is due, and 0 before there is one.",
  tests:
    "How much of the recent past a state holds, and how exactly: 2 · frequency · lag · dt numbers say everything about the window that has to be remembered. Linear time-invariant models suffice.",
  source:
    "`DelayTrainDataset` of the S4 code base; Gu, Johnson, Timalsina, Rudra and Ré, How to Train Your HiPPO (2022): L 4000, lag 1000, dt 0.00025, frequency 1000. The metric there is the root mean squared error.",
});
