import { defineTask } from "./define-task.js";
import { generatedTask } from "./generated-task.js";

/** Settings of {@link adding}. */
export type AddingConfig = {
  /** Positions of a sequence; at least 2. */
  readonly L: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * The adding problem: a sequence of uniform numbers of which two are marked; their sum is due at the end.
 *
 *     number   .3 .8 .1 .5 .9 .2
 *     mark      0  1  0  0  0  1     target .8 + .2
 *
 * One mark lies in either half. A constant guess of 1 has a squared error of 1/6.
 *
 * Source: Hochreiter and Schmidhuber, Long Short-Term Memory, 1997, experiment 4, in the form of Arjovsky et al., Unitary
 * Evolution Recurrent Neural Networks, 2016, section 4.2; `torch_adding_data` of the S4 code base.
 */
export const adding = defineTask<AddingConfig>({
  id: "adding",
  family: "memory",
  summary: "add the two marked numbers of a long sequence",
  defaults: { L: 200, evaluationSequences: 1000 },
  limits: { L: { least: 2 } },
  training: { steps: 1000, batch: 32, lr: 3e-3, warmup: 50, clip: 1, weightDecay: 0 },
  network: { pooling: "last" },
  scales: {
    smoke: { L: 16, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: { L: 1000, steps: 14_000, batch: 50, evaluationSequences: 5000 },
  },
  make(config) {
    const { L } = config;
    return generatedTask({
      id: "adding",
      config,
      input: { channels: 2 },
      output: { numbers: 1 },
      answers: 1,
      length: L,
      metric: "nmse",
      chance: 1,
      example(random, { inputs, targets, mask }) {
        const middle = L >> 1;
        const marked = [random.integer(middle), middle + random.integer(L - middle)];
        for (let t = 0; t < L; t++) inputs[2 * t] = random.uniform();
        for (const t of marked) {
          inputs[2 * t + 1] = 1;
          targets[0]! += inputs[2 * t]!;
        }
        mask[0] = 1;
      },
    });
  },
  definition:
    "Two channels: numbers uniform in [0, 1), and marks, which are 1 at one random position of the first half and one of the second, else 0. At the end the sum of the two marked numbers is due.",
  tests:
    "Whether two numbers survive a long stretch of irrelevant ones. Vanilla recurrent networks stay at the level of a constant guess from a few hundred positions on.",
  source:
    "Hochreiter and Schmidhuber, Long Short-Term Memory (1997), experiment 4; Arjovsky, Shah and Bengio, Unitary Evolution Recurrent Neural Networks (2016), section 4.2; `torch_adding_data` of the S4 code base.",
  published: [
    {
      model: "constant guess of 1",
      value: "mean squared error 0.167",
      source: "Arjovsky et al. (2016), section 4.2",
    },
  ],
});
