import { performance } from "node:perf_hooks";
import { dispose, foldIn, key, type Device, type Tensor, type Tree } from "@seqmix/tensor";
import { curvePoints, snapshotSeconds, validationPoints } from "./budgets.js";
import { evaluateBeyond, evaluation, MeasuringStopped } from "./evaluate.js";
import type { Experiment } from "../sweeps/experiment.js";
import type { CurvePoint } from "../results/results.js";
import { readSnapshot, writeSnapshot, type Snapshot, type SnapshotOwner, type TrialProgress } from "./snapshot.js";
import { trainingStepOf } from "./training-step.js";

/** Steps whose losses are read from the device at once. */
const READ_EVERY = 8;

/** What a trial says of itself while it runs. */
export interface TrainingReport {
  readonly step: number;
  readonly steps: number;
  /** The latest loss known, nats a token. */
  readonly loss: number | undefined;
  readonly tokensPerSecond: number;
  readonly phase: "training" | "measuring";
}

/** How a trial runs. */
export interface TrainingOptions {
  readonly device: Device;
  /** Name of the device, for the snapshot. */
  readonly deviceName: string;
  /** Commit of the program: a snapshot of another one is not continued. */
  readonly commit?: string;
  /** Where the snapshot of the running trial lies. */
  readonly snapshot: string;
  /** Called after every step; true ends the trial with a snapshot. */
  readonly stopAsked: () => boolean;
  readonly report: (report: TrainingReport) => void;
  /** Told what the user should know though the trial goes on. */
  readonly warn?: (message: string) => void;
  /** Seconds between snapshots; {@link snapshotSeconds} by default. */
  readonly snapshotEvery?: number;
}

/** How a trial came out. */
export type TrainingOutcome =
  | { readonly status: "stopped"; readonly step: number }
  | {
      readonly status: "done" | "diverged";
      /** The first step whose loss was no finite number, if the trial diverged. */
      readonly divergedAt?: number;
      readonly curve: readonly CurvePoint[];
      /** Absent if the trial diverged. */
      readonly validation?: number;
      /** Absent if the trial diverged. */
      readonly test?: number;
      /** The metric where the task is made harder, by its name; a model that cannot be asked so is left out. */
      readonly beyond?: Readonly<Record<string, number>>;
      readonly tokensPerSecond: number;
      readonly wallSeconds: number;
    };

/**
 * Trains and measures one trial, from its snapshot if it has one. Batches and initial parameters are functions of the
 * seed and the step, so that a trial stopped and continued ends with the numbers of one that was not.
 */
