import { defineSweep } from "@seqmix/benchmark";

/** In S4's block without a gate, in H3's, in Mamba's. */
const copying = { mamba: 0.998, s4: 0.183, h3: 0.57, hyena: 0.301 };

export const sweep = defineSweep({
  question: "How do all mixers do on the same small tasks, with as many parameters each?",
  task: [
    { task: "selective-copying", settings: { dataTokens: 4, L: 20, batch: 32, steps: 1000 } },
    { task: "induction", settings: { L: 32, longest: 256, batch: 32, steps: 1500, evaluationSequences: 128 } },
    { task: "parity", settings: { asked: "every", longest: 160, batch: 32, steps: 1000, evaluationSequences: 256 } },
    { task: "delay", settings: { L: 100, lag: 25, dt: 0.01, frequency: 10, steps: 300 } },
    { task: "moby-dick", settings: { L: 128, steps: 400, batch: 16 } },
  ],
  mixers: [
    "mamba",
    { mixer: "mamba2", settings: { dState: 16, headDim: 16 } },
    { mixer: "lssl", settings: { dState: 16 } },
    { mixer: "hippoRnn", settings: { memoryOrder: 16 } },
    { mixer: "hyena", settings: { lMax: 256, filterOrder: 16 } },
    "*",
  ],
  match: "parameters",
  baseline: { dModel: 32 },
  rates: [2e-3, 1e-2],
  seeds: [0, 1, 2],
  published: Object.entries(copying).map(([row, value]) => ({
    row,
    value,
    task: "selective-copying",
    source: "Gu and Dao, Mamba, 2023, Table 1 (16 data tokens among 4,096, 2 layers, dModel 64, 400,000 steps)",
  })),
  scales: {
    smoke: {
      task: [
        { task: "selective-copying", settings: { L: 8, dataTokens: 2 } },
        { task: "adding", settings: { L: 8 } },
      ],
      mixers: ["mamba", "transformer"],
      baseline: { steps: 4, warmup: 1, dModel: 8, nLayers: 1, evaluationSequences: 16 },
      rates: [5e-3],
      seeds: [0],
    },
  },
});
