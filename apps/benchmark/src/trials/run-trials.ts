/** Running trials into a folder: what is finished is skipped, what was interrupted goes on. */
import { availableParallelism } from "node:os";
import { chooseDevice } from "../commands/devices.js";
import { showProgress, type Progress } from "../commands/progress.js";
import { formatMetric } from "../report/format.js";
import { readEnvironment, type Environment } from "../results/environment.js";
import { lockFolder } from "../results/lock.js";
import { rowOf, type RowOutcome } from "../results/row-of.js";
import { makeResultsFolder, openResults, type Results, type Row } from "../results/results.js";
import { rowsOfTrials } from "../results/rows-of-trials.js";
import type { Experiment } from "../sweeps/experiment.js";
import { removeSnapshot } from "./snapshot.js";
import { openPool, type WorkerPool } from "./worker-pool.js";
import type { Outcome } from "./worker-messages.js";

/** Where and how to run. */
export interface RunOptions {
  /** Name of the device; "auto" takes a GPU if there is one. */
  readonly device: string;
  /** Threads of the cpu device in each trial. */
  readonly threads?: number;
  /** Trials at once; as many as the machine bears by default. */
  readonly jobs?: number;
  /** Heap of a worker process, MiB. */
  readonly heap?: number;
  /** Folder of the results. */
  readonly out: string;
  /** Run trials again that another version of the program finished. */
  readonly fresh?: boolean;
  /** Print the row of every trial as a line of JSON, and everything else to the error stream. */
  readonly json?: boolean;
  /** The program that worker processes are; this one by default. */
  readonly entry?: string;
  /** Where progress is shown; the output by default. */
  readonly stream?: NodeJS.WriteStream;
}

/** The user's wish to stop, e.g. Ctrl-C: running trials are saved, the rest is not started. */
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

/** Trials to run, given the rows there are: asked again after each round, until nothing new comes. */
export type Plan = (rows: readonly Row[]) => readonly Experiment[];

/**
 * Runs the trials that have no finished row of the same settings and device yet.
 * @returns The row of every trial asked for, in their order.
 * @throws Stopped after Ctrl-C or a request to terminate, once the running trials are saved.
 * @throws UsageError if another process writes into the folder.
 */
export async function runTrials(asked: readonly Experiment[] | Plan, options: RunOptions): Promise<readonly Row[]> {
  const plan: Plan = typeof asked === "function" ? asked : () => asked;
  const progress = showProgress(options.stream ?? (options.json ? process.stderr : process.stdout));
  // Before anything is written: a device that does not exist is a mistake.
  const device = await chooseDevice(options.device, progress.note);
  const folder = makeResultsFolder(options.out);
  const lock = lockFolder(folder);
  try {
    const results = openResults(folder);
    if (results.damage) progress.note(results.damage);
    const run: Session = { options, results, progress, device, environment: readEnvironment() };
    const wanted = new Map<string, Experiment>();
    for (;;) {
      const found = plan(finishedRows(run)).filter(({ trial }) => !wanted.has(trial.identity));
      if (found.length === 0) break;
      for (const experiment of found) wanted.set(experiment.trial.identity, experiment);
      await runRound(run, found);
    }
    const rows = new Map(results.rows().map((row) => [row.trial, row]));
    return [...wanted.keys()].map((identity) => rows.get(identity)!);
  } finally {
    progress.close();
    lock.release();
  }
}

interface Session {
  readonly options: RunOptions;
  readonly results: Results;
  readonly progress: Progress;
  readonly device: { readonly name: string; readonly software: boolean };
  readonly environment: Environment;
}

/** The rows that count as finished under this device and, if asked for, this version. */
function finishedRows({ results, device, options, environment }: Session): readonly Row[] {
  return results
    .rows()
    .filter(
      (row) =>
        row.status !== "failed" && row.device === device.name && (!options.fresh || isOfVersion(row, environment)),
    );
}

const isOfVersion = (row: Row, { commit, versions }: Environment): boolean =>
  row.commit === commit && row.versions["seqmix"] === versions["seqmix"];

/** Runs what is not finished of a list of trials, several at once. */
async function runRound(session: Session, experiments: readonly Experiment[]): Promise<void> {
  const { results, progress, options, device, environment } = session;
  const finishedRowOf = rowsOfTrials(finishedRows(session));
  const open = experiments.filter(({ trial }) => !finishedRowOf(trial));
  if (open.length < experiments.length) {
    progress.note(
      `${experiments.length - open.length} of ${experiments.length} trials are finished in ${options.out} already.`,
    );
    noteOtherVersions(
      experiments.flatMap(({ trial }) => finishedRowOf(trial) ?? []),
      environment,
      progress,
    );
  }
  if (open.length === 0) return;
  const jobs = jobsFor(open, options, device);
  const threads = options.threads ?? (jobs > 1 ? Math.max(1, Math.floor(availableParallelism() / jobs)) : undefined);
  const pool = openPool({
    device: device.name,
    software: device.software,
    commit: environment.commit,
    ...(threads === undefined ? {} : { threads }),
    ...(options.heap === undefined ? {} : { heap: options.heap }),
    ...(options.entry === undefined ? {} : { entry: options.entry }),
  });
  progress.expect(open.map(workOf));
  const titles = titlesOf(experiments);
  const stopping = listenForSignals(pool);
  const queue = [...open];
  const stopped: number[] = [];
  let problem: unknown;
  const runNext = async (): Promise<void> => {
    for (let next = queue.shift(); next && !stopping.signal && !problem; next = queue.shift()) {
      try {
        const outcome = await runOne(session, next, pool, { jobs, threads, title: titles.get(next)! });
        if (outcome.status === "stopped") stopped.push(outcome.step);
      } catch (error) {
        // The others save and end; nothing further could be kept.
        problem ??= error;
        pool.stop();
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: jobs }, runNext));
  } finally {
    stopping.end();
    await pool.close();
  }
  if (problem) throw problem;
  if (stopping.signal) throw stoppedBy(stopping.signal, results, stopped);
}