export async function train(experiment: Experiment, options: TrainingOptions): Promise<TrainingOutcome> {
  const { trial, task, model, training } = experiment;
  const { device, snapshot, stopAsked, report, snapshotEvery = snapshotSeconds } = options;
  const { steps, batch: batchSize } = training;
  const source = key(training.seed);
  const owner: SnapshotOwner = {
    trial: trial.identity,
    config: trial.settings,
    device: options.deviceName,
    commit: options.commit ?? "unknown",
  };
  const step = trainingStepOf(experiment, device);
  const evaluate = evaluation(task, model, batchSize, device);

  const saved = savedProgress(snapshot, owner, step.state, options.warn);
  if (saved) await step.restore(saved.tree);
  const progress: TrialProgress = saved?.progress ?? {
    step: 0,
    curve: [],
    window: [],
    wallSeconds: 0,
    timedSteps: 0,
    timedSeconds: 0,
  };

  const earlierSeconds = progress.wallSeconds;
  const started = performance.now();
  const curveEvery = Math.ceil(steps / curvePoints);
  const validateEvery = curveEvery * Math.ceil(curvePoints / validationPoints);
  const tokensPerSecond = (): number =>
    progress.timedSeconds === 0 ? 0 : (progress.timedSteps * batchSize * task.length) / progress.timedSeconds;
  const wallSeconds = (): number => earlierSeconds + (performance.now() - started) / 1000;

  const losses = lossReader();
  const diverged = (divergedAt: number): TrainingOutcome => ({
    status: "diverged",
    divergedAt,
    curve: progress.curve,
    tokensPerSecond: tokensPerSecond(),
    wallSeconds: wallSeconds(),
  });
  const save = async (): Promise<void> => {
    progress.wallSeconds = wallSeconds();
    await writeSnapshot(snapshot, owner, progress, step.state);
  };

  /** What the trained model reaches; undefined if it was told to stop: then it measures again when the trial goes on. */
  const measure = async () => {
    try {
      const validation = await evaluate("validation", step.params, stopAsked);
      const test = await evaluate("test", step.params, stopAsked);
      if (!Number.isFinite(validation) || !Number.isFinite(test) || !task.beyond) return { validation, test };
      const beyond = await evaluateBeyond(task, model, batchSize, device, step.params, stopAsked);
      return { validation, test, beyond };
    } catch (error) {
      if (error instanceof MeasuringStopped) return undefined;
      throw error;
    }
  };

  try {
    let savedAt = performance.now();
    for (let first = true; progress.step < steps; first = false) {
      const began = performance.now();
      const batch = task.batch(foldIn(source, progress.step), "train", batchSize);
      const { loss, gradientNorm } = await step.unread(batch);
      gradientNorm?.dispose();
      losses.add(loss);
      progress.step++;
      const { step: count } = progress;

      const curveDue = count % curveEvery === 0 || count === steps;
      const stop = stopAsked();
      const saveDue = stop || performance.now() - savedAt > snapshotEvery * 1000;
      const due = curveDue || saveDue || losses.unread() >= READ_EVERY;
      const bad = due ? await losses.read(progress) : undefined;
      if (bad !== undefined) return diverged(bad);
      if (!first) {
        progress.timedSteps++;
        progress.timedSeconds += (performance.now() - began) / 1000;
      }
      report({ step: count, steps, loss: losses.last(), tokensPerSecond: tokensPerSecond(), phase: "training" });

      if (curveDue) {
        const loss = progress.window.reduce((total, each) => total + each, 0) / progress.window.length;
        const measured =
          count % validateEvery === 0 && count < steps ? { validation: await evaluate("validation", step.params) } : {};
        progress.curve.push({ step: count, tokens: count * batchSize * task.length, loss, ...measured });
        progress.window = [];
      }
      if (saveDue) {
        await save();
        savedAt = performance.now();
      }
      if (stop) return { status: "stopped", step: count };
    }

    report({ step: steps, steps, loss: losses.last(), tokensPerSecond: tokensPerSecond(), phase: "measuring" });
    const measured = await measure();
    if (measured === undefined) {
      await save();
      return { status: "stopped", step: steps };
    }
    const { validation, test } = measured;
    if (!Number.isFinite(validation) || !Number.isFinite(test)) return diverged(steps);
    const last = progress.curve.at(-1)!;
    return {
      status: "done",
      curve: [...progress.curve.slice(0, -1), { ...last, validation }],
      ...measured,
      tokensPerSecond: tokensPerSecond(),
      wallSeconds: wallSeconds(),
    };
  } finally {
    losses.close();
    step.dispose();
  }
}

/** The snapshot to go on from, if there is a whole one of this trial and version; says so if there is another. */
function savedProgress<T extends Tree>(
  path: string,
  owner: SnapshotOwner,
  like: T,
  warn: TrainingOptions["warn"],
): Snapshot<T> | undefined {
  const found = readSnapshot(path, owner, like);
  if (typeof found !== "string") return found;
  if (found !== "none")
    warn?.(
      `Expected a whole snapshot of this version in ${path}, got ${found === "damaged" ? "a damaged file" : "one of another version"}; ${owner.trial} starts again from its first step.`,
    );
  return undefined;
}

/** Losses that are on the device, read several at once. */
function lossReader() {
  let unread: Tensor[] = [];
  let last: number | undefined;
  return {
    add: (loss: Tensor): void => void unread.push(loss),
    unread: (): number => unread.length,
    last: (): number | undefined => last,
    /** Reads them into the window. @returns The first step whose loss is not a finite number, if there is one. */
    async read(progress: TrialProgress): Promise<number | undefined> {
      const losses = await Promise.all(unread.map((loss) => loss.item()));
      dispose(unread);
      unread = [];
      progress.window.push(...losses);
      last = losses.at(-1) ?? last;
      const bad = losses.findIndex((loss) => !Number.isFinite(loss));
      return bad < 0 ? undefined : progress.step - losses.length + bad + 1;
    },
    close: (): void => dispose(unread),
  };
}
