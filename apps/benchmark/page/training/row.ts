/** Lines of results, as the command line writes them. */
import type { Row } from "../../src/results/results.js";
import type { Experiment } from "../../src/sweeps/experiment.js";
import type { DeviceReport } from "./messages.js";
import type { TrialState } from "./train-together.js";

/** The line of a trial as it stands; one that has not ended has no metrics yet. */
export function rowOf(
  { trial, task, parameters, stateBytes, training }: Experiment,
  state: TrialState,
  on: DeviceReport,
): Row {
  const { metric } = task;
  return {
    trial: trial.identity,
    task: trial.task.id,
    mixer: trial.mixer.id,
    device: on.name,
    deviceDescription: on.description,
    seed: training.seed,
    status: state.status === "done" || state.status === "diverged" ? state.status : "failed",
    ...(state.status === "stopped" && { error: `stopped after step ${state.step} of ${state.steps}` }),
    metric,
    metrics: {
      ...(state.test !== undefined && { [metric]: state.test }),
      chance: task.chance,
      ...trial.task.baselines?.(task),
    },
    validation: state.validation === undefined ? {} : { [metric]: state.validation },
    parameters,
    stateBytes,
    tokensPerSecond: state.tokensPerSecond,
    wallSeconds: state.wallSeconds,
    curve: state.curve,
    commit: SEQMIX_COMMIT,
    versions: { seqmix: SEQMIX_VERSION },
    machine: navigator.userAgent,
    config: trial.settings,
    finished: new Date().toISOString(),
  };
}
