import { InvalidArgumentError, type Command } from "commander";
import { cpus } from "node:os";
import { devices } from "./devices.js";
import type { RunOptions } from "../trials/run-trials.js";

/** Adds --device, --threads and --out. */
export function addRunOptions(command: Command, out: string | undefined): Command {
  command
    .option("--device <name>", `where to compute: ${Object.keys(devices).join(", ")}`, "cpu")
    .option("--threads <n>", `threads of the cpu device (all ${cpus().length} by default)`, parseThreads);
  return out === undefined
    ? command.option("--out <folder>", "folder of the results")
    : command.option("--out <folder>", "folder of the results", out);
}

/** What {@link addRunOptions} parses. */
export type ParsedRunOptions = Omit<RunOptions, "out"> & { readonly out?: string };

function parseThreads(text: string): number {
  const threads = Number(text);
  if (!Number.isInteger(threads) || threads < 1 || threads > 256)
    throw new InvalidArgumentError("Expected a whole number from 1 to 256.");
  return threads;
}
