import type { Command } from "commander";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { formatDuration } from "../report/format.js";
import { formatTable } from "../report/table.js";
import { writeFileAtomically } from "../results/atomic-file.js";
import { spread } from "../sweeps/forecast-finding.js";
import {
  runSignalTrial,
  stateSpaceExperiments,
  type SignalOutcome,
  type SignalTraining,
  type StateSpaceExperiment,
} from "../sweeps/state-spaces/experiments.js";
import { devices, openDevice } from "./devices.js";
import { parseCount } from "./options.js";

interface Options {
  readonly device: string;
  readonly steps: number;
  readonly seeds: number;
  readonly out?: string;
}

/** Registers a command for each experiment. */
export function registerStateSpaces(program: Command): void {
  for (const experiment of stateSpaceExperiments)
    program
      .command(experiment.id)
      .description(`${experiment.title}, in small state-space models trained side by side`)
      .option("--device <name>", `where to compute: ${Object.keys(devices).join(", ")}`, "cpu")
      .option("--steps <n>", "training steps", parseCount, 300)
      .option("--seeds <n>", "seeds of each model", parseCount, 3)
      .option("--out <folder>", `folder of ${experiment.id}.html and .json; results/${experiment.id} by default`)
      .action((options: Options) => run(experiment, options));
}

async function run(
  experiment: StateSpaceExperiment,
  { device: name, steps, seeds, out = join("results", experiment.id) }: Options,
): Promise<void> {
  const { stateSpacesPage } = await import("../report/state-spaces-page.js");
  mkdirSync(out, { recursive: true });
  const training: SignalTraining = { steps, batch: 32, learningRate: 3e-3 };
  const device = await openDevice(name);
  const outcomes: SignalOutcome[] = [];
  try {
    for (const task of experiment.tasks)
      for (const arm of experiment.arms)
        for (let seed = 0; seed < seeds; seed++) {
          const started = performance.now();
          const found = await runSignalTrial(experiment, task, arm, training, seed, device);
          outcomes.push(...found);
          console.log(
            `${task.id}, ${arm.name}, seed ${seed}: ${found.map(({ test }) => test.toFixed(4)).join(", ")} (${formatDuration((performance.now() - started) / 1000)})`,
          );
        }
  } finally {
    await device.close();
  }
  console.log(`\n${table(experiment, outcomes)}\n`);
  const { id, title } = experiment;
  writeFileAtomically(join(out, `${id}.json`), `${JSON.stringify({ id, title, ...training, seeds, outcomes })}\n`);
  const page = join(out, `${id}.html`);
  writeFileAtomically(page, stateSpacesPage(experiment, outcomes, training));
  console.log(`Written to ${page}.`);
}

function table({ tasks }: StateSpaceExperiment, outcomes: readonly SignalOutcome[]): string {
  const names = [...new Set(outcomes.map(({ name }) => name))];
  return formatTable(
    [{ title: "mean ± deviation over seeds" }, ...tasks.map(({ id }) => ({ title: id, number: true }))],
    names.map((name) => [
      name,
      ...tasks.map(({ id }) =>
        spread(
          outcomes.filter(({ task }) => task === id),
          name,
        ),
      ),
    ]),
  );
}
