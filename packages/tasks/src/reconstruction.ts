import { defineTask } from "./define-task.js";
import { generatedTask } from "./generated-task.js";
import { whiteSignal } from "./white-signal.js";

/** Settings of {@link reconstruction}. */
export type ReconstructionConfig = {
  /** Positions of a signal. */
  readonly L: number;
  /** Positions to reconstruct, the last of the signal; at most L. */
  readonly memory: number;
  /** Seconds between two positions. */
  readonly dt: number;
  /** Highest frequency of the signal, in 1/s; at most 1 / (2 dt). */
  readonly frequency: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * Reconstruction: after the last position, say the last `memory` values of the signal, all at once.
 *
 * Source: `ReconstructTrainDataset` of the S4 code base.
 */
export const reconstruction = defineTask<ReconstructionConfig>({
  id: "reconstruction",
  family: "memory",
  summary: "say the last stretch of a band-limited signal, all of it at once, from the state at its end",
  defaults: { L: 1000, memory: 250, dt: 1e-3, frequency: 100, evaluationSequences: 256 },
  limits: { dt: { least: 0, real: true }, frequency: { least: 0, real: true } },
  training: { steps: 600, batch: 16, lr: 3e-3, warmup: 30, clip: 1, weightDecay: 0 },
  network: { pooling: "last" },
  scales: {
    smoke: { L: 60, memory: 15, steps: 30, warmup: 3, evaluationSequences: 32 },
    paper: { L: 4000, memory: 1000, dModel: 256, steps: 5120, batch: 64, lr: 1e-3, evaluationSequences: 1024 },
  },
  make(config) {
    const { L, memory, dt, frequency } = config;
    if (memory > L)
      throw new RangeError(
        `reconstruction: expected a memory of at most L=${L}, got ${memory}; lower memory or raise L`,
      );
    return generatedTask({
      id: "reconstruction",
      config,
      input: { channels: 1 },
      output: { numbers: memory },
      answers: 1,
      length: L,
      metric: "nmse",
      chance: 1,
      example(random, { inputs, targets, mask }) {
        inputs.set(whiteSignal(random, { length: L, dt, frequency, rms: 0.5 }));
        targets.set(inputs.subarray(L - memory));
        mask.fill(1);
      },
    });
  },
  definition:
    "The input is white noise of frequencies up to a limit, root mean square 0.5, shifted to start at 0. At the end the last `memory` values are due, all at once.",
  tests: "Whether the state at the end holds the window as a whole, as HiPPO's projections on polynomials do.",
  source: "`ReconstructTrainDataset` of the S4 code base: L 4000, window 1000, dt 0.001, frequency 100.",
});
