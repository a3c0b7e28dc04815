import type { Command } from "commander";
import { prepare } from "../sweeps/experiment.js";
import { mixers } from "@seqmix/catalog";
import { readResults } from "../results/results.js";
import { runTrials, type RunOptions } from "../trials/run-trials.js";
import { tasks } from "../trials/tasks.js";
import { parseTrial } from "../trials/trial.js";
import { addRunOptions } from "./options.js";
import { finish } from "./finish.js";

/** Registers `run`. */
export function registerRun(program: Command, exit: (code: number) => void): void {
  const command = program
    .command("run")
    .description(
      "run trials given by their identity, such as selective-copying:mamba:dataTokens=16;positions=64;lr=5e-3;steps=3000;seed=0 (quote it)",
    )
    .argument("<trial...>", "task:mixer:setting=value;...");
  addRunOptions(command, "results/run").action(async (texts: readonly string[], options: RunOptions) => {
    const trials = new Map(
      texts.map((text) => parseTrial(text, { tasks, mixers })).map((trial) => [trial.identity, trial]),
    );
    const rows = await runTrials([...trials.values()].map(prepare), options);
    exit(await finish(rows, readResults(options.out).rows, options.out));
  });
}
