import { defineTask, laptopBudget } from "./define-task.js";
import { doubledLengths } from "./doubled-lengths.js";
import { generatedTask } from "./generated-task.js";
import { finiteGroup } from "./finite-group.js";
import type { Task } from "./task.js";

/** Settings of {@link groupWord}. */
export type GroupWordConfig = {
  /** Zm, Sn, An, or a product of such, e.g. "A4xZ5". */
  readonly group: string;
  /** Elements of a word. */
  readonly L: number;
  /** A trained model is also asked at two, four, .. times the length up to this one; 0: only at L. */
  readonly longest: number;
  /** Training sequences in all; 0: always new ones. */
  readonly trainSequences: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * The word problem of a finite group: the product of the elements so far, at every position.
 *
 *     inputs   x_1  x_2      x_3
 *     targets  x_1  x_1 x_2  x_1 x_2 x_3
 *
 * Tokens are the elements, the identity first; all are uniform. Products of permutations apply the left factor first.
 *
 * Source: Merrill et al., The Illusion of State in State-Space Models, 2024 (`jopetty/word-problem`); settings of Siems et al.,
 * DeltaProduct, 2025.
 */
export const groupWord = defineTask<GroupWordConfig>({
  id: "group-word",
  family: "state tracking",
  summary: "the product of the elements of a finite group so far, at every position",
  defaults: { group: "S3", L: 32, longest: 128, trainSequences: 0, evaluationSequences: 500 },
  limits: { longest: { least: 0 }, trainSequences: { least: 0 } },
  training: { ...laptopBudget, steps: 3000, lr: 3e-3 },
  scales: {
    smoke: { L: 6, longest: 12, steps: 60, warmup: 5, evaluationSequences: 64 },
    paper: {
      L: 128,
      longest: 512,
      trainSequences: 100_000,
      steps: 4900,
      batch: 2048,
      lr: 1e-3,
      dModel: 128,
      nLayers: 1,
    },
  },
  make: groupWordTask,
  definition:
    "The tokens are the elements of a finite group (`Zm` cyclic, `Sn` permutations, `An` even permutations, products such as `A4xZ5`), all uniform; at every position the product of all elements so far is due.",
  tests:
    "State tracking. The word problems of A5 and S5 are complete for NC1, those of solvable groups such as Z60, S3 and S4 are in TC0. A layer of a linear recurrence with diagonal transitions tracks no group that does not commute; products of Householder reflections, with eigenvalues down to -1, do.",
  source:
    "Merrill, Petty and Sabharwal, The Illusion of State in State-Space Models (2024); Siems, Carstensen, Zela, Hutter, Pontil and Grazzi, DeltaProduct (2025): trained at 128, tested at 512, one layer of width 128.",
  published: [
    ["DeltaProduct, 1 reflection, eigenvalues in [-1, 1]", "S3 fails"],
    ["DeltaProduct, 2 reflections, eigenvalues in [-1, 1]", "S3 solved"],
    ["DeltaProduct, eigenvalues in [0, 1]", "S3 fails"],
  ].map(([model, value]) => ({
    model: model!,
    value: value!,
    setting: "one layer, trained at 128, tested at 512",
    source: "README of the DeltaProduct code base (2025)",
  })),
});

function groupWordTask(config: GroupWordConfig): Task<GroupWordConfig> {
  const { size, product } = finiteGroup(config.group);
  const beyond = doubledLengths(config, groupWordTask);
  return {
    ...generatedTask({
      id: "group-word",
      config,
      input: { vocabSize: size },
      output: { classes: size },
      answers: "positions",
      length: config.L,
      metric: "accuracy",
      chance: 1 / size,
      example(random, { inputs, targets, mask }) {
        let state = 0;
        for (let t = 0; t < config.L; t++) {
          inputs[t] = random.integer(size);
          targets[t] = state = product(state, inputs[t]!);
        }
        mask.fill(1);
      },
    }),
    ...(beyond && { beyond }),
  };
}
