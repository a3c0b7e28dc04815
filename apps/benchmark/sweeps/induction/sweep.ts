import { atLeast, atMost, cellNamed, defineSweep } from "@seqmix/benchmark";

/** Accuracies at 4 and 64 times the training length, which is 256 there. */
const published = (row: string, fourfold: number, sixtyfourfold: number) =>
  [
    ["L=256", fourfold],
    ["L=4096", sixtyfourfold],
  ].map(([beyond, value]) => ({
    row,
    beyond: String(beyond),
    value: Number(value),
    source: "Gu and Dao, Mamba, 2023, Table 11, at as many times the training length, which is 256 there",
  }));

export const sweep = defineSweep({
  question: "Does what was learned at one length carry to lengths never trained on?",
  task: "induction",
  mixers: [
    "mamba",
    { mixer: "mamba2", settings: { dState: 16, headDim: 16 } },
    { mixer: "transformer", name: "transformer, RoPE" },
    { mixer: "transformer", name: "transformer, ALiBi", settings: { positionEncoding: "alibi" } },
    "h3",
    { mixer: "s4d", settings: { dState: 16 } },
  ],
  match: "parameters",
  baseline: { L: 64, longest: 4096, evaluationSequences: 128, steps: 2500, batch: 64 },
  rates: [2e-3],
  seeds: [0, 1, 2],
  scales: {
    smoke: {
      mixers: ["mamba", { mixer: "transformer", name: "transformer, RoPE" }],
      baseline: { steps: 4, warmup: 1, batch: 16 },
      seeds: [0],
    },
    paper: { rates: [2e-4, 1e-3] },
  },
  expected: {
    claim:
      "Mamba generalizes perfectly to million-length sequences, 4000x longer than it saw during training; no other method goes beyond 2x.",
    source: "Gu and Dao, Mamba, 2023, section 4.1.2 and Table 11",
    check: (cells) => [
      atLeast(cellNamed(cells, "mamba"), 0.95),
      atLeast(cellNamed(cells, "transformer, RoPE"), 0.95),
      atLeast(cellNamed(cells, "mamba"), 0.95, { beyond: "L=1024" }),
      atLeast(cellNamed(cells, "mamba"), 0.95, { beyond: "L=4096" }),
      atMost(cellNamed(cells, "transformer, RoPE"), 0.8, { beyond: "L=256" }),
      atMost(cellNamed(cells, "h3"), 0.8, { beyond: "L=256" }),
    ],
  },
  published: [
    ...published("mamba", 1, 1),
    ...published("transformer, RoPE", 0.313, 0.055),
    ...published("h3", 0.395, 0.059),
  ],
  plots: [{ title: "Accuracy against length", x: "length", log: true }],
});
