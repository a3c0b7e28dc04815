import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { register } from "node:module";
import { basename, dirname, extname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { InvalidArgumentError, type Command } from "commander";
import { readResults } from "../results/results.js";
import { runTrials } from "../trials/run-trials.js";
import { cellsOf, dueExperiments, planOf } from "../sweeps/run-sweep.js";
import { builtInSweeps } from "../sweeps/built-in.js";
import { SCALES, type Scale, type Sweep } from "../sweeps/sweep.js";
import { messageOf, UsageError } from "./usage-error.js";
import { didYouMean } from "./nearest-name.js";
import {
  addRunOptions,
  parseSeeds,
  parseShard,
  shardFolder,
  shardOf,
  type ParsedRunOptions,
  type Shard,
} from "./options.js";
import { finishSweep } from "./finish.js";

interface Options extends ParsedRunOptions {
  readonly scale: Scale;
  readonly seeds?: readonly number[];
  readonly shard?: Shard;
}

/** Registers `sweep`. */
export function registerSweep(program: Command, exit: (code: number) => void): void {
  const command = program
    .command("sweep")
    .description(
      "run the trials of a question: a name of `list`, or a file that exports defineSweep({ ... }) as `sweep`",
    )
    .argument("<question>", `${builtInSweeps.map(({ name }) => name).join(", ")}; or a .ts, .js or .mjs file`)
    .option(
      "--scale <scale>",
      `${SCALES.join(", ")}: to see that it runs, on a laptop, or as published`,
      parseScale,
      "laptop",
    )
    .option("--seeds <list>", 'other seeds than the sweep names, such as "0,1,2" or "0..4"', parseSeeds)
    .option("--shard <i/n>", "run the i-th of n parts; the parts are the same on every machine", parseShard);
  addRunOptions(command, undefined).action(async (question: string, options: Options) => {
    const { name, sweep } = await loadSweep(question);
    const plan = planOf(sweep, options.scale);
    const cells = cellsOf(options.seeds ? { ...plan, seeds: options.seeds } : plan);
    const out = shardFolder(options.out ?? join("results", `${name}-${options.scale}`), options.shard);
    const own = shardOf(cells, options.shard);
    const rows = await runTrials((found) => dueExperiments(own, found), { ...options, out });
    exit(
      await finishSweep({ name, sweep, question, scale: options.scale, cells: own }, rows, readResults(out).rows, {
        ...options,
        out,
      }),
    );
  });
}

/** A scale by its name. */
export function parseScale(text: string): Scale {
  if (!(SCALES as readonly string[]).includes(text))
    throw new InvalidArgumentError(`Expected ${SCALES.join(", ")}${didYouMean(text, SCALES)}`);
  return text as Scale;
}

/** A sweep by its name or its file. */
export async function loadSweep(question: string): Promise<{ readonly name: string; readonly sweep: Sweep }> {
  const builtIn = builtInSweeps.find(({ name }) => name === question);
  if (builtIn) return { name: builtIn.name, sweep: await loadFile(builtIn.file) };
  if (extname(question) === "")
    throw new UsageError(
      `Unknown question "${question}"${didYouMean(
        question,
        builtInSweeps.map(({ name }) => name),
      )}`,
    );
  return { name: basename(question, extname(question)), sweep: await loadFile(question) };
}

/** Loads a sweep file. Node 20 runs no TypeScript, so a .ts file is stripped of its types first. */
async function loadFile(file: string): Promise<Sweep> {
  const path = resolve(file);
  if (!existsSync(path)) throw new UsageError(`Expected a sweep file at ${path}, but there is none`);
  const module = (await (extname(path) === ".ts" ? importTypeScript(path) : importFile(path))) as {
    sweep?: Sweep;
    default?: Sweep;
  };
  const sweep = module.sweep ?? module.default;
  if (sweep?.task === undefined || !Array.isArray(sweep.mixers))
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
