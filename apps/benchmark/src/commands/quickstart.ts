import type { Command } from "commander";
import { prepare } from "../experiment.js";
import { mixers } from "../mixers.js";
import { runTrials, type RunOptions } from "../run-trials.js";
import { verdictOf } from "../summary.js";
import { tasks } from "../tasks.js";
import { trialOf } from "../trial.js";
import { addRunOptions } from "./options.js";
import { finish } from "./finish.js";

/** The ablation of `npm start`: every task with each of these, all from the same budget. */
const quickstartMixers = ["mamba", "s4d", "attention"];

/** Registers `quickstart`. */
export function registerQuickstart(program: Command, exit: (code: number) => void): void {
  const command = program.command("quickstart").description("train a selective SSM, an LTI SSM and attention on two tasks, and compare them");
  addRunOptions(command, "results/quickstart").action(async (options: RunOptions) => {
    const experiments = tasks.flatMap((task) => quickstartMixers.map((mixer) => prepare(trialOf(task.id, mixer, {}, { tasks, mixers }))));
    const rows = await runTrials(experiments, options);
    exit(await finish(rows, rows, options.out, verdictOf(rows)));
  });
}
