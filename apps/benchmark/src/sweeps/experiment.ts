import { configure, parameterCount, POOLINGS, stateBytes, treeBytes } from "@seqmix/mixer";
import { key, leavesOf, type Tree } from "@seqmix/tensor";
import type { Task } from "@seqmix/tasks";
import { modelOf, type Model, type Network } from "../trials/model.js";
import { readData } from "../trials/read-data.js";
import type { Settings } from "../trials/settings.js";
import { mixerConfigOf, type Trial } from "../trials/trial.js";
import { messageOf, UsageError } from "../commands/usage-error.js";
import { flopsOf } from "./flops.js";

/** How a trial trains. */
export interface TrainingSettings {
  /** Updates. */
  readonly steps: number;
  /** Sequences an update. */
  readonly batch: number;
  /** Peak learning rate. */
  readonly lr: number;
  /** Updates until the peak. */
  readonly warmup: number;
  /** Largest norm of the gradient. */
  readonly clip: number;
  readonly weightDecay: number;
  /** Products of f16 with a scaled loss. */
  readonly halfPrecision: boolean;
  readonly seed: number;
}

/** Tokens of an update beyond which no device has memory: refused before the data is made. */
const MOST_TOKENS = 2 ** 26;

/** A trial with everything its identity stands for, and what can be known before it runs. */
export interface Experiment {
  readonly trial: Trial;
  readonly task: Task;
  readonly model: Model;
  readonly training: TrainingSettings;
  readonly parameters: number;
  /** Of one sequence after L tokens, all layers; null for a mixer without a finite state. */
  readonly stateBytes: number | null;
  /** Floating-point operations of one sequence forward. */
  readonly flops: number;
}

/**
 * Builds a trial's task and model and checks every shape, without computing anything.
 * @throws UsageError naming the trial if its settings are impossible.
 */
export function prepare(trial: Trial): Experiment {
  const { settings } = trial;
  try {
    const training = trainingOf(settings);
    const L = whole(settings, "L", 1);
    if (L * training.batch > MOST_TOKENS)
      throw new RangeError(
        `expected at most ${MOST_TOKENS} tokens an update, got batch=${training.batch} times L=${L}; lower one of them`,
      );
    const task = trial.task.make(settings, readData);
    const network = networkOf(trial);
    const model = modelOf(task, network);
    const params = model.init(key(0));
    const { mixer, mixerConfig, dModel, nLayers } = network;
    const bytes = stateBytes(mixer, configure(mixer, { ...mixerConfig, dModel }), task.length);
    return {
      trial,
      task,
      model,
      training,
      parameters: parameterCount(params),
      flops: forwardFlops(model, params, task),
      stateBytes: bytes === null ? null : bytes * nLayers,
    };
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`Trial ${trial.identity} is impossible: ${messageOf(error)}`, { cause: error });
  }
}

/** One of a trial's sizes alone: quicker than {@link prepare} where many are asked for. @throws Error for impossible settings. */
export function sizeOfTrial(trial: Trial, size: "parameters" | "stateBytes" | "flops"): number | null {
  const network = networkOf(trial);
  const { mixer, mixerConfig, dModel, nLayers } = network;
  if (size === "stateBytes") {
    if (mixer.state !== "constant") return null;
    return treeBytes(mixer.initState(configure(mixer, { ...mixerConfig, dModel }), 1)) * nLayers;
  }
  const task = trial.task.make(trial.settings, readData);
  const model = modelOf(task, network);
  const params = model.init(key(0));
  return size === "parameters" ? parameterCount(params) : forwardFlops(model, params, task);
}

/** Operations of one sequence forward; every shape is checked on the way. */
const forwardFlops = (model: Model, params: Tree, task: Task): number =>
  flopsOf([model.answers(params, task.batch(key(0), "train", 1))], leavesOf(params));

function networkOf(trial: Trial): Network {
  const { mixer, settings } = trial;
  const pooling = settings["pooling"];
  if (pooling !== undefined && !POOLINGS.includes(pooling as never))
    throw new RangeError(`expected pooling as one of ${POOLINGS.join(", ")}, got ${pooling}`);
  return {
    mixer,
    mixerConfig: mixerConfigOf(trial),
    dModel: whole(settings, "dModel", 1),
    nLayers: whole(settings, "nLayers", 1),
    ...(pooling !== undefined && { pooling: pooling as NonNullable<Network["pooling"]> }),
  };
}

function trainingOf(settings: Settings): TrainingSettings {
  const training = {
    steps: whole(settings, "steps", 1),
    batch: whole(settings, "batch", 1),
    lr: positive(settings, "lr"),
    warmup: whole(settings, "warmup", 0),
    clip: positive(settings, "clip"),
    weightDecay: Number(settings["weightDecay"]),
    halfPrecision: settings["halfPrecision"] === true,
    seed: whole(settings, "seed", 0),
  };
  if (training.weightDecay < 0) throw new RangeError(`expected weightDecay of at least 0, got ${training.weightDecay}`);
  if (training.warmup >= training.steps)
    throw new RangeError(
      `expected fewer warm-up steps than steps, got warmup=${training.warmup} and steps=${training.steps}; lower warmup`,
    );
  return training;
}

function whole(settings: Settings, name: string, least: number): number {
  const value = settings[name];
  if (!Number.isSafeInteger(value) || Number(value) < least)
    throw new RangeError(`expected a whole number of at least ${least} for ${name}, got ${value}`);
  return Number(value);
}

function positive(settings: Settings, name: string): number {
  const value = Number(settings[name]);
  if (!(value > 0)) throw new RangeError(`expected a number above 0 for ${name}, got ${value}`);
  return value;
}
