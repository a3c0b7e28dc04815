/** Every mixer, kernel record and task that the packages of `packages.ts` export. */
import type { AnyMixer } from "@seqmix/mixer";
import { isTask, taskFamilies, type TaskEntry } from "@seqmix/tasks";
import type { AxisSpec, Kernel } from "@seqmix/tensor";
import * as packages from "./packages.js";

/** A kernel record as a function, whatever its names. */
export type AnyKernel = Kernel<AxisSpec, AxisSpec, unknown>;

const exported: readonly unknown[] = Object.values(packages).flatMap((each) => Object.values<unknown>(each));

/** Every architecture, by name. */
export const mixers: readonly AnyMixer[] = exported.filter(isMixer).toSorted((a, b) => order(a.id, b.id));

/** Every kernel record, by name. */
export const kernels: readonly AnyKernel[] = exported
  .filter(isKernel)
  .toSorted((a, b) => order(a.record.name, b.record.name));

/** Every task, by what it tests and then by name. */
export const tasks: readonly TaskEntry[] = exported
  .filter(isTask)
  .map(({ entry }) => entry)
  .toSorted((a, b) => family(a) - family(b) || order(a.id, b.id));

function isMixer(value: unknown): value is AnyMixer {
  return typeof value === "object" && value !== null && ["id", "init", "modes"].every((key) => key in value);
}

function isKernel(value: unknown): value is AnyKernel {
  return typeof value === "function" && typeof (value as Partial<AnyKernel>).record?.reference === "function";
}

function family(task: TaskEntry): number {
  return taskFamilies.indexOf(task.family);
}

function order(a: string, b: string): number {
  return a < b ? -1 : 1;
}
