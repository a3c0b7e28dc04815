/** Running a list of trials into a folder: what is finished is skipped, what was interrupted goes on. */
import { readEnvironment } from "../results/environment.js";
import { openDevice } from "../commands/devices.js";
import type { Experiment } from "../sweeps/experiment.js";
import { formatMetric } from "../report/format.js";
import { runJobs, type Job } from "../commands/progress.js";
import { openResults, type Results, type Row } from "../results/results.js";
import { sameSettings } from "./settings.js";
import { removeSnapshot } from "./snapshot.js";
import { train } from "./train.js";
import { messageOf, UsageError } from "../commands/usage-error.js";

/** Where and how to run. */
export interface RunOptions {
  /** Name of the device. */
  readonly device: string;
  readonly threads?: number;
  /** Folder of the results. */
  readonly out: string;
}

/** The user's wish to stop, e.g. Ctrl-C: the running trial is saved, the rest is not started. */
export class Stopped extends Error {
  constructor(
    /** Name of the signal. */
    readonly signal: NodeJS.Signals,
    message: string,
  ) {
    super(message);
    this.name = "Stopped";
  }
}

/**
 * Runs the trials that have no finished row of the same settings and device yet.
 * @returns The row of every trial asked for, in their order.
 * @throws Stopped after Ctrl-C or a request to terminate, once the running trial is saved.
 */
export async function runTrials(experiments: readonly Experiment[], options: RunOptions): Promise<readonly Row[]> {
  const device = await openDevice(options.device, options);
  const results = openResults(options.out);
  if (results.damage) console.warn(results.damage);
  const environment = readEnvironment();
  const finished = ({ trial }: Experiment): Row | undefined =>
    results
      .rows()
      .find(
        (row) =>
          row.trial === trial.identity &&
          row.status !== "failed" &&
          row.device === options.device &&
          sameSettings(row.config, trial.settings),
      );

  const open = experiments.filter((experiment) => !finished(experiment));
  if (open.length < experiments.length)
    console.log(
      `${experiments.length - open.length} of ${experiments.length} trials are finished in ${options.out} already.`,
    );

  let signal: NodeJS.Signals | undefined;
  const stop = (received: NodeJS.Signals): void => {
    // The second time the user means now.
    if (signal) process.exit(130);
    signal = received;
  };
  const listened = ["SIGINT", "SIGTERM"] as const;
  for (const name of listened) process.on(name, stop);
  try {
    const jobs = open.map((experiment): Job => {
      const { task, mixer, identity } = experiment.trial;
      return {
        title: `${task.id} ${mixer.id}`,
        async run(report) {
          if (signal) throw stoppedBy(signal, results, undefined);
          const snapshot = results.pathOf(identity, "snapshot");
          const run = {
            device,
            deviceName: options.device,
            snapshot,
            stopAsked: () => signal !== undefined,
            report,
            warn: console.warn,
          };
          const outcome = await attempt(experiment, run);
          if (outcome.status === "stopped") throw stoppedBy(signal!, results, outcome.step);
          const row = rowOf(experiment, outcome, {
            device: options.device,
            deviceDescription: device.description,
            ...environment,
          });
          results.append(row);
          if (outcome.status !== "failed") removeSnapshot(snapshot);
          const metric = experiment.task.metric;
          return row.status === "done"
            ? formatMetric(metric, row.metrics[metric])
            : row.status === "failed"
              ? `failed: ${row.error}`
              : "diverged";
        },
      };
    });
    await runJobs(jobs, { terminal: process.stdout.isTTY === true });
  } finally {
    for (const name of listened) process.off(name, stop);
    await device.close();
  }
  return experiments.map(({ trial }) => results.rows().find((row) => row.trial === trial.identity)!);
}

type Outcome =
  | Awaited<ReturnType<typeof train>>
  | {
      readonly status: "failed";
      readonly error: string;
      readonly curve: [];
      readonly tokensPerSecond: 0;
      readonly wallSeconds: number;
    };

/** {@link train}, with an error turned into an outcome: a failed trial is a row. */
async function attempt(experiment: Experiment, options: Parameters<typeof train>[1]): Promise<Outcome> {
  const started = performance.now();
  try {
    return await train(experiment, options);
  } catch (error) {
    // A file that cannot be written is no fault of the trial.
    if (error instanceof UsageError) throw error;
    return {
      status: "failed",
      error: messageOf(error),
      curve: [],
      tokensPerSecond: 0,
      wallSeconds: (performance.now() - started) / 1000,
    };
  }
}

function rowOf(
  { trial, task, parameters, stateBytes, training }: Experiment,
  outcome: Exclude<Outcome, { status: "stopped" }>,
  where: Pick<Row, "device" | "deviceDescription" | "commit" | "versions" | "machine">,
): Row {
  const measured = outcome.status === "done";
  return {
    trial: trial.identity,
    task: trial.task.id,
    mixer: trial.mixer.id,
    device: where.device,
    deviceDescription: where.deviceDescription,
    seed: training.seed,
    status: outcome.status,
    ...(outcome.status === "failed" ? { error: outcome.error } : {}),
    metric: task.metric,
    metrics: {
      ...(measured ? { [task.metric]: outcome.test! } : {}),
      chance: task.chance,
      ...trial.task.baselines?.(task),
    },
    validation: measured ? { [task.metric]: outcome.validation! } : {},
    parameters,
    stateBytes,
    tokensPerSecond: outcome.tokensPerSecond,
    wallSeconds: outcome.wallSeconds,
    curve: outcome.curve,
    commit: where.commit,
    versions: where.versions,
    machine: where.machine,
    config: trial.settings,
    finished: new Date().toISOString(),
  };
}

function stoppedBy(signal: NodeJS.Signals, { folder }: Results, step: number | undefined): Stopped {
  return new Stopped(
    signal,
    `Stopped${step === undefined ? "" : ` after step ${step}`} and saved in ${folder}; the same command goes on from there.`,
  );
}
