import { atLeast, cellNamed, defineSweep, higher } from "@seqmix/benchmark";

export const sweep = defineSweep({
  question: "Does a model remember within an episode, and forget at its end, when it is told where episodes begin?",
  task: "repeat-first",
  mixers: ["s5", "lru", "gru"],
  baseline: { decks: 4, L: 1040, steps: 800, batch: 8, dModel: 32 },
  changes: { resets: ["given", "hidden"] },
  combine: "grid",
  rates: [5e-3],
  seeds: [0, 1, 2],
  scales: {
    smoke: {
      mixers: ["s5"],
      baseline: { steps: 4, warmup: 1, decks: 1, L: 60, dModel: 8, nLayers: 1, evaluationSequences: 16, batch: 8 },
      rates: [5e-3],
      seeds: [0],
    },
  },
  expected: {
    claim:
      "A modification of the associative operator resets the hidden state within a trajectory, so that S5 handles episodes of varying length; S5 outperforms RNNs in POPGym's memory tasks.",
    source:
      "Lu, Schroecker, Gu, Parisotto, Foerster, Singh and Behbahani, Structured State Space Models for In-Context Reinforcement Learning, 2023, sections 3.1 and 5.1",
    check: (cells) => [
      atLeast(cellNamed(cells, "s5, resets=given"), 0.99),
      ...["s5", "lru"].map((name) =>
        higher(cellNamed(cells, `${name}, resets=given`), cellNamed(cells, `${name}, resets=hidden`)),
      ),
    ],
  },
});
