/** A sequence of the test split through a trained model. */
import type { LanguageModelConfig, LanguageModelParameters } from "@seqmix/mixer";
import type { Device } from "@seqmix/tensor";
import type { ReadSequence } from "../training/messages.js";
import type { Learner } from "../training/train-together.js";
import { readSequence } from "./sensitivity.js";

/**
 * Reads one sequence of the test split.
 * @throws Error for tasks whose sequences are no tokens, or whose answers are not at positions, and for mixers without a finite state.
 */
export async function readTestSequence(
  { experiment, params }: Learner,
  sequence: number,
  device: Device,
  progress: (done: number, of: number) => void,
): Promise<ReadSequence> {
  const { trial, task, model } = experiment;
  const config = model.languageModel;
  if (!config || trial.mixer.state !== "constant" || !trial.mixer.step)
    throw new Error(
      `Expected a mixer with a finite state and a task on tokens, got ${trial.mixer.id} on ${trial.task.id}; train e.g. mamba on selective-copying`,
    );
  const [batch] = task.evaluation("test", sequence + 1);
  const L = task.length;
  const [inputs, targets, mask] = await Promise.all([batch!.inputs.data(), batch!.targets.data(), batch!.mask.data()]);
  const from = sequence * L;
  const tokens = Array.from({ length: L }, (_, t) => inputs[from + t]!);
  return {
    trial: trial.identity,
    tokens,
    targets: tokens.map((_, t) => (mask[from + t] ? targets[from + t] : undefined)),
    symbols: trial.task.symbols?.(task.config) ?? [],
    reading: await readSequence(
      config satisfies LanguageModelConfig,
      params() as LanguageModelParameters,
      tokens,
      device,
      (done) => progress(done, L),
    ),
  };
}
