/** Tasks on a signal of one channel, with a number due at every position. */
import { generatedTask } from "./generated-task.js";
import type { HostRandom } from "./host-random.js";
import type { Task, TaskSettings } from "./task.js";

/** A signal and what is due, L numbers each. */
export interface SignalPair {
  readonly inputs: ArrayLike<number>;
  readonly targets: ArrayLike<number>;
}

/** Measured by the mean squared error over the variance of what is due: a constant answer has 1. */
export const signalTask = <C extends TaskSettings>(
  id: string,
  config: C & { readonly L: number; readonly evaluationSequences: number },
  draw: (random: HostRandom) => SignalPair,
): Task<C> =>
  generatedTask<C>({
    id,
    config,
    input: { channels: 1 },
    output: { numbers: 1 },
    answers: "positions",
    length: config.L,
    metric: "nmse",
    chance: 1,
    example(random, { inputs, targets, mask }) {
      const signal = draw(random);
      inputs.set(signal.inputs);
      targets.set(signal.targets);
      mask.fill(1);
    },
  });
