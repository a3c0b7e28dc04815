import { InvalidArgumentError, type Command } from "commander";
import { cpus } from "node:os";
import { AUTO, devices } from "./devices.js";
import type { RunOptions } from "../trials/run-trials.js";

/** Adds the options of every command that runs trials. */
export function addRunOptions(command: Command, out: string | undefined): Command {
  command
    .option(
      "--device <name>",
      `where to compute: ${Object.keys(devices).join(", ")}, or ${AUTO}: a GPU if there is one`,
      "cpu",
    )
    .option("--threads <n>", `threads of the cpu device in each trial (${cpus().length} cores here)`, wholeFrom(1, 256))
    .option("--jobs <n>", "trials at once (as many as the cores bear by default)", wholeFrom(1, 256))
    .option("--heap <MiB>", "JavaScript heap of each trial's process", wholeFrom(32, 2 ** 20))
    .option("--fresh", "run trials again that another version of this program finished")
    .option("--json", "print each finished trial's row as a line of JSON, and everything else to the error stream");
  return out === undefined
    ? command.option("--out <folder>", "folder of the results", folderOf)
    : command.option("--out <folder>", "folder of the results", folderOf, out);
}

/** Results without a folder would lie wherever the command was started. */
function folderOf(text: string): string {
  if (text.trim() === "") throw new InvalidArgumentError("Expected a folder, such as results/mine.");
  return text;
}

/** What {@link addRunOptions} parses. */
export type ParsedRunOptions = Omit<RunOptions, "out"> & { readonly out?: string };

/** A parser of whole numbers in a range. */
export const wholeFrom =
  (least: number, most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least || value > most)
      throw new InvalidArgumentError(`Expected a whole number from ${least} to ${most}.`);
    return value;
  };

/** A parser of numbers above 0. */
export const aboveZero =
  (most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!(value > 0 && value <= most)) throw new InvalidArgumentError(`Expected a number above 0, at most ${most}.`);
    return value;
  };

/** A parser of one seed. */
export const parseSeed = wholeFrom(0, 2 ** 31 - 1);

/** A parser of counts. */
export function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError("Expected a whole number of at least 1.");
  return count;
}

/** Seeds as "0,1,2" or "0..4". */
export function parseSeeds(text: string): readonly number[] {
  const range = /^(\d+)\.\.(\d+)$/.exec(text);
  const seeds = range
    ? Array.from({ length: Math.max(0, Number(range[2]) - Number(range[1]) + 1) }, (_, k) => Number(range[1]) + k)
    : text.split(",").map((each) => (each.trim() === "" ? NaN : Number(each)));
  if (seeds.length === 0 || seeds.length > 1000 || seeds.some((seed) => !Number.isSafeInteger(seed) || seed < 0))
    throw new InvalidArgumentError('Expected seeds as whole numbers, such as "0,1,2" or "0..4".');
  return [...new Set(seeds)];
}

/** A part of the work: the i-th of n, i from 1. */
export interface Shard {
  readonly index: number;
  readonly count: number;
}

/** A shard as "i/n". */
export function parseShard(text: string): Shard {
  const found = /^(\d+)\/(\d+)$/.exec(text);
  const [index, count] = [Number(found?.[1]), Number(found?.[2])];
  if (!(index >= 1 && index <= count))
    throw new InvalidArgumentError('Expected a part such as "1/4", from "1/4" to "4/4".');
  return { index, count };
}

/** The elements of a list that a shard has: every n-th. The shards of a list have each element once. */
export const shardOf = <T>(list: readonly T[], shard: Shard | undefined): readonly T[] =>
  shard ? list.filter((_, k) => k % shard.count === shard.index - 1) : list;

/** Where a shard's results lie: in a folder of its own, below that of the whole. */
export const shardFolder = (out: string, shard: Shard | undefined): string =>
  shard ? `${out}/shard-${shard.index}-of-${shard.count}` : out;
