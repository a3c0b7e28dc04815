/** Lines of results, as the command line writes them. */
import type { Row } from "../../src/results/results.js";
import { rowOf } from "../../src/results/row-of.js";
import type { Experiment } from "../../src/sweeps/experiment.js";
import type { DeviceReport } from "./messages.js";
import type { TrialState } from "./train-together.js";

/** The line of a trial as it stands; one that has not ended has no metrics yet. */
export function rowInPage(
  experiment: Experiment,
  { status, step, steps, ...measured }: TrialState,
  on: DeviceReport,
): Row {
  const ended = status === "done" || status === "diverged";
  return rowOf(
    experiment,
    {
      ...measured,
      status: ended ? status : "failed",
      ...(status === "stopped" && { error: `stopped after step ${step} of ${steps}` }),
    },
    {
      device: on.name,
      deviceDescription: on.description,
      commit: SEQMIX_COMMIT,
      versions: { seqmix: SEQMIX_VERSION },
      machine: navigator.userAgent,
    },
  );
}
