/** The built command line as a user starts it: a process of its own. For tests. */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import type { Row } from "../results/results.js";

const app = resolve(import.meta.dirname, "..", "..");
/** What the processes run. */
export const cli = join(app, "dist", "cli.js");

/** Builds it: nothing to do after a build. */
export async function buildBench(): Promise<void> {
  const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin", "tsc");
  await new Promise<void>((done) => execFile(process.execPath, [tsc, "-b", app], () => done()));
  if (!existsSync(cli)) throw new Error(`expected the build to make ${cli}`);
}

/** A process that ended, and all it printed. */
export interface Ended {
  readonly code: number | null;
  readonly output: string;
  readonly stdout: string;
}

/** Runs the command line in a folder; `onOutput` is told whenever it prints. */
export function bench(
  folder: string,
  args: readonly string[],
  onOutput?: (child: ChildProcess, output: string) => void,
): Promise<Ended> {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, [cli, ...args], { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
    let [output, stdout] = ["", ""];
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        if (stream === child.stdout) stdout += text;
        onOutput?.(child, output);
      });
    child.on("error", fail).on("close", (code) => done({ code, output, stdout }));
  });
}

/** The lines of a folder's results. */
export const linesOf = (folder: string): Row[] =>
  existsSync(join(folder, "results.jsonl"))
    ? readFileSync(join(folder, "results.jsonl"), "utf8")
        .trim()
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as Row)
    : [];

/** A tiny trial of so many steps. */
export const tinyTrial = (steps: number, more = ""): string =>
  `selective-copying:attention:dataTokens=2;positions=6;dModel=8;nLayers=1;nHeads=2;batch=4;warmup=2;${more}steps=${steps}`;
