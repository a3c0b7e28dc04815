import { cellNamed, defineSweep, higher } from "@seqmix/benchmark";

const selective = (delta: boolean, B: boolean, C: boolean) => ({
  mixer: "mamba",
  name: ["delta", "B", "C"].filter((_, k) => [delta, B, C][k]).join(", ") || "none",
  settings: { selectiveDelta: delta, selectiveB: B, selectiveC: C },
});

const source = "Gu and Dao, Mamba, 2023, Table 7: perplexity of language models of 350M parameters";

export const sweep = defineSweep({
  question: "Which of Mamba's parameters have to depend on the input: the step, B or C?",
  task: "selective-copying",
  mixers: [
    selective(true, true, true),
    selective(false, false, false),
    selective(true, false, false),
    selective(false, true, false),
    selective(false, false, true),
    selective(false, true, true),
  ],
  baseline: { dataTokens: 8, L: 40, batch: 32, steps: 3000, dModel: 48 },
  rates: [5e-3],
  seeds: [0, 1, 2],
  scales: {
    smoke: {
      mixers: [selective(true, true, true), selective(false, false, false)],
      baseline: { dataTokens: 2, L: 8, batch: 4, steps: 4, warmup: 1, dModel: 8, nLayers: 1, evaluationSequences: 16 },
      seeds: [0],
    },
  },
  expected: {
    claim:
      "The step is the most important parameter to be selective, due to its connection to gating; selective parameters together do best (perplexity 10.93 with none, 10.15 with B, 9.98 with C, 9.81 with the step, 8.71 with all).",
    source: "Gu and Dao, Mamba, 2023, Table 7, for language",
    check: (cells) => [
      higher(cellNamed(cells, "delta, B, C"), cellNamed(cells, "none")),
      higher(cellNamed(cells, "delta"), cellNamed(cells, "none")),
      higher(cellNamed(cells, "delta"), cellNamed(cells, "B")),
      higher(cellNamed(cells, "delta"), cellNamed(cells, "C")),
      higher(cellNamed(cells, "delta, B, C"), cellNamed(cells, "delta")),
    ],
  },
  published: Object.entries({ none: 10.93, B: 10.15, C: 9.98, delta: 9.81, "delta, B, C": 8.71 }).map(
    ([row, value]) => ({ row, value, of: "perplexity of language", source }),
  ),
});
