import { cellNamed, defineSweep, same } from "@seqmix/benchmark";

const s4d = (disc: string) => ({ mixer: "s4d", name: disc, settings: { disc, dState: 64 } });

export const sweep = defineSweep({
  question: "Does it matter whether a state-space model is discretized by zero-order hold or bilinearly?",
  task: "delay",
  mixers: [s4d("zoh"), s4d("bilinear")],
  baseline: {
    L: 500,
    lag: 125,
    dt: 0.002,
    frequency: 50,
    steps: 300,
    batch: 16,
    dModel: 16,
    nLayers: 1,
    dtMin: 0.002,
    dtMax: 0.1,
  },
  rates: [3e-3, 1e-2],
  seeds: [0, 1, 2],
  scales: { smoke: { baseline: { steps: 4, warmup: 1 }, rates: [3e-3], seeds: [0] } },
  expected: {
    claim: "Results with zero-order hold and with the bilinear rule are close.",
    source: "Gu et al., On the Parameterization and Initialization of Diagonal State Space Models, 2022, Table 2",
    check: (cells) => [same(cellNamed(cells, "zoh"), cellNamed(cells, "bilinear"))],
  },
});
