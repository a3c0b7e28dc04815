/** What the command line and its worker processes say to each other. */
import type { TrainingOutcome, TrainingReport } from "./train.js";

/** How a worker computes. */
export interface WorkerOptions {
  /** Name of the device: "cpu", "reference" or "webgpu". */
  readonly device: string;
  /** Threads of the cpu device. */
  readonly threads?: number;
  /** Take the software adapter for webgpu. */
  readonly software?: boolean;
  /** Commit that snapshots are of. */
  readonly commit: string;
}

/** To a worker. */
export type Order =
  | { readonly kind: "open"; readonly options: WorkerOptions }
  | { readonly kind: "run"; readonly trial: string; readonly snapshot: string }
  /** Save the running trial and end it. */
  | { readonly kind: "stop" };

/** How a trial ended in a worker. */
export type Outcome = TrainingOutcome | { readonly status: "failed"; readonly error: string };

/** From a worker. */
export type Message =
  | { readonly kind: "ready"; readonly description: string }
  | { readonly kind: "report"; readonly report: TrainingReport }
  | { readonly kind: "warning"; readonly text: string }
  | { readonly kind: "outcome"; readonly outcome: Outcome }
  /** The device is gone; a new process goes on from the snapshot. */
  | { readonly kind: "lost"; readonly error: string }
  /** A mistake in what was asked for, or a disk that cannot be written: nothing further can run. */
  | { readonly kind: "halt"; readonly error: string };
