import { atLeast, atMost, cellNamed, defineSweep } from "@seqmix/benchmark";

const source =
  "Gu and Dao, Mamba, 2023, Table 1 (L 4096, 16 data tokens, 2 layers, dModel 64, 400,000 steps; LTI models in the Mamba architecture)";

const s4d = (name: string, more: { readonly init?: string }) => ({
  mixer: "s4d",
  name,
  settings: { ...more, dState: 16 },
});

export const sweep = defineSweep({
  question: "Does remembering some tokens and forgetting others need dynamics that depend on the input?",
  task: "selective-copying",
  mixers: [
    "mamba",
    { mixer: "mamba2", settings: { dState: 16, headDim: 16 } },
    {
      mixer: "mamba",
      name: "mamba, nothing selective",
      settings: { selectiveDelta: false, selectiveB: false, selectiveC: false },
    },
    s4d("s4d, real", { init: "real" }),
    s4d("s4d", {}),
    // As wide as Mamba, which is how the paper compares: half the parameters.
    { ...s4d("s4d, real, as wide", { init: "real" }), matched: false },
    { ...s4d("s4d, as wide", {}), matched: false },
    "transformer",
  ],
  match: "parameters",
  baseline: { dataTokens: 8, L: 40, batch: 32, steps: 1500, dModel: 64 },
  rates: [5e-3],
  seeds: [0, 1, 2],
  scales: {
    smoke: {
      mixers: ["mamba", { mixer: "s4d", name: "s4d, real", settings: { init: "real", dState: 4 } }],
      baseline: { dataTokens: 2, L: 8, batch: 4, steps: 4, warmup: 1, dModel: 8, nLayers: 1, evaluationSequences: 16 },
      rates: [5e-3, 1e-2],
      seeds: [0, 1],
    },
    paper: {
      baseline: { dataTokens: 16, L: 4112, batch: 64, steps: 400_000, dModel: 64 },
      rates: [1e-4],
    },
  },
  expected: {
    claim: "The selection mechanism by itself solves the task; models whose dynamics are time-invariant do not.",
    source: "Gu and Dao, Mamba, 2023, section 4.1.1",
    check: (cells) => [
      atLeast(cellNamed(cells, "mamba"), 0.95),
      atLeast(cellNamed(cells, "mamba2"), 0.95),
      ...["mamba, nothing selective", "s4d, real", "s4d", "s4d, real, as wide", "s4d, as wide"].map((name) =>
        atMost(cellNamed(cells, name), 0.6),
      ),
    ],
  },
  published: [
    { row: "mamba", value: 0.998, source },
    { row: "mamba, nothing selective", value: 0.564, source },
  ],
  plots: [{ title: "Accuracy against memory", x: "stateBytes", log: true }],
});
