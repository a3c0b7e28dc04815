import { atLeast, cellNamed, defineSweep, rising } from "@seqmix/benchmark";

/** A mixer at three sizes of its state. */
const bySize = (mixer: string, setting: string, sizes: readonly number[], more = {}) =>
  sizes.map((size) => ({
    mixer,
    name: `${mixer}, ${setting}=${size}`,
    series: mixer,
    settings: { [setting]: size, ...more },
  }));
const mamba = bySize("mamba", "dState", [1, 4, 16]);
const mamba2 = bySize("mamba2", "dState", [1, 4, 16], { headDim: 16 });
const gla = bySize("gla", "expandK", [1 / 16, 1 / 4, 1]);
const attention = {
  mixer: "transformer",
  name: "transformer",
  settings: { positionEncoding: "absolute", maxLength: 256 },
};
export const sweep = defineSweep({
  question: "How much can a state of so many bytes recall?",
  task: "mqar",
  mixers: [...mamba, ...mamba2, ...gla, attention],
  baseline: { vocabSize: 64, L: 32, pairs: 8, steps: 5000, warmup: 500, batch: 128, dModel: 64 },
  rates: [2e-3, 5e-3],
  seeds: [0, 1, 2],
  scales: {
    smoke: {
      mixers: [mamba[0]!, attention],
      baseline: { steps: 4, warmup: 1, batch: 16 },
      rates: [2e-3],
      seeds: [0],
    },
  },
  expected: {
    claim:
      "Recall of models with a state of a fixed size rises with that size; attention, whose state grows, solves the task.",
    source:
      "Arora et al., Simple linear attention language models balance the recall-throughput tradeoff, 2024, Figure 2; Zoology, 2023",
    check: (cells) => [
      ...[mamba, mamba2, gla].map((sizes) => rising(sizes.map(({ name }) => cellNamed(cells, name)))),
      atLeast(cellNamed(cells, attention.name), 0.99),
    ],
  },
  published: [
    {
      row: attention.name,
      value: 1,
      source:
        "Arora et al., Zoology, 2023, Figure 2: attention of width 64 at every length, with a vocabulary of 8,192",
    },
  ],
  plots: [{ title: "Recall against memory", x: "stateBytes", log: true }],
});
