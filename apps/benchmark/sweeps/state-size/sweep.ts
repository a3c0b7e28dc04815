import { cellNamed, defineSweep, lower, rising } from "@seqmix/benchmark";

const sizes = [1, 2, 4, 8, 16];
const sized = (size: number) => ({ mixer: "mamba", name: `N = ${size}`, series: "mamba", settings: { dState: size } });

export const sweep = defineSweep({
  question: "How much does a larger state help, when B and C depend on the input?",
  task: ["selective-copying", "moby-dick"],
  mixers: sizes.map(sized),
  baseline: { steps: 2000, batch: 32, dModel: 48 },
  rates: [5e-3],
  seeds: [0, 1, 2],
  scales: {
    smoke: {
      task: "selective-copying",
      mixers: [sized(1), sized(4)],
      baseline: { steps: 4, warmup: 1, dModel: 8, L: 8, dataTokens: 2, evaluationSequences: 16 },
      seeds: [0],
    },
  },
  expected: {
    claim:
      "With selective B and C, perplexity falls from 9.73 to 8.71 as the state grows from N = 1 to 16, for 1 % more parameters.",
    source: "Gu and Dao, Mamba, 2023, Table 10",
    check: (cells) => [
      rising(sizes.map((size) => cellNamed(cells, `N = ${size}`, "selective-copying"))),
      lower(cellNamed(cells, "N = 16", "moby-dick"), cellNamed(cells, "N = 1", "moby-dick")),
    ],
  },
  published: Object.entries({ "N = 1": 9.73, "N = 16": 8.71 }).map(([row, value]) => ({
    row,
    value,
    task: "moby-dick",
    of: "perplexity of language",
    source: "Gu and Dao, Mamba, 2023, Table 10: language models of 350M parameters, selective B and C",
  })),
  plots: [{ title: "Test result against memory", x: "stateBytes", log: true }],
});
