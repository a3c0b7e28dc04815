import { cellNamed, defineSweep, higher } from "@seqmix/benchmark";

const taps = (mixer: string, dConv: number, more = {}) => ({
  mixer,
  name: `${mixer}, ${dConv === 1 ? "no convolution" : `${dConv} taps`}`,
  settings: { dConv, ...more },
});

export const sweep = defineSweep({
  question: "What does the short convolution in front of a recurrence do?",
  task: "induction",
  mixers: [
    taps("mamba", 4),
    taps("mamba", 2),
    taps("mamba", 1),
    taps("mamba2", 4, { dState: 16, headDim: 16 }),
    taps("mamba2", 1, { dState: 16, headDim: 16 }),
  ],
  baseline: { L: 64, longest: 256, evaluationSequences: 128, steps: 1500, batch: 16, dModel: 48 },
  rates: [5e-3],
  seeds: [0, 1, 2],
  scales: { smoke: { mixers: [taps("mamba", 4), taps("mamba", 1)], baseline: { steps: 4, warmup: 1 }, seeds: [0] } },
  expected: {
    claim: "A shift brings a token beside the one before it, which recalling what followed a token needs.",
    source: "Fu et al., H3, 2022, section 3.2; Arora et al., Zoology, 2023",
    check: (cells) => [
      higher(cellNamed(cells, "mamba, 4 taps"), cellNamed(cells, "mamba, no convolution")),
      higher(cellNamed(cells, "mamba2, 4 taps"), cellNamed(cells, "mamba2, no convolution")),
    ],
  },
});
