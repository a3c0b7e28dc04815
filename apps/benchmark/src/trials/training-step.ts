/** The training step of a trial: the same on the command line and in the page. */
import { adamw, cosineSchedule, trainer } from "@seqmix/optim";
import { foldIn, key, type Device, type Tensor, type Tree } from "@seqmix/tensor";
import type { Batch } from "@seqmix/tasks";
import type { Experiment } from "../sweeps/experiment.js";
import { lossOf } from "./loss.js";
import { parameterGroupsOf } from "./parameter-groups.js";

/** AdamW after the trial's schedule, from the parameters of its seed; it takes each batch over. */
export const trainingStepOf = ({ trial, task, model, training }: Experiment, device: Device) =>
  trainer({
    loss: (params: Tree, batch: Batch): Tensor => lossOf(task, model.answers(params, batch), batch),
    optimizer: adamw({
      learningRate: cosineSchedule({ peak: training.lr, warmupSteps: training.warmup, totalSteps: training.steps }),
      weightDecay: training.weightDecay,
      groups: parameterGroupsOf(trial.mixer, training.lr),
    }),
    params: model.init(foldIn(key(training.seed), "parameters")),
    clip: training.clip,
    halfPrecision: training.halfPrecision,
    disposeBatch: true,
    device,
  });
