/** What the page and its worker say to each other. */
import type { Reading } from "../state/sensitivity.js";
import type { Row } from "../../src/results/results.js";
import type { DeviceChoice } from "../address.js";
import type { TrialState } from "./train-together.js";

/** To the worker. */
export type Request =
  | { readonly kind: "train"; readonly trials: readonly string[]; readonly device: DeviceChoice }
  | { readonly kind: "stop" }
  /** Reads a sequence of the test split with a trained model. */
  | { readonly kind: "read"; readonly trial: string; readonly sequence: number };

/** The device that trials run on. */
export interface DeviceReport {
  readonly name: "webgpu" | "cpu";
  readonly description: string;
  /** What the user should know of it, a sentence, if anything. */
  readonly notice?: string;
}

/** A trial as the page shows it: a line of results that is still being written. */
export interface LiveTrial {
  readonly state: TrialState;
  /** The line of results, as it would be if the trial ended now. */
  readonly row: Row;
}

/** A sequence that was read. */
export interface ReadSequence {
  readonly trial: string;
  readonly tokens: readonly number[];
  /** The right answers; undefined where none is asked for. */
  readonly targets: readonly (number | undefined)[];
  readonly symbols: readonly string[];
  readonly reading: Reading;
}

/** From the worker. */
export type Answer =
  | { readonly kind: "device"; readonly device: DeviceReport }
  | { readonly kind: "trial"; readonly trial: LiveTrial }
  | { readonly kind: "reading"; readonly done: number; readonly of: number }
  | { readonly kind: "read"; readonly read: ReadSequence }
  | { readonly kind: "idle" }
  | { readonly kind: "error"; readonly message: string };
