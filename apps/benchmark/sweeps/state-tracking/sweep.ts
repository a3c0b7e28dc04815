import { atLeast, atMost, cellNamed, defineSweep, higher } from "@seqmix/benchmark";

const simple = (allowNegEigval: boolean) => ({
  mixer: "simple-gateloop",
  name: `gateloop, real in [${allowNegEigval ? -1 : 0}, 1]`,
  settings: { allowNegEigval },
});
const unit = simple(false);
const signed = simple(true);
const complex = { mixer: "gateloop", name: "gateloop, complex" };

export const sweep = defineSweep({
  question: "Which recurrences can follow a state that changes with every token?",
  task: [
    { task: "parity", settings: { asked: "every", longest: 640, evaluationSequences: 256 } },
    { task: "group-word", settings: { longest: 512, evaluationSequences: 256 } },
  ],
  mixers: ["mamba", unit, signed, complex, "gru", "transformer"],
  // Without weight decay and at a high rate: transitions have to come to exactly 1 in size, which a decay pulls them away from.
  baseline: { steps: 2000, batch: 32, dModel: 32, weightDecay: 0 },
  rates: [2e-2, 3e-3],
  seeds: [0, 1, 2],
  scales: {
    smoke: {
      mixers: [unit, signed],
      baseline: { steps: 4, warmup: 1, dModel: 8, nLayers: 1, evaluationSequences: 16 },
      rates: [3e-3],
      seeds: [0],
    },
  },
  expected: {
    claim:
      "Finite-precision linear RNNs with state-transition matrices having only positive eigenvalues cannot solve parity at arbitrary lengths; those whose eigenvalues may be negative or complex can, and nonlinear recurrences do. One layer with a diagonal matrix follows no group that does not commute; here are two.",
    source:
      "Grazzi et al., Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues, 2024, Theorem 1; Merrill et al., The Illusion of State in State-Space Models, 2024, for the group S3",
    check: (cells) => {
      const at160 = { beyond: "L=160" };
      const at640 = { beyond: "L=640" };
      const at512 = { beyond: "L=512" };
      const parity = (name: string) => cellNamed(cells, name, "parity");
      const group = (name: string) => cellNamed(cells, name, "group-word");
      const tracking = [signed.name, complex.name, "gru"];
      return [
        ...tracking.map((name) => atLeast(parity(name), 0.99)),
        ...["mamba", unit.name, "transformer"].map((name) => atMost(parity(name), 0.65, at160)),
        ...[signed.name, complex.name].map((name) => higher(parity(name), parity(unit.name), at160)),
        ...tracking.map((name) => atLeast(parity(name), 0.95, at640)),
        ...["mamba", unit.name, signed.name, complex.name, "transformer"].map((name) =>
          atMost(group(name), 0.6, at512),
        ),
        atLeast(group("gru"), 0.95, at512),
      ];
    },
  },
  plots: [{ title: "Accuracy against length", x: "length", log: true }],
});
