import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { register } from "node:module";
import { basename, dirname, extname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Command } from "commander";
import { prepare } from "../sweeps/experiment.js";
import { mixers } from "@seqmix/catalog";
import { readResults } from "../results/results.js";
import { runTrials } from "../trials/run-trials.js";
import { expandSweep, type Sweep } from "../sweeps/sweep.js";
import { tasks } from "../trials/tasks.js";
import { trialOf } from "../trials/trial.js";
import { messageOf, UsageError } from "./usage-error.js";
import { addRunOptions, type ParsedRunOptions } from "./options.js";
import { finish } from "./finish.js";

/** Registers `sweep`. */
export function registerSweep(program: Command, exit: (code: number) => void): void {
  const command = program
    .command("sweep")
    .description("run the trials of a file that exports defineSweep({ ... }) as `sweep`")
    .argument("<file>", ".ts, .js or .mjs");
  addRunOptions(command, undefined).action(async (file: string, options: ParsedRunOptions) => {
    const sweep = await loadSweep(file);
    const out = options.out ?? join("results", basename(file, extname(file)));
    const trials = new Map(
      expandSweep(sweep)
        .map(({ mixer, settings }) => trialOf(sweep.task, mixer, settings, { tasks, mixers }))
        .map((trial) => [trial.identity, trial]),
    );
    const rows = await runTrials([...trials.values()].map(prepare), { ...options, out });
    exit(await finish(rows, readResults(out).rows, { ...options, out }));
  });
}

/** Loads a sweep file. Node 20 runs no TypeScript, so a .ts file is stripped of its types first. */
async function loadSweep(file: string): Promise<Sweep> {
  const path = resolve(file);
  if (!existsSync(path)) throw new UsageError(`Expected a sweep file at ${path}, but there is none`);
  const module = (await (extname(path) === ".ts" ? importTypeScript(path) : importFile(path))) as {
    sweep?: Sweep;
    default?: Sweep;
  };
  const sweep = module.sweep ?? module.default;
  if (typeof sweep?.task !== "string" || !Array.isArray(sweep.mixers))
    throw new UsageError(`Expected ${file} to export defineSweep({ task, mixers, ... }) as "sweep"`);
  return sweep;
}

async function importTypeScript(path: string): Promise<unknown> {
  const { default: ts } = await import("typescript");
  const { outputText } = ts.transpileModule(readFileSync(path, "utf8"), {
    fileName: path,
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 },
  });
  // Beside the original, so that its imports are found.
  const stripped = join(dirname(path), `.${basename(path)}.${process.pid}.mjs`);
  try {
    writeFileSync(stripped, outputText);
    return await importFile(stripped);
  } finally {
    rmSync(stripped, { force: true });
  }
}

/** Resolves "@seqmix/benchmark" to this app from wherever the sweep file lies. */
const resolveHook = `export const resolve = (specifier, context, next) =>
  specifier === "@seqmix/benchmark" ? { url: ${JSON.stringify(new URL("../index.js", import.meta.url).href)}, shortCircuit: true } : next(specifier, context);`;

async function importFile(path: string): Promise<unknown> {
  register(`data:text/javascript,${encodeURIComponent(resolveHook)}`);
  try {
    return await import(pathToFileURL(path).href);
  } catch (error) {
    throw new UsageError(`Cannot load the sweep file ${path}: ${messageOf(error)}`, { cause: error });
  }
}
