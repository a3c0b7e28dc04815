/** Results: one JSON line a trial, only ever appended to. A trial that diverged or failed is a line too. */
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { createHash } from "node:crypto";
import { dirname, join, normalize } from "node:path";
import type { TaskMetric } from "@seqmix/tasks";
import { appendLine, writeFileAtomically } from "./atomic-file.js";
import { parseRow } from "./parse-row.js";
import type { Settings } from "../trials/settings.js";
import { messageOf, UsageError } from "../commands/usage-error.js";

/** A point of a training curve. */
export interface CurvePoint {
  /** Updates made. */
  readonly step: number;
  /** Tokens trained on. */
  readonly tokens: number;
  /** Mean training loss since the point before, in nats a token. */
  readonly loss: number;
  /** The task's metric on the validation split, where it was measured. */
  readonly validation?: number;
}

/** How a trial ended: `diverged` when its loss stopped being a finite number. */
export type Status = "done" | "diverged" | "failed";

/** One line of results.jsonl. */
export interface Row {
  /** The form of the row. */
  readonly format?: number;
  /** The identity string. */
  readonly trial: string;
  readonly task: string;
  readonly mixer: string;
  readonly device: string;
  /** What the device says of itself. */
  readonly deviceDescription: string;
  readonly seed: number;
  readonly status: Status;
  /** Why the trial failed. */
  readonly error?: string;
  /** The first step whose loss was no finite number. */
  readonly divergedAt?: number;
  /** What the task is judged by. */
  readonly metric: TaskMetric;
  /** On the test split: `accuracy` (0..1) or `bitsPerChar`; `chance` and baselines such as `trigram` in the same unit. */
  readonly metrics: Readonly<Record<string, number>>;
  /** On the validation split, to select by. */
  readonly validation: Readonly<Record<string, number>>;
  readonly parameters: number;
  /** Of one sequence after L tokens, all layers; null for a mixer without a finite state. */
  readonly stateBytes: number | null;
  /** Floating-point operations of one sequence of L forward. */
  readonly flops?: number;
  /** The metric on the test split where the task is made harder, by its name, e.g. "L=512". */
  readonly beyond?: Readonly<Record<string, number>>;
  /** Tokens trained on a second, without the first step of a process (which plans and compiles) and without measuring. */
  readonly tokensPerSecond: number;
  /** Everything, runs before a resume included. */
  readonly wallSeconds: number;
  /** Trials that ran at once, this one included, and threads of each: times depend on them. */
  readonly jobs?: number;
  readonly threads?: number;
  readonly curve: readonly CurvePoint[];
  readonly commit: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly machine: string;
  /** All settings, defaults included. */
  readonly config: Settings;
  /** When the trial ended, ISO 8601. */
  readonly finished: string;
}

/** A folder of results. */
export interface Results {
  readonly folder: string;
  /** The latest line of each trial, in the order of the trials' first lines. */
  rows(): readonly Row[];
  /** Adds a line and waits until it is on the disk. */
  append(row: Row): void;
  /** Path of a file in the folder. */
  path(name: string): string;
  /** Path of a trial's own file. */
  pathOf(trial: string, ending: string): string;
  /** What was wrong with the file when it was opened, one sentence, or undefined. */
  readonly damage: string | undefined;
}

/** File systems allow names of 255 bytes; the ending, and what a file is called while it is written, come on top. */
const LONGEST_NAME = 180;

/** The identity as a file name; a long one is cut, and told apart by its hash. */
function fileNameOf(trial: string): string {
  const name = trial.replaceAll(/[^\w.=-]+/g, "_");
  if (name.length <= LONGEST_NAME) return name;
  return `${name.slice(0, LONGEST_NAME - 17)}-${createHash("sha256").update(trial).digest("hex").slice(0, 16)}`;
}

const FILE = "results.jsonl";
const CORRUPT = "results.corrupt.jsonl";

/**
 * Makes a folder for results, unless there is one that can be written.
 * @returns Its path in normal form.
 * @throws UsageError if it cannot be written.
 */
export function makeResultsFolder(given: string): string {
  // a/../b is b, whether there is an a or not
  const folder = normalize(given);
  assertWritable(folder);
  return folder;
}

/**
 * Opens a folder of results, making it if need be. Lines that are no results (a torn last line after a power cut, an
 * edit gone wrong) are moved to results.corrupt.jsonl; the rest is used.
 * @throws UsageError if the folder cannot be written.
 */
export function openResults(given: string): Results {
  const folder = makeResultsFolder(given);
  const file = join(folder, FILE);
  const { rows, corrupt, complete } = readLines(file);
  if (corrupt.length > 0) for (const line of corrupt) appendLine(join(folder, CORRUPT), line);
  if (corrupt.length > 0 || !complete)
    writeFileAtomically(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return {
    folder,
    rows: () => latest(rows),
    append(row) {
      appendLine(file, JSON.stringify(row));
      rows.push(row);
    },
    path: (name) => join(folder, name),
    pathOf: (trial, ending) => join(folder, `${fileNameOf(trial)}.${ending}`),
    damage:
      corrupt.length === 0
        ? undefined
        : `${file}: ${corrupt.length === 1 ? "1 line was" : `${corrupt.length} lines were`} no result and moved to ${CORRUPT}; the other ${rows.length} are used`,
  };
}

/**
 * Reads a folder of results without changing anything.
 * @throws UsageError if there are none.
 */
export function readResults(folder: string): { readonly rows: readonly Row[]; readonly corrupt: number } {
  const file = join(folder, FILE);
  if (!existsSync(file))
    throw new UsageError(
      `Expected results in ${file}, but there is no such file; run trials with --out ${folder} first`,
    );
  const { rows, corrupt } = readLines(file);
  return { rows: latest(rows), corrupt: corrupt.length };
}

function readLines(file: string): { rows: Row[]; corrupt: string[]; complete: boolean } {
  // Some editors put a mark of the byte order in front.
  const text = existsSync(file) ? readFileSync(file, "utf8").replace(/^\uFEFF/, "") : "";
  const rows: Row[] = [];
  const corrupt: string[] = [];
  for (const line of text.split("\n")) {
    if (line.trim() === "") continue;
    const row = parseRow(line);
    if (row) rows.push(row);
    else corrupt.push(line);
  }
  return { rows, corrupt, complete: text === "" || text.endsWith("\n") };
}

const latest = (rows: readonly Row[]): Row[] => [...new Map(rows.map((row) => [row.trial, row])).values()];

/** Makes a folder and those above it, one by one: a recursive mkdir never returns below /proc (Node 20). */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  mkdirSync(folder);
}

function assertWritable(folder: string): void {
  try {
    makeFolder(folder);
    const probe = join(folder, `.writable.${process.pid}`);
    writeFileAtomically(probe, "");
    rmSync(probe);
  } catch (error) {
    throw new UsageError(
      `Cannot write results into ${folder} (${messageOf(error)}); choose another folder with --out`,
      { cause: error },
    );
  }
}
