import { defineTask, laptopBudget } from "./define-task.js";
import { generatedTask } from "./generated-task.js";

/** Settings of {@link memoryChain}. */
export type MemoryChainConfig = {
  /** Observations of an episode: the first shows the bits, the last asks for one. At least 2. */
  readonly L: number;
  /** Bits of the context. */
  readonly bits: number;
  /** Sequences that a split is measured by. */
  readonly evaluationSequences: number;
};

/**
 * The memory chain of bsuite as supervised learning: which sign had the bit that is asked for at the end?
 *
 * Channels of an observation: 1 - t / N (time left, N = L - 1), the index of the bit that is asked for (at the last step only), and the bits,
 * +1 or -1 (at the first step only). The class is 1 for +1.
 *
 * Source: `bsuite/environments/memory_chain.py`; Osband et al., Behaviour Suite for Reinforcement Learning, 2019. There the
 * observation of the first step is seen twice, by a quirk of its clock; here once.
 */
export const memoryChain = defineTask<MemoryChainConfig>({
  id: "memory-chain",
  family: "memory",
  summary: "bsuite: recall a bit that was shown at the first step (memory_len), or one of many (memory_size)",
  defaults: { L: 31, bits: 1, evaluationSequences: 500 },
  limits: { L: { least: 2 } },
  training: { ...laptopBudget, steps: 1000 },
  scales: { smoke: { L: 6, bits: 2, steps: 60, warmup: 5, evaluationSequences: 64 }, paper: { L: 101 } },
  make(config) {
    const { L, bits } = config;
    return generatedTask({
      id: "memory-chain",
      config,
      input: { channels: 2 + bits },
      output: { classes: 2 },
      answers: "positions",
      length: L,
      metric: "accuracy",
      chance: 1 / 2,
      example(random, { inputs, targets, mask }) {
        const width = 2 + bits;
        for (let t = 0; t < L; t++) inputs[t * width] = 1 - t / (L - 1);
        const asked = random.integer(bits);
        inputs[(L - 1) * width + 1] = asked;
        for (let k = 0; k < bits; k++) {
          const bit = random.integer(2);
          inputs[2 + k] = 2 * bit - 1;
          if (k === asked) targets[L - 1] = bit;
        }
        mask[L - 1] = 1;
      },
    });
  },
  definition:
    "An episode shows bits of +1 or -1 at its first step, the time left at every step, and at its last step which of the bits is asked for; its sign is due.",
  tests:
    "Memory over time (one bit, lengths 2 to 101: `memory_len`) and of many things (bits 1 to 40, length 3: `memory_size`). In bsuite an agent must find this out from a reward of +1 or -1 at the end; here the right action is told.",
  source:
    "Osband et al., Behaviour Suite for Reinforcement Learning (2019), `memory_chain.py`: memory lengths 1 to 100 with one bit; 1 to 40 bits with a memory length of 2. An agent passes where its regret is below 0.75 of a random one's.",
});
