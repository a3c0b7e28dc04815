/** Several trials side by side on one device: each takes its turn for a few steps, so that their curves grow together. */
import { dispose, foldIn, key, type Device, type Tensor, type Tree } from "@seqmix/tensor";
import { curvePoints, validationPoints } from "../../src/trials/budgets.js";
import { evaluation } from "../../src/trials/evaluate.js";
import { trainingStepOf } from "../../src/trials/training-step.js";
import type { CurvePoint } from "../../src/results/results.js";
import type { Experiment } from "../../src/sweeps/experiment.js";

/** Milliseconds of a trial's turn. */
const TURN = 120;
/** Steps whose losses are read at once. */
const READ_EVERY = 8;

/** How far a trial is. */
export interface TrialState {
  readonly status: "training" | "done" | "diverged" | "stopped";
  readonly step: number;
  readonly steps: number;
  readonly curve: readonly CurvePoint[];
  readonly tokensPerSecond: number;
  readonly wallSeconds: number;
  /** The metric on the validation and test splits, once it is done. */
  readonly validation?: number;
  readonly test?: number;
}

/** A trial in training. */
export interface Learner {
  readonly experiment: Experiment;
  /** Its parameters now. */
  params(): Tree;
  /** Where it is now. */
  state(): TrialState;
  /** Trains until about {@link TURN} is over, or the trial is. */
  turn(): Promise<void>;
  /** Ends it where it is. */
  stop(): void;
  /** Frees its memory. */
  close(): void;
}

/** Prepares a trial's parameters on the device. */
export function startLearner(experiment: Experiment, device: Device): Learner {
  const { task, model, training } = experiment;
  const { steps, batch: batchSize } = training;
  const source = key(training.seed);
  const advance = trainingStepOf(experiment, device);
  const evaluate = evaluation(task, model, batchSize, device);
  const curveEvery = Math.ceil(steps / curvePoints);
  const validateEvery = curveEvery * Math.ceil(curvePoints / validationPoints);

  let status: TrialState["status"] = "training";
  let step = 0;
  let measured: { readonly validation?: number; readonly test?: number } = {};
  const curve: CurvePoint[] = [];
  let window: number[] = [];
  let unread: Tensor[] = [];
  const time = { timedSteps: 0, timed: 0, wall: 0 };

  /** Reads the losses of the latest steps; one that is no finite number ends the trial. */
  const readLosses = async (): Promise<void> => {
    const losses = await Promise.all(unread.map((loss) => loss.item()));
    dispose(unread);
    unread = [];
    window.push(...losses);
    if (!losses.every(Number.isFinite)) status = "diverged";
  };
  const addPoint = async (): Promise<void> => {
    const loss = window.reduce((total, each) => total + each, 0) / window.length;
    const validation =
      step % validateEvery === 0 || step === steps ? await evaluate("validation", advance.params) : undefined;
    curve.push({ step, tokens: step * batchSize * task.length, loss, ...(validation !== undefined && { validation }) });
    window = [];
    if (step < steps) return;
    measured = { validation: validation!, test: await evaluate("test", advance.params) };
    status = Number.isFinite(measured.test) ? "done" : "diverged";
  };
  return {
    experiment,
    params: () => advance.params,
    state: () => ({
      status,
      step,
      steps,
      curve: [...curve],
      tokensPerSecond: time.timed === 0 ? 0 : (time.timedSteps * batchSize * task.length) / time.timed,
      wallSeconds: time.wall,
      ...measured,
    }),
    async turn() {
      const began = performance.now();
      const open = (): boolean => status === "training" && performance.now() - began < TURN;
      while (open()) {
        const started = performance.now();
        const batch = task.batch(foldIn(source, step), "train", batchSize);
        const { loss, gradientNorm } = await advance.unread(batch);
        dispose(gradientNorm!);
        unread.push(loss);
        step++;
        const due = step % curveEvery === 0 || step === steps;
        if (due || unread.length >= READ_EVERY) await readLosses();
        // The first step plans and compiles.
        if (step > 1) {
          time.timedSteps++;
          time.timed += (performance.now() - started) / 1000;
        }
        if (due && status === "training") await addPoint();
      }
      time.wall += (performance.now() - began) / 1000;
    },
    stop() {
      if (status === "training") status = "stopped";
    },
    close() {
      dispose(unread);
      advance.dispose();
    },
  };
}

/** Gives each trial its turns until all have ended; `tell` hears of a trial after each of its turns. */
export async function trainTogether(learners: readonly Learner[], tell: (learner: Learner) => void): Promise<void> {
  for (;;) {
    const open = learners.filter((learner) => learner.state().status === "training");
    if (open.length === 0) return;
    for (const learner of open) {
      await learner.turn();
      tell(learner);
    }
  }
}
