// A package that exports a mixer, a kernel record or a task has it in the catalog: the suites then prove its laws.
import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { isTask } from "@seqmix/tasks";
import { kernels, mixers, tasks } from "./index.js";

const packages = new URL("../../../packages/", import.meta.url);
const kernelPackages = readdirSync(packages).filter((name) => name !== "webgpu" && name !== "software-gpu");
const exported = await Promise.all(
  kernelPackages.map(async (name): Promise<readonly [string, unknown[]]> => {
    const module = (await import(new URL(`${name}/src/index.ts`, packages).href)) as Record<string, unknown>;
    return [name, Object.values(module)];
  }),
);

const isMixer = (value: unknown): boolean =>
  typeof value === "object" && value !== null && ["id", "init", "modes"].every((key) => key in value);
const isRecord = (value: unknown): boolean =>
  typeof value === "function" &&
  typeof (value as { record?: { reference?: unknown } }).record?.reference === "function";

test.each(exported)("%s: every mixer, kernel record and task is in the catalog", (_, values) => {
  expect(values.filter(isMixer).filter((each) => !mixers.includes(each as never))).toEqual([]);
  expect(values.filter(isTask).filter(({ entry }) => !tasks.includes(entry))).toEqual([]);
  expect(values.filter(isRecord).filter((each) => !kernels.includes(each as never))).toEqual([]);
});

test("every mixer has a name of its own, and samples for its laws", () => {
  expect(mixers.length).toBeGreaterThan(0);
  expect(new Set(mixers.map(({ id }) => id)).size).toBe(mixers.length);
  expect(mixers.filter(({ samples }) => Object.keys(samples ?? {}).length === 0).map(({ id }) => id)).toEqual([]);
});

test("every word that a setting may be can stand in a trial's identity", () => {
  const words = [...mixers, ...tasks].flatMap((each) => {
    const defaults = "config" in each ? each.config : each.defaults;
    const choices = (each.choices ?? {}) as Readonly<Record<string, readonly unknown[]>>;
    return [...Object.values(defaults), ...Object.values(choices).flat()].filter((value) => typeof value === "string");
  });
  expect(words.length).toBeGreaterThan(0);
  expect(words.filter((word) => !/^[^\s:;=]+$/.test(word))).toEqual([]);
});
