/**
 * What start, discretization and sampling rate do to state-space layers: three experiments, each a few tasks and a few ways
 * to build the layers, trained alike.
 */
import { crossEntropy, meanSquaredError } from "@seqmix/nn";
import { lssl, s4 } from "@seqmix/s4";
import { adamw, cosineSchedule, trainer, type ParameterGroup } from "@seqmix/optim";
import {
  argmax,
  cast,
  dispose,
  equal,
  expandDims,
  foldIn,
  key,
  mean,
  realize,
  reshape,
  sliceAxis,
  type Device,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import type { AnyMixer } from "@seqmix/mixer";
import { initModel, runModel, type Arm, type ModelParameters, type Shape } from "./model.js";
import { smoothSignals, waves, type SignalBatch } from "./signals.js";

/** A task of an experiment. */
export interface SignalTask {
  readonly id: string;
  /** What is asked, for the report. */
  readonly text: string;
  readonly shape: Shape;
  /** A batch of sequences; `step`: only every so many samples of the same functions. */
  batch(source: Key, size: number, step: number): SignalBatch;
  /** What is trained on, and what is measured, from the outputs. */
  loss(outputs: Tensor, y: Tensor): Tensor;
  measure(outputs: Tensor, y: Tensor): Tensor;
  /** Name of the measure, with the arrow of what is better. */
  readonly label: string;
}

/** How the trained model is looked at: samples this far apart, with step sizes scaled to it or not. */
export interface Look {
  readonly name: string;
  readonly step: number;
  readonly rate: number;
}

/** An experiment. */
export interface StateSpaceExperiment {
  readonly id: string;
  readonly title: string;
  /** What is compared and why, for the report. */
  readonly text: string;
  readonly tasks: readonly SignalTask[];
  readonly arms: readonly Arm[];
  readonly looks: readonly Look[];
}

/** One number of an experiment. */
export interface SignalOutcome {
  readonly task: string;
  /** The arm, and the look where there are several. */
  readonly name: string;
  readonly seed: number;
  /** Of new sequences. */
  readonly test: number;
}

const LENGTH = 256;
const LAG = 64;
const HIGHEST = 16;
const CLASSES = 8;
const asTrained: Look = { name: "", step: 1, rate: 1 };

/** Mean squared error of signals of unit variance: 1 is that of a constant. */
const regression = {
  loss: meanSquaredError,
  measure: meanSquaredError,
  label: "mean squared error over variance →",
};

const delay: SignalTask = {
  id: "delay",
  text: `A smooth random signal of ${LENGTH} samples, to be repeated ${LAG} samples later by one layer without nonlinearities.`,
  shape: { channels: 32, layers: 1, outputs: 1, read: "all" },
  batch(source, size) {
    const signal = expandDims(smoothSignals(source, size, LENGTH, HIGHEST), 2);
    return { x: signal, y: sliceAxis(signal, 1, 0, LENGTH - LAG) };
  },
  ...regression,
  loss: (outputs, y) => meanSquaredError(sliceAxis(outputs, 1, LAG, LENGTH), y),
  measure: (outputs, y) => meanSquaredError(sliceAxis(outputs, 1, LAG, LENGTH), y),
};

const reconstruction: SignalTask = {
  id: "reconstruction",
  text: `All ${LENGTH} samples of a smooth random signal, to be written down from what one layer without nonlinearities puts out at the last one: 64 numbers.`,
  shape: { channels: 64, layers: 1, outputs: LENGTH, read: "last" },
  batch(source, size) {
    const signal = smoothSignals(source, size, LENGTH, HIGHEST);
    return { x: expandDims(signal, 2), y: signal };
  },
  ...regression,
};

const frequencies: SignalTask = {
  id: "frequencies",
  text: `Which of ${CLASSES} frequencies a wave of unknown phase has, in smooth noise, by two layers; ${LENGTH} samples.`,
  shape: { channels: 32, layers: 2, outputs: CLASSES, read: "mean" },
  batch: (source, size, step) => waves(source, size, LENGTH, CLASSES, step),
  loss: (outputs, y) => crossEntropy(outputs, y),
  measure: (outputs, y) => mean(cast(equal(argmax(outputs, -1), y), "f32")),
  label: "accuracy →",
};

const plain = { activation: "none", finalAct: "none" };
const s4Arm = (name: string, settings: Arm["settings"]): Arm => ({
  name,
  mixer: s4 as unknown as AnyMixer,
  settings: { dState: 64, kernelLength: LENGTH, ...settings },
});
const lsslArm = (name: string, measure: string): Arm => ({
  name,
  mixer: lssl as unknown as AnyMixer,
  settings: { dState: 32, measure, learn: "fixed", activation: "none" },
});
const diagonal = (init: string, disc: string) => ({ mode: "diag", init, disc, kernelLength: 0 });

/** The experiments, by the name on the command line. */
export const stateSpaceExperiments: readonly StateSpaceExperiment[] = [
  {
    id: "hippo-against-random",
    title: "HiPPO against random starts",
    text: "The dynamics start from HiPPO or its diagonal relatives, or from random numbers; everything else is the same. LSSL keeps its dynamics, the others train them.",
    tasks: [delay, reconstruction],
    arms: [
      s4Arm("S4, LegS", { ...plain, mode: "dplr", init: "legs" }),
      s4Arm("S4D, LegS", { ...plain, ...diagonal("diag-legs", "zoh") }),
      s4Arm("S4D, Lin", { ...plain, ...diagonal("diag-lin", "zoh") }),
      s4Arm("S4D, random", { ...plain, ...diagonal("diag-rand", "zoh") }),
      lsslArm("LSSL, LegS", "legs"),
      lsslArm("LSSL, random", "random"),
    ],
    looks: [asTrained],
  },
  {
    id: "zoh-against-bilinear",
    title: "Zero-order hold against bilinear",
    text: "The same layers discretized by zero-order hold and by the bilinear rule, from two starts.",
    tasks: [delay, reconstruction, frequencies],
    arms: ["diag-lin", "diag-legs"].flatMap((init) =>
      ["zoh", "bilinear"].map((disc) =>
        s4Arm(`${init === "diag-lin" ? "Lin" : "LegS"}, ${disc}`, { ...plain, ...diagonal(init, disc) }),
      ),
    ),
    looks: [asTrained],
  },
  {
    id: "sampling-rate",
    title: "Another sampling rate",
    text: `Trained on all ${LENGTH} samples, tested on every second one: with the step sizes doubled, as the continuous system asks for, and without.`,
    tasks: [frequencies],
    arms: [
      s4Arm("S4D, zoh", diagonal("diag-lin", "zoh")),
      s4Arm("S4D, bilinear", diagonal("diag-lin", "bilinear")),
      s4Arm("S4", { mode: "dplr", init: "legs" }),
    ],
    looks: [
      { name: "all samples", step: 1, rate: 1 },
      { name: "every second, steps doubled", step: 2, rate: 2 },
      { name: "every second, steps as trained", step: 2, rate: 1 },
    ],
  },
];

/** How the models are trained. */
export interface SignalTraining {
  readonly steps: number;
  readonly batch: number;
  /** Peak of a cosine schedule. */
  readonly learningRate: number;
}

/** Nonlinear where the layers are to tell classes apart. */
const fitted = (arm: Arm, { shape }: SignalTask): Arm =>
  shape.layers > 1 && arm.mixer.id === s4.id
    ? { ...arm, settings: { ...arm.settings, activation: "gelu", finalAct: "glu" } }
    : arm;

/** Trains one arm on one task, and measures it on new sequences, once for each look. */
export async function runSignalTrial(
  experiment: StateSpaceExperiment,
  task: SignalTask,
  given: Arm,
  { steps, batch: size, learningRate }: SignalTraining,
  seed: number,
  device: Device,
): Promise<readonly SignalOutcome[]> {
  const arm = fitted(given, task);
  const source = key(seed);
  // Dynamics are trained slower than the rest (the published rates), and without decay.
  const groups: readonly ParameterGroup[] = (arm.mixer.parameterGroups?.(learningRate) ??
    []) as readonly ParameterGroup[];
  const step = trainer({
    loss: (params: ModelParameters, { x, y }: SignalBatch) => task.loss(runModel(arm, task.shape, params, x), y),
    optimizer: adamw({
      learningRate: cosineSchedule({ peak: learningRate, warmupSteps: Math.ceil(steps / 20), totalSteps: steps }),
      weightDecay: 0,
      groups,
    }),
    params: initModel(arm, task.shape, foldIn(source, "init")),
    device,
    clip: 1,
    disposeBatch: true,
  });
  for (let k = 0; k < steps; k++) await step(await realize(task.batch(foldIn(source, k), size, 1), { device }));
  const outcomes: SignalOutcome[] = [];
  for (const { name, step: apart, rate } of experiment.looks) {
    const test = await realize(task.batch(foldIn(source, "test"), 256, apart), { device });
    const value = task.measure(runModel(arm, task.shape, step.params, test.x, rate), test.y);
    await realize(value, { device });
    outcomes.push({
      task: task.id,
      name: name === "" ? arm.name : `${arm.name}: ${name}`,
      seed,
      test: await reshape(value, []).item(),
    });
    dispose([value, test]);
  }
  step.dispose();
  return outcomes;
}
