import { atLeast, atMost, cellNamed, defineSweep } from "@seqmix/benchmark";

export const sweep = defineSweep({
  question: "Which recurrences can follow a state that changes with every token?",
  task: ["parity", "group-word"],
  mixers: [
    "mamba",
    { mixer: "simple-gateloop", name: "gateloop, real in [0, 1]" },
    { mixer: "gateloop", name: "gateloop, complex" },
    "gru",
    "rnn",
    "transformer",
  ],
  baseline: { steps: 1500, batch: 32, dModel: 32, evaluationSequences: 256 },
  rates: [3e-3, 1e-2],
  seeds: [0, 1, 2],
  scales: { smoke: { mixers: ["mamba", "gru"], baseline: { steps: 4, warmup: 1 }, rates: [3e-3], seeds: [0] } },
  expected: {
    claim:
      "Linear recurrences whose eigenvalues lie in [0, 1] do not solve parity at lengths they have not seen; those that may be negative or complex can, and nonlinear recurrences do.",
    source:
      "Grazzi et al., Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues, 2024, Theorem 1 and Table 2",
    check: (cells) => [
      atMost(cellNamed(cells, "mamba", "parity"), 0.65, { beyond: "L=80" }),
      atMost(cellNamed(cells, "gateloop, real in [0, 1]", "parity"), 0.65, { beyond: "L=80" }),
      atLeast(cellNamed(cells, "gateloop, complex", "parity"), 0.95, { beyond: "L=80" }),
      atLeast(cellNamed(cells, "gru", "parity"), 0.95, { beyond: "L=80" }),
    ],
  },
  plots: [{ title: "Accuracy against length", x: "length", log: true }],
});
