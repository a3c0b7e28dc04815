import { cellNamed, defineSweep, rising } from "@seqmix/benchmark";

const sizes = [1, 4, 16, 64];
const sized = (size: number) => ({
  mixer: "mamba2",
  name: `N = ${size}`,
  series: `N = ${size}`,
  settings: { dState: size, headDim: 16 },
});

export const sweep = defineSweep({
  question: "How far does a passkey carry, by the size of the state?",
  task: "passkey",
  mixers: sizes.map(sized),
  baseline: { L: 320, digits: 2, longest: 10_240, steps: 1200, batch: 8, dModel: 64, evaluationSequences: 50 },
  rates: [1e-2],
  seeds: [0, 1, 2],
  scales: {
    smoke: {
      mixers: [sized(4)],
      baseline: { L: 320, digits: 2, longest: 0, steps: 3, warmup: 1, batch: 2, dModel: 16, evaluationSequences: 8 },
      seeds: [0],
    },
  },
  expected: {
    claim: "The longest context from which a passkey is retrieved grows with the size of the state.",
    source: "Chen et al., Stuffed Mamba, 2024",
    check: (cells) => [rising(sizes.map((size) => cellNamed(cells, `N = ${size}`)))],
  },
  plots: [
    { title: "Digits that are right against memory", x: "stateBytes", log: true },
    { title: "Beyond the training length", x: "length", log: true },
  ],
});
