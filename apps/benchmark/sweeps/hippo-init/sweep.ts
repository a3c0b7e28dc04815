import { cellNamed, defineSweep, lower } from "@seqmix/benchmark";

const s4d = (init: string) => ({ mixer: "s4d", name: init, settings: { init, dState: 64 } });

export const sweep = defineSweep({
  question: "Does a state-space model remember better when it starts from a HiPPO matrix?",
  task: "delay",
  mixers: [s4d("legs"), s4d("lin"), s4d("inv"), s4d("real"), s4d("rand")],
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
  scales: {
    smoke: { mixers: [s4d("legs"), s4d("rand")], baseline: { steps: 4, warmup: 1 }, rates: [3e-3], seeds: [0] },
  },
  expected: {
    claim: "HiPPO initialisations remember; random ones do not.",
    source:
      "Gu et al., How to Train Your HiPPO, 2022, Table 2 and section 4.2; Gu et al., On the Parameterization and Initialization of Diagonal State Space Models, 2022, Table 3",
    check: (cells) => [
      lower(cellNamed(cells, "legs"), cellNamed(cells, "rand")),
      lower(cellNamed(cells, "lin"), cellNamed(cells, "rand")),
      lower(cellNamed(cells, "legs"), cellNamed(cells, "real")),
    ],
  },
});
