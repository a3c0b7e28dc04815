import { defineTask, laptopBudget } from "./define-task.js";
import { doubledLengths } from "./doubled-lengths.js";
import { generatedTask } from "./generated-task.js";
import type { Task } from "./task.js";

/** Settings of {@link parity}. */
export type ParityConfig = {
  /** Longest sequence of bits. */
  readonly L: number;
  /** Shortest sequence of bits; at most L. */
  readonly minLength: number;
  /** Where the parity of the bits so far is due: at the last one, or at every one. */
  readonly asked: "last" | "every";
  /** A trained model is also asked at longer sequences up to this length; 0: only at L. */
  readonly longest: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * Parity: is the number of ones even or odd?
 *
 *     inputs   1 0 1 1 0      tokens 1 + bit, 0 behind the end
 *     target           1      tokens 1 + parity
 *
 * Sequences have a uniform length from `minLength` to L; at L' > L they have from L + 1 to L' bits.
 *
 * Source: Grazzi et al., Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues, 2024.
 */
export const parity = defineTask<ParityConfig>({
  id: "parity",
  family: "state tracking",
  summary: "whether the number of ones is even or odd",
  defaults: { L: 40, minLength: 3, asked: "last", longest: 160, evaluationSequences: 1000 },
  limits: { longest: { least: 0 } },
  choices: { asked: ["last", "every"] },
  training: { ...laptopBudget, steps: 3000, batch: 64, lr: 3e-3 },
  scales: {
    smoke: { L: 8, minLength: 2, longest: 16, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: { longest: 256, steps: 20_000, batch: 256, lr: 1e-3, warmup: 2000, dModel: 128, weightDecay: 0.1 },
  },
  make: parityTask,
  definition:
    "A sequence of uniform bits; at its end the parity of their sum is due, or with `asked=every` at every position that of the bits so far.",
  tests:
    "The simplest state that never forgets: one bit, flipped by every 1. A linear recurrence needs an eigenvalue of -1 for it, so that models whose decays lie in [0, 1] cannot carry it to lengths they have not seen.",
  source:
    "Grazzi, Siems, Franke, Zela, Hutter and Pontil, Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues (2024): lengths 3 to 40 in training, 40 to 256 in testing. The score there is scaled: (accuracy - 1/2) / (1/2).",
  symbols: () => [" ", "0", "1"],
});

function parityTask(config: ParityConfig): Task<ParityConfig> {
  const { L, minLength, asked } = config;
  if (minLength > L)
    throw new RangeError(`parity: expected minLength of at most L=${L}, got ${minLength}; lower minLength or raise L`);
  const beyond = doubledLengths(config, (longer) => parityTask({ ...longer, minLength: L + 1 }));
  return {
    ...generatedTask({
      id: "parity",
      config,
      input: { vocabSize: 3 },
      output: { classes: 3 },
      answers: "positions",
      length: L,
      metric: "accuracy",
      chance: 1 / 2,
      example(random, { inputs, targets, mask }) {
        const length = minLength + random.integer(L - minLength + 1);
        let sum = 0;
        for (let t = 0; t < length; t++) {
          const bit = random.integer(2);
          sum = (sum + bit) % 2;
          inputs[t] = 1 + bit;
          if (asked === "last" && t < length - 1) continue;
          targets[t] = 1 + sum;
          mask[t] = 1;
        }
      },
    }),
    ...(beyond && { beyond }),
  };
}
