// A package that exports a mixer, a kernel record or a task has it in the catalog: the suites then prove its laws.
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { configure } from "@seqmix/mixer";
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

test("every mixer has a page, or a part of one that names it", () => {
  const folder = new URL("../../../docs/architectures/", import.meta.url);
  const files = readdirSync(folder);
  const text = files.map((name) => readFileSync(new URL(name, folder), "utf8").toLowerCase()).join("");
  const without = mixers.filter(
    ({ id }) => !files.includes(`${id}.md`) && !text.includes(`\`${id.replaceAll("-", "").toLowerCase()}\``),
  );
  expect(without.map(({ id }) => id)).toEqual([]);
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

test.each(mixers.map((mixer) => [mixer.id, mixer] as const))("%s refuses settings that mean nothing", (_, mixer) => {
  const settings = Object.entries(mixer.config as Readonly<Record<string, unknown>>);
  for (const [name, standard] of settings) {
    const refused = (value: unknown, words: RegExp): void =>
      expect(() => configure(mixer, { [name]: value as never }), `${name}=${String(value)}`).toThrow(words);
    expect(() => configure(mixer, { [`${name}s`]: standard as never })).toThrow(
      new RegExp(`^${mixer.id}: expected a setting out of .*, got ${name}s=`),
    );
    refused(null, /^[a-zA-Z0-9-]+: expected /);
    refused(NaN, /expected .*got NaN/);
    if (typeof standard !== "boolean") refused(true, /expected .*got true/);
    if (typeof standard === "number" && Number.isFinite(standard)) refused(Infinity, /expected .*got Infinity/);
    refused("no-such-word", /expected .*got "?no-such-word/);
  }
  for (const name of ["dModel", "chunkSize"])
    if (name in mixer.config)
      for (const value of [0, -1, 1.5])
        expect(() => configure(mixer, { [name]: value })).toThrow(
          `${mixer.id}: expected ${name}, a whole number from 1 to Infinity, got ${value}; change it`,
        );
});
