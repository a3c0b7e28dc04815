// What every task of this package must obey, at its smallest scale.
import { key } from "@seqmix/tensor";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, expect, test } from "vitest";
import * as library from "./index.js";
import type { Task, TaskEntry } from "./index.js";
import { examplesOf, type Example } from "./testing/examples.js";

const require = createRequire(import.meta.url);
const entries = Object.values<unknown>(library)
  .filter(library.isTask)
  .map(({ entry }) => entry);

function smallest(entry: TaskEntry): Task {
  const smoke = Object.entries(entry.scales?.smoke ?? {}).filter(([name]) => name in entry.defaults);
  return entry.make({ ...entry.defaults, ...Object.fromEntries(smoke) }, ({ package: name, file }) =>
    readFileSync(require.resolve(`${name}/${file}`)),
  );
}

test("every file that defines a task is exported, and every task has a name of its own", () => {
  const files = readdirSync(new URL(".", import.meta.url)).filter((name) => /^[a-z0-9-]+\.ts$/.test(name));
  const defining = files.filter(
    (name) =>
      name !== "define-task.ts" &&
      /^export const \w+ = defineTask/m.test(readFileSync(new URL(name, import.meta.url), "utf8")),
  );
  const index = readFileSync(new URL("index.ts", import.meta.url), "utf8");
  expect(defining.filter((name) => !index.includes(`"./${name.replace(".ts", ".js")}"`))).toEqual([]);
  expect(entries.length).toBeGreaterThanOrEqual(defining.length);
  expect(new Set(entries.map(({ id }) => id)).size).toBe(entries.length);
});

describe.each(entries.map((entry) => [entry.id, entry] as const))("%s", (_, entry) => {
  const task = smallest(entry);
  const A = task.answers === "positions" ? task.length : task.answers;

  test("has what the contract says, of the shapes and values it says", async () => {
    expect(task.id).toBe(entry.id);
    expect(Object.keys(task.config)).toEqual(expect.arrayContaining(Object.keys(entry.defaults)));
    for (const split of ["train", "validation", "test"] as const) {
      const batch = task.batch(key(3), split, 5);
      expect(batch.inputs.shape).toEqual([5, task.length, ...("channels" in task.input ? [task.input.channels] : [])]);
      expect(batch.inputs.dtype).toBe("channels" in task.input ? "f32" : "i32");
      expect(batch.targets.shape).toEqual([5, A, ...("numbers" in task.output ? [task.output.numbers] : [])]);
      expect(batch.targets.dtype).toBe("numbers" in task.output ? "f32" : "i32");
      expect([batch.mask.shape, batch.mask.dtype]).toEqual([[5, A], "f32"]);
      for (const example of await examplesOf(batch)) expectInRange(task, example);
    }
  });

  test("a batch is a function of its key and split", async () => {
    const batch = (seed: number, split: library.Split = "train"): Promise<Example[]> =>
      examplesOf(task.batch(key(seed), split, 4));
    const train = await batch(3);
    expect(await batch(3)).toEqual(train);
    expect(await batch(4)).not.toEqual(train);
    expect(await batch(3, "test")).not.toEqual(train);
  });

  test("evaluation is the same for every batch size, and fills up with what does not count", async () => {
    const counted = async (split: library.Split, size: number): Promise<unknown[]> => {
      const all: unknown[] = [];
      for (const batch of task.evaluation(split, size)) {
        expect(batch.inputs.shape[0]).toBe(size);
        const rows = await examplesOf(batch);
        all.push(...rows.filter(({ mask }) => mask.includes(1)));
      }
      return all;
    };
    const seven = await counted("test", 7);
    expect(await counted("test", 16)).toEqual(seven);
    expect(seven).toHaveLength(Number(task.config["evaluationSequences"] ?? seven.length));
    expect(await counted("validation", 7)).not.toEqual(seven);
  });

  test("chance is that of a uniform guess among the answers that occur, or of their mean", async () => {
    if (task.metric === "nmse") return expect(task.chance).toBe(1);
    if (task.metric === "bitsPerChar")
      return expect(task.chance).toBeCloseTo(Math.log2((task.input as { vocabSize: number }).vocabSize), 12);
    const seen = new Set<number>();
    for (let seed = 0; seed < 20; seed++)
      for (const { targets, mask } of await examplesOf(task.batch(key(seed), "test", 32)))
        targets.forEach((target, k) => mask[k] === 1 && seen.add(target));
    expect(task.chance).toBeCloseTo(1 / seen.size, 9);
  });

  test("settings it does not have are refused", () => {
    const [name] = Object.entries(entry.defaults).find(([, value]) => typeof value === "number")!;
    expect(() => entry.make({ ...entry.defaults, [name]: Number.NaN })).toThrow(name);
  });
});

function expectInRange({ input, output, length, answers }: Task, { inputs, targets, mask, present }: Example): void {
  if ("vocabSize" in input)
    expect(inputs.every((token) => Number.isInteger(token) && token >= 0 && token < input.vocabSize)).toBe(true);
  else expect(inputs.every(Number.isFinite)).toBe(true);
  const width = "numbers" in output ? output.numbers : 1;
  if ("classes" in output)
    expect(targets.every((target) => Number.isInteger(target) && target >= 0 && target < output.classes)).toBe(true);
  expect(mask.every((counts) => counts === 0 || counts === 1)).toBe(true);
  expect(mask).toContain(1);
  targets.forEach((target, k) => mask[Math.floor(k / width)] === 0 && expect(target).toBe(0));
  // Padding is behind the end, and nothing is asked there.
  if (present) {
    const end = present.indexOf(0) === -1 ? length : present.indexOf(0);
    expect(end).toBeGreaterThan(0);
    expect(present.slice(end).every((there) => there === 0)).toBe(true);
    if (answers === "positions") expect(mask.slice(end).every((counts) => counts === 0)).toBe(true);
  }
}
