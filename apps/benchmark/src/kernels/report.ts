/** The result file as a whole, and the place it goes to. */
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, statSync } from "node:fs";
import { availableParallelism, cpus, loadavg } from "node:os";
import { dirname, resolve } from "node:path";
import { writeFileAtomically } from "../results/atomic-file.js";
import { readEnvironment } from "../results/environment.js";
import { messageOf, UsageError } from "../commands/usage-error.js";
import type { KernelReport, KernelRow } from "./row.js";

const folder = new URL("../../", import.meta.url);

/** Processor, cores, Node, and the load of the last minute, which says how much the figures can be trusted. */
export const machineNow = (): string =>
  `${cpus()[0]?.model.trim() || process.arch}, ${availableParallelism()} threads, Node ${process.versions.node}, load average ${loadavg()[0]!.toFixed(2)}`;

/** Commit, Node, the packages of this repository that the benchmark uses, and the peers. */
export function versionsOf(peers: Readonly<Record<string, string>>): Record<string, string> {
  const read = (path: string): { version: string; dependencies: Record<string, string> } =>
    JSON.parse(readFileSync(new URL(path, folder), "utf8")) as {
      version: string;
      dependencies: Record<string, string>;
    };
  const own = Object.keys(read("package.json").dependencies).filter((name) => name.startsWith("@seqmix/"));
  const { commit, versions } = readEnvironment();
  return {
    commit,
    ...versions,
    ...Object.fromEntries(own.map((name) => [name, read(`node_modules/${name}/package.json`).version])),
    ...peers,
  };
}

/** Makes the folder if only that is missing, and tries to write there, before anything is measured. @throws UsageError */
export function assertWritable(path: string): void {
  const target = resolve(path);
  const trial = `${target}.${process.pid}.partial`;
  try {
    if (statSync(target, { throwIfNoEntry: false })?.isDirectory()) throw new Error("it is a folder");
    // One level: a recursive mkdir never returns below /proc (Node 20).
    if (!existsSync(dirname(target))) mkdirSync(dirname(target));
    closeSync(openSync(trial, "a"));
    rmSync(trial);
  } catch (error) {
    throw new UsageError(`--json cannot be written to ${path}: ${messageOf(error)}; name another file`);
  }
}

/** Writes the file at once. */
export function writeReport(path: string, report: KernelReport): void {
  writeFileAtomically(resolve(path), `${JSON.stringify(report, null, 2)}\n`);
}

/** Whether all rows may be trusted. */
export const allGreen = (rows: readonly KernelRow[]): boolean => rows.every(({ check }) => check === "green");