/** Runs a trial and adds its row. */
async function runOne(
  { results, progress, options, device, environment }: Session,
  experiment: Experiment,
  pool: WorkerPool,
  how: { readonly jobs: number; readonly threads: number | undefined; readonly title: string },
): Promise<Outcome> {
  const { trial, task } = experiment;
  const snapshot = results.pathOf(trial.identity, "snapshot");
  const job = progress.begin(how.title, workOf(experiment));
  const started = performance.now();
  const outcome = await pool.run({
    trial: trial.identity,
    snapshot,
    report: (report) => job.report(report),
    warn: (text) => progress.note(text),
  });
  if (outcome.status === "stopped") {
    job.end(outcome.step === 0 ? "stopped" : `saved after step ${outcome.step}`);
    return outcome;
  }
  const { deviceDescription, ...ended } = outcome;
  const row = rowOf(experiment, measuredOf(ended, (performance.now() - started) / 1000), {
    device: device.name,
    deviceDescription,
    jobs: how.jobs,
    ...(how.threads === undefined ? {} : { threads: how.threads }),
    ...environment,
  });
  results.append(row);
  if (outcome.status !== "failed") removeSnapshot(snapshot);
  if (options.json) process.stdout.write(`${JSON.stringify(row)}\n`);
  job.end(
    row.status === "done"
      ? formatMetric(task.metric, row.metrics[task.metric])
      : row.status === "failed"
        ? `failed: ${row.error}`
        : `diverged at step ${row.divergedAt}`,
  );
  return outcome;
}

/** What tells the trials of a list apart: the task, the mixer, and settings in which those of one task and mixer differ. */
function titlesOf(experiments: readonly Experiment[]): ReadonlyMap<Experiment, string> {
  const kind = ({ trial }: Experiment): string => `${trial.task.id} ${trial.mixer.id}`;
  const values = new Map<string, Set<unknown>>();
  for (const experiment of experiments)
    for (const [name, value] of Object.entries(experiment.trial.settings)) {
      const key = `${kind(experiment)} ${name}`;
      values.set(key, (values.get(key) ?? new Set()).add(value));
    }
  return new Map(
    experiments.map((experiment) => {
      const telling = Object.entries(experiment.trial.settings).filter(
        ([name]) => values.get(`${kind(experiment)} ${name}`)!.size > 1,
      );
      return [experiment, [kind(experiment), ...telling.map(([name, value]) => `${name}=${value}`)].join(" ")];
    }),
  );
}

/** Tokens trained on, by which the time left is shared out. */
const workOf = ({ training, task }: Experiment): number => training.steps * training.batch * task.length;

/** Parameters below which a model leaves most of a GPU idle. */
const SMALL = 1e6;
const JOBS_OF_A_GPU = 4;

/** Trials at once: small models hardly use a second thread, or a whole GPU. */
function jobsFor(open: readonly Experiment[], { jobs, threads }: RunOptions, device: Session["device"]): number {
  const most = (): number => {
    if (device.name === "reference") return availableParallelism();
    if (device.name === "cpu") return Math.max(1, Math.floor(availableParallelism() / (threads ?? 1)));
    const small = open.every(({ parameters }) => parameters < SMALL);
    return small && !device.software ? JOBS_OF_A_GPU : 1;
  };
  return Math.min(open.length, jobs ?? most());
}

function noteOtherVersions(rows: readonly Row[], environment: Environment, { note }: Progress): void {
  const others = rows.filter((row) => !isOfVersion(row, environment));
  if (others.length === 0) return;
  const versions = [
    ...new Set(others.map(({ versions, commit }) => `${versions["seqmix"] ?? "?"} (${commit.slice(0, 12)})`)),
  ];
  note(
    `${others.length} of them ${others.length === 1 ? "was" : "were"} run by another version, ${versions.join(", ")}; the report names it. --fresh runs them again.`,
  );
}

/** Ctrl-C and requests to terminate: the first saves, the second ends at once. */
function listenForSignals(pool: WorkerPool): { readonly signal: NodeJS.Signals | undefined; end(): void } {
  let signal: NodeJS.Signals | undefined;
  const stop = (received: NodeJS.Signals): void => {
    // The second time the user means now.
    if (signal) process.exit(130);
    signal = received;
    pool.stop();
  };
  const listened = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const name of listened) process.on(name, stop);
  return {
    get signal() {
      return signal;
    },
    end() {
      for (const name of listened) process.off(name, stop);
    },
  };
}

/** What of an outcome is for the row: a failed trial took its time and has nothing else. */
const measuredOf = (outcome: Exclude<Outcome, { status: "stopped" }>, wallSeconds: number): RowOutcome =>
  outcome.status === "failed" ? { ...outcome, tokensPerSecond: 0, wallSeconds, curve: [] } : outcome;

function stoppedBy(signal: NodeJS.Signals, { folder }: Results, steps: readonly number[]): Stopped {
  const known = steps.filter((step) => step > 0);
  const where = known.length === 0 ? "" : ` after step ${known.join(" and ")}`;
  return new Stopped(signal, `Stopped${where} and saved in ${folder}; the same command goes on from there.`);
}
