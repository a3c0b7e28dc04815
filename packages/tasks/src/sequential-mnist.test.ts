import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { expect, test } from "vitest";
import { sequentialMnist, type SequentialMnistConfig, type Task } from "./index.js";
import { draw, examplesOf, type Example } from "./testing/examples.js";

const require = createRequire(import.meta.url);
const contents = new Map<string, Uint8Array>();
const make = (config: SequentialMnistConfig): Task =>
  sequentialMnist.entry.make(config, ({ package: name, file }) => {
    const bytes = contents.get(file) ?? readFileSync(require.resolve(`${name}/${file}`));
    contents.set(file, bytes);
    return bytes;
  });
const digits = (digit: number): number[] =>
  (JSON.parse(new TextDecoder().decode(contents.get(`src/digits/${digit}.json`))) as { data: number[] }).data;

async function all(task: Task, split: "validation" | "test"): Promise<Example[]> {
  const examples: Example[] = [];
  for (const batch of task.evaluation(split, 100)) examples.push(...(await examplesOf(batch)));
  return examples.filter(({ mask }) => mask[0] === 1);
}

test("the last tenth of every digit is tested, each image once, pixel by pixel", async () => {
  const task = make({ L: 784, permuted: false });
  const examples = await all(task, "test");
  for (let digit = 0; digit < 10; digit++) {
    const own = examples.filter(({ targets }) => targets[0] === digit);
    const pixels = digits(digit);
    const count = pixels.length / 784;
    const first = Math.floor(0.9 * count);
    expect(own).toHaveLength(count - first);
    own
      .slice(0, 3)
      .forEach(({ inputs }, k) =>
        expect(inputs).toEqual([...new Float32Array(pixels.slice((first + k) * 784, (first + k + 1) * 784))]),
      );
  }
  const validated = new Set((await all(task, "validation")).map(({ inputs }) => inputs.join()));
  expect(examples.filter(({ inputs }) => validated.has(inputs.join()))).toEqual([]);
  const trained = await draw(task, 50);
  expect(trained.filter(({ inputs }) => validated.has(inputs.join()))).toEqual([]);
});

test("smaller images are means of squares, permuted ones the same pixels in one other order", async () => {
  const [whole, small, permuted] = await Promise.all(
    [
      { L: 784, permuted: false },
      { L: 49, permuted: false },
      { L: 49, permuted: true },
    ].map(async (config) => draw(make(config), 3)),
  );
  for (let k = 0; k < 3; k++) {
    let corner = 0;
    for (const row of [12, 13, 14, 15])
      for (const column of [12, 13, 14, 15]) corner += whole![k]!.inputs[28 * row + column]!;
    expect(small![k]!.inputs[7 * 3 + 3]).toBeCloseTo(corner / 16, 5);
    expect(permuted![k]!.inputs).not.toEqual(small![k]!.inputs);
    expect([...permuted![k]!.inputs].sort()).toEqual([...small![k]!.inputs].sort());
  }
  expect(() => make({ L: 100, permuted: false })).toThrow("784, 196 or 49, got 100");
  expect(() => sequentialMnist()).toThrow("a way to read the digits");
});
