import type { Command } from "commander";
import { prepare } from "../sweeps/experiment.js";
import { mixers } from "@seqmix/catalog";
import { readResults } from "../results/results.js";
import { runTrials } from "../trials/run-trials.js";
import { tasks } from "../trials/tasks.js";
import { parseTrial, withSeed } from "../trials/trial.js";
import {
  addRunOptions,
  parseSeeds,
  parseShard,
  shardFolder,
  shardOf,
  type ParsedRunOptions,
  type Shard,
} from "./options.js";
import { finish } from "./finish.js";

interface Options extends ParsedRunOptions {
  readonly out: string;
  readonly seeds?: readonly number[];
  readonly shard?: Shard;
}

/** Registers `run`. */
export function registerRun(program: Command, exit: (code: number) => void): void {
  const command = program
    .command("run")
    .description(
      "run trials (a trial is one training run), given by their identity, such as selective-copying:mamba:dataTokens=16;positions=64;lr=5e-3;steps=3000;seed=0 (quote it)",
    )
    .argument("<trial...>", "task:mixer:setting=value;...")
    .option("--seeds <list>", 'run every trial with each of these seeds, such as "0,1,2" or "0..4"', parseSeeds)
    .option("--shard <i/n>", "run the i-th of n parts; the parts are the same on every machine", parseShard);
  addRunOptions(command, "results/run").action(async (texts: readonly string[], options: Options) => {
    const given = texts.map((text) => parseTrial(text, { tasks, mixers }));
    const seeded = options.seeds
      ? given.flatMap((trial) => options.seeds!.map((seed) => withSeed(trial, seed)))
      : given;
    const trials = [...new Map(seeded.map((trial) => [trial.identity, trial])).values()];
    const out = shardFolder(options.out, options.shard);
    const rows = await runTrials(shardOf(trials, options.shard).map(prepare), { ...options, out });
    exit(await finish(rows, readResults(out).rows, { ...options, out }));
  });
}
