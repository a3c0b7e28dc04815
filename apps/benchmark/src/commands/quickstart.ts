import type { Command } from "commander";
import { quickstartMixers, quickstartTasks } from "../trials/budgets.js";
import { prepare } from "../sweeps/experiment.js";
import { mixers } from "@seqmix/catalog";
import { runTrials, type RunOptions } from "../trials/run-trials.js";
import { verdictOf } from "../results/summary.js";
import { tasks } from "../trials/tasks.js";
import { trialOf } from "../trials/trial.js";
import { addRunOptions } from "./options.js";
import { finish } from "./finish.js";

/** Registers `quickstart`, the ablation of `npm start`: every task with each mixer, all from the same budget. */
export function registerQuickstart(program: Command, exit: (code: number) => void): void {
  const command = program
    .command("quickstart")
    .description(
      "train Mamba (a state-space model whose dynamics depend on the input), S4D (one whose dynamics do not) and a Transformer on two tasks, and compare them",
    );
  addRunOptions(command, "results/quickstart").action(async (options: RunOptions) => {
    const experiments = quickstartTasks.flatMap((task) =>
      Object.entries(quickstartMixers).map(([mixer, settings]) =>
        prepare(trialOf(task, mixer, settings, { tasks, mixers })),
      ),
    );
    // One at a time unless asked for, so that each has the whole machine and throughputs compare.
    const rows = await runTrials(experiments, { jobs: 1, ...options });
    exit(await finish(rows, rows, options, verdictOf(rows)));
  });
}
