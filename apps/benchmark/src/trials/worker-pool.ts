/** Worker processes: each runs one trial at a time, and is replaced when it dies. */
import { fork, type ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { UsageError } from "../commands/usage-error.js";
import type { TrainingReport } from "./train.js";
import type { Message, Order, Outcome, WorkerOptions } from "./worker-messages.js";

/** A trial for a worker. */
export interface Assignment {
  /** Its identity. */
  readonly trial: string;
  /** Where its snapshot lies. */
  readonly snapshot: string;
  report(report: TrainingReport): void;
  warn(text: string): void;
}

/** A set of workers. */
export interface WorkerPool {
  /**
   * Runs a trial in a free worker, or a new one.
   * @returns How it ended; a worker that died is a failed trial.
   * @throws UsageError if nothing further can run, e.g. on a full disk.
   */
  run(assignment: Assignment): Promise<Outcome & { readonly deviceDescription: string }>;
  /** Asks every running trial to save and end. */
  stop(): void;
  /** Ends the workers. */
  close(): Promise<void>;
}

/** What a pool is made of. */
export interface PoolOptions extends WorkerOptions {
  /** Heap of a worker in MiB; Node's own limit if left out. */
  readonly heap?: number;
  /** The program that a worker is, with the argument "worker"; this one by default. */
  readonly entry?: string;
}

/** Devices that one trial may lose before it counts as failed. */
const MOST_LOSSES = 3;
/** Signals that ask a process to end. A scheduler sends them to all processes of a job, in any order. */
const REQUESTS: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];
/** Milliseconds until this process must have heard of it too. */
const PATIENCE = 2000;
/** Characters of a dead worker's last words. */
const LAST_WORDS = 4000;

interface Worker {
  readonly child: ChildProcess;
  readonly description: string;
  /** What it wrote to its error stream, the end of it. */
  errors(): string;
}

/** Starts no worker yet. */
export function openPool({ heap, entry = process.argv[1]!, ...options }: PoolOptions): WorkerPool {
  const idle: Worker[] = [];
  const all = new Set<ChildProcess>();
  const stop = new AbortController();

  /** A dead worker is a failed trial, unless it was told to end with all others: its trial is as it was last saved then. */
  const outcomeOfDeath = async (child: ChildProcess, errors: string): Promise<Outcome> => {
    if (REQUESTS.includes(child.signalCode!)) {
      await sleep(PATIENCE, undefined, { signal: stop.signal }).catch(() => {});
      if (stop.signal.aborted) return { status: "stopped", step: 0 };
    }
    return { status: "failed", error: deathOf(child, errors) };
  };

  /** @returns How its trial ends, if it died before it could begin. */
  const start = async (): Promise<Worker | Outcome> => {
    const child = fork(entry, ["worker"], {
      execArgv: heap === undefined ? [] : [`--max-old-space-size=${heap}`],
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      detached: true, // Ctrl-C goes to the command line alone, which says when to save
      serialization: "advanced", // numbers that are not finite stay what they are
    });
    all.add(child);
    child.once("exit", () => all.delete(child));
    let errors = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      errors = (errors + text).slice(-LAST_WORDS);
    });
    tell(child, { kind: "open", options });
    const message = await nextOf(child, ["ready", "halt"]);
    if (message === undefined) return outcomeOfDeath(child, errors);
    if (message.kind === "halt") throw new UsageError(message.error);
    return { child, description: (message as Extract<Message, { kind: "ready" }>).description, errors: () => errors };
  };

  const attempt = async (worker: Worker, { trial, snapshot, report, warn }: Assignment): Promise<Message> => {
    const listen = (message: Message): void => {
      if (message.kind === "report") report(message.report);
      if (message.kind === "warning") warn(message.text);
    };
    worker.child.on("message", listen);
    tell(worker.child, { kind: "run", trial, snapshot });
    if (stop.signal.aborted) tell(worker.child, { kind: "stop" });
    const end = await nextOf(worker.child, ["outcome", "lost", "halt"]);
    worker.child.off("message", listen);
    return end ?? { kind: "outcome", outcome: await outcomeOfDeath(worker.child, worker.errors()) };
  };

  /** A worker that waits, unless it died meanwhile. */
  const free = (): Worker | undefined => {
    for (let worker = idle.pop(); worker; worker = idle.pop()) if (worker.child.connected) return worker;
    return undefined;
  };

  return {
    async run(assignment) {
      for (let losses = 0; ;) {
        const worker = free() ?? (await start());
        if (!("child" in worker)) return { ...worker, deviceDescription: "none: the process did not begin" };
        const end = await attempt(worker, assignment);
        if (end.kind === "outcome" && worker.child.connected) idle.push(worker);
        else worker.child.kill("SIGKILL");
        if (end.kind === "halt") throw new UsageError(end.error);
        if (end.kind === "outcome") return { ...end.outcome, deviceDescription: worker.description };
        const { error } = end as Extract<Message, { kind: "lost" }>;
        if (++losses === MOST_LOSSES)
          return { status: "failed", error: `${error} (${losses} times)`, deviceDescription: worker.description };
        assignment.warn(`The device was lost; ${assignment.trial} goes on from its snapshot on a new one.`);
      }
    },
    stop() {
      stop.abort();
      for (const child of all) if (child.connected) tell(child, { kind: "stop" });
    },
    async close() {
      const ends = [...all].map((child) => new Promise<void>((done) => child.once("exit", () => done())));
      for (const child of all) child.kill("SIGKILL");
      await Promise.all(ends);
    },
  };
}

/** The next message of one of the kinds; undefined if the process ends before. */
function nextOf(child: ChildProcess, kinds: readonly Message["kind"][]): Promise<Message | undefined> {
  return new Promise((resolve) => {
    const done = (message: Message | undefined): void => {
      child.off("message", listen);
      child.off("close", gone);
      resolve(message);
    };
    const listen = (message: Message): void => {
      if (kinds.includes(message.kind)) done(message);
    };
    const gone = (): void => done(undefined);
    child.on("message", listen);
    child.once("close", gone);
    if (child.exitCode !== null || child.signalCode !== null) gone();
  });
}

/** Sends an order. A worker that is gone is heard of by its end, not by what it can no longer be sent. */
const tell = (child: ChildProcess, order: Order): void => void child.send(order, () => {});

/** Why a worker died, in one sentence. */
function deathOf(child: ChildProcess, errors: string): string {
  const heap = /heap out of memory|heap limit/i.test(errors);
  if (heap) return "its process ran out of memory (heap limit); lower batch, L or the model's size, or raise --heap";
  const how = child.signalCode
    ? `was killed by ${child.signalCode}${child.signalCode === "SIGKILL" ? ", perhaps by the system for lack of memory" : ""}`
    : `ended with exit code ${child.exitCode}`;
  const said = errors
    .split("\n")
    .map((line) => line.trim())
    .findLast((line) => /error/i.test(line));
  return `its process ${how}${said ? `: ${said}` : ""}`;
}
