import { atLeast, cellNamed, defineSweep } from "@seqmix/benchmark";

const source = "Gu and Dao, Mamba, 2023, Table 11, after 204,800 steps of 8 sequences";

export const sweep = defineSweep({
  question: "Does Mamba, trained at 256 tokens, still find what it has to among a million?",
  task: "induction",
  mixers: ["mamba"],
  baseline: { L: 256, longest: 2 ** 20, evaluationSequences: 64, steps: 8000, batch: 64, warmup: 500, weightDecay: 0 },
  rates: [2e-3, 3e-3],
  seeds: [0, 1, 2],
  scales: {
    smoke: { baseline: { steps: 4, warmup: 1, batch: 16, dModel: 8, nLayers: 1 }, rates: [2e-3], seeds: [0] },
    paper: { rates: [1e-3] },
  },
  expected: {
    claim:
      "Mamba generalizes perfectly to million-length sequences, or 4000x longer than it saw during training, while no other method goes beyond 2x.",
    source: "Gu and Dao, Mamba, 2023, section 4.1.2 and Table 11",
    check: (cells) => {
      const mamba = cellNamed(cells, "mamba");
      return [
        atLeast(mamba, 0.99),
        ...[1024, 16_384, 2 ** 20].map((length) => atLeast(mamba, 0.95, { beyond: `L=${length}` })),
      ];
    },
  },
  published: ["L=1024", "L=16384", "L=1048576"].map((beyond) => ({ row: "mamba", value: 1, beyond, source })),
  plots: [{ title: "Accuracy against length", x: "length", log: true }],
});
