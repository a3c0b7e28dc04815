import { defineSweep } from "@seqmix/benchmark";

export const sweep = defineSweep({
  question: "How do all mixers do on the same small tasks, with as many parameters each?",
  task: [
    { task: "selective-copying", settings: { dataTokens: 8, L: 40 } },
    { task: "adding", settings: { L: 100 } },
    { task: "delay", settings: { L: 200, lag: 50, dt: 0.005, frequency: 20 } },
  ],
  mixers: [
    "mamba",
    { mixer: "mamba2", settings: { dState: 16, headDim: 16 } },
    "s4d",
    "s4",
    "s5",
    "lru",
    "gateloop",
    "simple-gateloop",
    "rwkv4",
    "gru",
    "lstm",
    "minGru",
    "minLstm",
    "lmu",
    "transformer",
    "linear-attention",
    "retnet",
    "gla",
    "h3",
    { mixer: "hyena", settings: { lMax: 256, filterOrder: 16 } },
  ],
  match: "parameters",
  baseline: { steps: 500, batch: 16, dModel: 32 },
  rates: [5e-3],
  seeds: [0, 1, 2],
  scales: {
    smoke: {
      task: [
        { task: "selective-copying", settings: { L: 8, dataTokens: 2 } },
        { task: "adding", settings: { L: 8 } },
      ],
      mixers: ["mamba", "transformer"],
      baseline: { steps: 4, warmup: 1, dModel: 8, nLayers: 1, evaluationSequences: 16 },
      seeds: [0],
    },
  },
});
