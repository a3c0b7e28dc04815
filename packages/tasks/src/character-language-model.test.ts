import { key } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { characterLanguageModel } from "./character-language-model.js";
import type { Batch } from "./task.js";

const read = async ({ inputs, targets, mask }: Batch): Promise<number[][]> =>
  Promise.all([inputs, targets, mask].map(async (x) => [...(await x.data())]));

const text = Array.from({ length: 1000 }, (_, k) => [..."abcde—fg𝄞"][(k * k + (k >> 3)) % 9]).join("");
const characters = [...text];

test("vocabulary and splits hold the text, in order", () => {
  const task = characterLanguageModel(text, { length: 16, id: "letters" });
  expect(task.id).toBe("letters");
  expect(task.vocabulary).toEqual([...new Set(characters)].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!));
  expect(task.chance).toBeCloseTo(Math.log2(task.vocabulary.length), 12);
  const { train, validation, test: last } = task.parts;
  expect([train.length, validation.length, last.length]).toEqual([900, 50, 50]);
  expect([...train, ...validation, ...last].map((code) => task.vocabulary[code])).toEqual(characters);
});

test("a label is the next character, and training windows come from their split", async () => {
  const task = characterLanguageModel(text, { length: 16 });
  const [tokens, labels, mask] = await read(task.batch(key(0), "validation", 200));
  const spoken = (codes: readonly number[]): string => String.fromCharCode(...codes.map((code) => 65 + code));
  const part = spoken([...task.parts.validation]);
  const starts = new Set<number>();
  for (let row = 0; row < 200; row++) {
    const window = tokens!.slice(row * 16, row * 16 + 16);
    expect(labels!.slice(row * 16, row * 16 + 15)).toEqual(window.slice(1));
    const whole = spoken([...window, labels![row * 16 + 15]!]);
    expect(part).toContain(whole);
    starts.add(part.indexOf(whole));
  }
  expect(mask!.every((value) => value === 1)).toBe(true);
  // Every start is reached, the first and the last included.
  expect(Math.min(...starts)).toBe(0);
  expect(Math.max(...starts)).toBe(50 - 17);
});

test("evaluation asks for every character but the first, once, in order", async () => {
  const task = characterLanguageModel(text, { length: 16 });
  const asked: number[] = [];
  for (const batch of task.evaluation("test", 3)) {
    const [tokens, labels, mask] = await read(batch);
    expect(batch.inputs.shape).toEqual([3, 16]);
    expect(tokens).toHaveLength(48);
    labels!.forEach((label, i) => mask![i] === 1 && asked.push(label));
  }
  expect(asked).toEqual([...task.parts.test].slice(1));
});

test("a text too short for the windows is refused", () => {
  expect(() => characterLanguageModel(text, { length: 50 })).toThrow(
    "expected at least 51 characters in the validation split for windows of length 50, got 50",
  );
  expect(() => characterLanguageModel(text, { length: 0 })).toThrow("got 0");
  expect(() => characterLanguageModel(text, { testFraction: 0.99 })).toThrow("leave something to train on");
});
