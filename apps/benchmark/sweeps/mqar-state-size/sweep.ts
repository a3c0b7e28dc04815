import { atLeast, cellNamed, defineSweep, rising } from "@seqmix/benchmark";

const sizes = [4, 8, 16, 32];
const bySize = (mixer: string, setting: string, more = {}) =>
  sizes.map((size) => ({
    mixer,
    name: `${mixer}, ${setting}=${size}`,
    series: mixer,
    settings: { [setting]: size, ...more },
  }));
const names = (mixer: string, setting: string) => sizes.map((size) => `${mixer}, ${setting}=${size}`);

export const sweep = defineSweep({
  question: "How much can a state of so many bytes recall?",
  task: "mqar",
  mixers: [
    ...bySize("mamba", "dState"),
    ...bySize("mamba2", "dState", { headDim: 16 }),
    ...bySize("linear-attention", "dKey"),
    "transformer",
  ],
  baseline: { vocabSize: 128, L: 64, pairs: 8, steps: 2000, batch: 32, dModel: 32 },
  rates: [3e-3, 1e-2],
  seeds: [0, 1, 2],
  scales: {
    smoke: {
      mixers: [...bySize("mamba", "dState").slice(0, 1), "transformer"],
      baseline: { steps: 4, warmup: 1 },
      seeds: [0],
    },
  },
  expected: {
    claim:
      "Recall of models with a state of a fixed size rises with that size; attention, whose state grows, solves the task.",
    source:
      "Arora et al., Simple linear attention language models balance the recall-throughput tradeoff, 2024, Figure 2; Zoology, 2023",
    check: (cells) => [
      rising(names("mamba", "dState").map((name) => cellNamed(cells, name))),
      rising(names("mamba2", "dState").map((name) => cellNamed(cells, name))),
      rising(names("linear-attention", "dKey").map((name) => cellNamed(cells, name))),
      atLeast(cellNamed(cells, "transformer"), 0.99),
    ],
  },
  plots: [{ title: "Recall against memory", x: "stateBytes", log: true }],
});
