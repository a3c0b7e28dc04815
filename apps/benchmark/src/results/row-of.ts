/** The row of a trial: the same on the command line and in the page. */
import type { Experiment } from "../sweeps/experiment.js";
import type { Row } from "./results.js";

/** How a trial came out, or how far it is. */
export interface RowOutcome extends Pick<
  Row,
  "status" | "error" | "divergedAt" | "beyond" | "tokensPerSecond" | "wallSeconds" | "curve"
> {
  /** The task's metric on the test split and on the validation split, where they were measured. */
  readonly test?: number;
  readonly validation?: number;
}

/** Where a trial ran, and of which version. */
export type RowOrigin = Pick<
  Row,
  "device" | "deviceDescription" | "commit" | "versions" | "machine" | "jobs" | "threads"
>;

/** The row, finished now. */
export function rowOf(
  { trial, task, parameters, stateBytes, flops, training }: Experiment,
  { status, error, divergedAt, test, validation, beyond, ...measured }: RowOutcome,
  origin: RowOrigin,
): Row {
  const { metric } = task;
  return {
    format: 1,
    trial: trial.identity,
    task: trial.task.id,
    mixer: trial.mixer.id,
    seed: training.seed,
    status,
    ...(error !== undefined && { error }),
    ...(divergedAt !== undefined && { divergedAt }),
    metric,
    metrics: {
      ...(test !== undefined && { [metric]: test }),
      chance: task.chance,
      ...trial.task.baselines?.(task),
    },
    ...(beyond && { beyond }),
    validation: validation === undefined ? {} : { [metric]: validation },
    parameters,
    stateBytes,
    flops,
    ...measured,
    ...origin,
    config: trial.settings,
    finished: new Date().toISOString(),
  };
}
