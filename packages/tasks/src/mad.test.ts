// Each answer is found again by a solver that reads the sequence as its definition says.
import { expect, test } from "vitest";
import {
  madCompression,
  madFuzzyRecall,
  madInContextRecall,
  madMemorization,
  madNoisyRecall,
  madSelectiveCopying,
} from "./index.js";
import { asked, draw } from "./testing/examples.js";

test.each(["train", "test"] as const)("recall: a key that occurs again has its value (%s)", async (split) => {
  for (const example of await draw(madInContextRecall({ vocabSize: 8, L: 19 }), 60, split)) {
    const valueOf = new Map<number, number>();
    const tokens = [...example.inputs, example.targets[18]!];
    const due: [number, number][] = [];
    for (let t = 0; t < 20; t += 2) {
      const [k, v] = [tokens[t]!, tokens[t + 1]!];
      if (valueOf.has(k)) due.push([t, v]);
      expect(valueOf.get(k) ?? v).toBe(v);
      valueOf.set(k, v);
    }
    expect(due.at(-1)![0]).toBe(18);
    expect(asked(example)).toEqual(split === "test" ? due : tokens.slice(1).map((token, t) => [t, token]));
  }
});

test("noisy recall: noise is of its own tokens, as often as asked for, and never an answer", async () => {
  const examples = await draw(madNoisyRecall({ vocabSize: 14, noiseTokens: 6, noiseShare: 0.4, L: 59 }), 200, "test");
  let noise = 0;
  for (const example of examples) {
    const pairs = Array.from({ length: 29 }, (_, k) => example.inputs.slice(2 * k, 2 * k + 2));
    const valueOf = new Map<number, number>();
    for (const [k, [a, b]] of pairs.entries()) {
      expect(a! >= 8).toBe(b! >= 8);
      const isDue = asked(example).find(([t]) => t === 2 * k);
      if (a! >= 8) noise++;
      expect(isDue?.[1]).toBe(a! < 8 ? valueOf.get(a!) : undefined);
      if (a! < 8) valueOf.set(a!, b!);
    }
    expect(asked(example).at(-1)).toEqual([58, valueOf.get(example.inputs[58]!)]);
  }
  // Of 29 pairs one is spared 29 times out of 30. Standard deviation: 0.007.
  expect(Math.abs(noise / (200 * (29 - 29 / 30)) - 0.4)).toBeLessThan(0.03);
});

test("fuzzy recall: runs of keys and values, of which those that occur again are due", async () => {
  const lengths = new Set<string>();
  for (const example of await draw(
    madFuzzyRecall({ vocabSize: 9, keyLength: 2, valueLength: 3, L: 40 }),
    100,
    "test",
  )) {
    const padding = example.inputs.findLastIndex((token) => token === 8) + 1;
    const ahead = [...example.inputs.slice(padding), example.targets[39]!];
    // The last pair's value is seen in the targets alone: it is what is due last.
    const runs = ahead.join("").match(/[0-3]+[4-7]+/g)!;
    const valueOf = new Map<string, string>();
    const due: number[] = [];
    let t = padding;
    for (const run of runs) {
      const [, k, v] = /^([0-3]+)([4-7]+)$/.exec(run)!;
      expect(k).toHaveLength(2);
      expect(new Set(k).size).toBe(2);
      lengths.add(`${v!.length}`);
      if (valueOf.has(k!)) [...v!].forEach((_, n) => due.push(t + 2 + n - 1));
      expect(valueOf.get(k!) ?? v).toBe(v);
      valueOf.set(k!, v!);
      t += run.length;
    }
    expect(asked(example)).toEqual(due.map((at) => [at, ahead[at + 1 - padding]]));
  }
  expect(lengths.size).toBe(3);
});

test("fuzzy recall trains on keys of all lengths, and every sequence ends with a key that has occurred", async () => {
  const keys = new Set<number>();
  for (const example of await draw(madFuzzyRecall({ vocabSize: 9, keyLength: 3, valueLength: 1, L: 40 }), 100)) {
    const tokens = [...example.inputs, example.targets[39]!].join("").replace(/^8*/, "");
    const runs = tokens.match(/[0-3]+[4-7]/g)!;
    expect(runs.join("")).toBe(tokens);
    runs.forEach((run) => keys.add(run.length - 1));
    expect(runs.slice(0, -1)).toContain(runs.at(-1));
  }
  expect([...keys].toSorted()).toEqual([1, 2, 3]);
});

test("selective copying: data in order, blanks between, none behind the last", async () => {
  for (const example of await draw(madSelectiveCopying({ vocabSize: 7, dataTokens: 4, L: 22 }), 60)) {
    const data = example.inputs.filter((token) => token < 5);
    expect(data).toHaveLength(4);
    expect(example.inputs[17]).toBe(6);
    expect(example.inputs[16]).toBeLessThan(5);
    expect(asked(example)).toEqual(data.map((token, k) => [18 + k, token]));
  }
  expect(() => madSelectiveCopying({ L: 33 })).toThrow("at least 34 for 16 data tokens, got 33");
});

test("compression asks for everything", async () => {
  for (const { inputs, targets, mask } of await draw(madCompression({ vocabSize: 6, L: 9 }), 20)) {
    expect(targets).toEqual(inputs);
    expect(inputs[8]).toBe(5);
    expect(Math.max(...inputs.slice(0, 8))).toBeLessThan(5);
    expect(mask).toHaveLength(9);
  }
});

test("memorization: one value a key, in all sequences and splits, different for different keys", async () => {
  const task = madMemorization({ vocabSize: 21, L: 10 });
  const valueOf = new Map<number, number>();
  for (const split of ["train", "validation", "test"] as const)
    for (const example of await draw(task, 60, split)) {
      expect(asked(example).map(([t]) => t)).toEqual([1, 3, 5, 7, 9]);
      for (const [t, value] of asked(example)) {
        expect(example.inputs[t]).toBe(20);
        const k = example.inputs[t - 1]!;
        expect(valueOf.get(k) ?? value).toBe(value);
        valueOf.set(k, value);
      }
    }
  expect([...valueOf.keys()].toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect([...valueOf.values()].toSorted((a, b) => a - b)).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
});
