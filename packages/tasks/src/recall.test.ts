// Each answer is found again by a solver that reads the sequence as its definition says.
import { key } from "@seqmix/tensor";
import { expect, test } from "vitest";
import {
  associativeRecall,
  copying,
  induction,
  mqar,
  mqarCompositional,
  mqarForgetting,
  ngramLookup,
} from "./index.js";
import { hostRandom } from "./host-random.js";
import { powerLawPlaces } from "./power-law-places.js";
import { asked, draw, examplesOf } from "./testing/examples.js";

test("copying: the markers ask for the first tokens in order, over nothing but blanks", async () => {
  for (const example of await draw(copying({ vocabSize: 7, dataTokens: 4, L: 15 }), 30)) {
    const data = example.inputs.slice(0, 4);
    expect(data.every((token) => token >= 1 && token <= 5)).toBe(true);
    expect(example.inputs.slice(4)).toEqual([...new Array<number>(7).fill(0), 6, 6, 6, 6]);
    expect(asked(example)).toEqual(data.map((token, k) => [11 + k, token]));
  }
  expect(() => copying({ L: 19 })).toThrow("at most 9 data tokens for L=19");
});

test("induction: the answer follows the first special token, which stands anywhere", async () => {
  const task = induction({ vocabSize: 5, L: 9, longest: 30 });
  const places = new Set<number>();
  for (const example of await draw(task, 200)) {
    const first = example.inputs.indexOf(4);
    places.add(first);
    expect(example.inputs.filter((token) => token === 4)).toHaveLength(2);
    expect(asked(example)).toEqual([[8, example.inputs[first + 1]]]);
  }
  expect([...places].toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6]);
  expect(Object.entries(task.beyond!).map(([name, { length }]) => [name, length])).toEqual([
    ["L=18", 18],
    ["L=30", 30],
  ]);
  expect(() => induction({ L: 9, longest: 8 })).toThrow("at least L=9, got 8");
});

test("associative recall: a key keeps its value within a sequence, and the last key has occurred", async () => {
  const seen = new Set<string>();
  for (const example of await draw(associativeRecall({ vocabSize: 9, L: 12 }), 100)) {
    const pairs = new Map<number, number>();
    for (let t = 0; t < 10; t += 2) {
      const [k, v] = [example.inputs[t]!, example.inputs[t + 1]!];
      expect(pairs.get(k) ?? v).toBe(v);
      pairs.set(k, v);
      seen.add(`${k} ${v}`);
    }
    expect(example.inputs[10]).toBe(8);
    expect(asked(example)).toEqual([[11, pairs.get(example.inputs[11]!)]]);
  }
  expect(seen.size).toBe(16);
});

/** What the keys stand for in the first `count` positions: the latest value. */
function bindings(inputs: readonly number[], count: number): Map<number, number> {
  const values = new Map<number, number>();
  for (let t = 0; t < count; t += 2) values.set(inputs[t]!, inputs[t + 1]!);
  return values;
}

test.each([1, 2])("MQAR with %d passes: every key is asked for once, and only keys are", async (passes) => {
  for (const example of await draw(mqar({ vocabSize: 40, L: 30, pairs: 4, passes }), 50)) {
    const values = bindings(example.inputs, 8 * passes);
    expect(values.size).toBe(4);
    for (const [k, v] of values) expect(k >= 1 && k < 20 && v >= 20 && v < 40).toBe(true);
    expect(new Set(values.values()).size).toBe(4);
    const questions = asked(example);
    expect(questions.every(([t]) => t >= 8 * passes && t % 2 === 0)).toBe(true);
    expect(questions.map(([t]) => example.inputs[t]).toSorted()).toEqual([...values.keys()].toSorted());
    for (const [t, answer] of questions) expect(answer).toBe(values.get(example.inputs[t]!));
  }
});

test("MQAR as in the source's picture: without noise all other positions are 0", async () => {
  for (const example of await draw(mqar({ vocabSize: 32, pairs: 2, L: 16, noise: false }), 20)) {
    const places = asked(example).map(([t]) => t);
    example.inputs.forEach((token, t) => expect(token > 0).toBe(t < 4 || places.includes(t)));
  }
});

test("forgetting MQAR: updated keys have another value, and the latest is due", async () => {
  for (const example of await draw(mqarForgetting({ vocabSize: 40, L: 30, pairs: 4, updates: 3 }), 50)) {
    const before = bindings(example.inputs, 8);
    const after = bindings(example.inputs, 14);
    expect(after.size).toBe(4);
    expect([...after].filter(([k, v]) => before.get(k) !== v)).toHaveLength(3);
    for (const [t, answer] of asked(example)) expect(answer).toBe(after.get(example.inputs[t]!));
    expect(asked(example)).toHaveLength(4);
  }
});

test("compositional MQAR: two tokens together tell the value, neither alone", async () => {
  for (const example of await draw(mqarCompositional({ vocabSize: 63, L: 60, sideKeys: 3 }), 30)) {
    const values = new Map<string, number>();
    for (let t = 0; t < 27; t += 3) values.set(example.inputs.slice(t, t + 2).join(), example.inputs[t + 2]!);
    expect(values.size).toBe(9);
    expect(new Set([...values.keys()].map((pair) => pair.split(",")[0])).size).toBe(3);
    expect(new Set([...values.keys()].map((pair) => pair.split(",")[1])).size).toBe(3);
    expect(asked(example)).toHaveLength(9);
    for (const [t, answer] of asked(example))
      expect(answer).toBe(values.get(example.inputs.slice(t - 1, t + 1).join()));
  }
});

test("places follow the power law, and none is taken twice", () => {
  const random = hostRandom(key(5));
  const first = Array.from({ length: 4000 }, () => powerLawPlaces(random, 1, 8, 0.5)[0]!);
  const weights = Array.from({ length: 8 }, (_, k) => (k + 1) ** -0.5);
  const total = weights.reduce((a, b) => a + b, 0);
  weights.forEach((weight, k) => {
    // A standard deviation is 0.008 at most.
    const share = first.filter((place) => place === k).length / 4000;
    expect(Math.abs(share - weight / total)).toBeLessThan(0.03);
  });
  for (let n = 0; n < 50; n++)
    expect(powerLawPlaces(random, 8, 8, 0.01).toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});

const text = (tokens: readonly number[]): string => tokens.map((token) => "abcdef$|.*"[token]).join("");

test.each([
  ["copy", /^\$([a-f]+)\|()()\1\.$/],
  ["prefix", /^\$([a-f]{2})\|([a-f]*?)\1([a-f]*)\|\3\.$/],
  ["suffix", /^\$([a-f]*?)([a-f]{2})([a-f]*)\|\2\3\.$/],
] as const)("n-gram lookup, %s: strings read as the source writes them", async (kind, form) => {
  const task = ngramLookup({ kind, letters: 6, minLength: 8, maxLength: 12, ngram: 2, L: 60 });
  for (const example of await examplesOf(task.batch(key(1), "test", 40))) {
    const line = text(example.inputs).replace(/\*+$/, "");
    expect(line).toMatch(form);
    // What is due is the end of the line, one position ahead, from behind the question on.
    const first = asked(example)[0]![0];
    expect(text(asked(example).map(([, answer]) => answer))).toBe(line.slice(first + 1));
    expect(asked(example).at(-1)![0]).toBe(line.length - 2);
    if (kind === "copy") expect(first).toBe(line.indexOf("|"));
    if (kind === "prefix") expect(first).toBe(line.lastIndexOf("|"));
    if (kind === "suffix") expect(first).toBe(line.indexOf("|") + 2);
    if (kind === "suffix") expect(line.split("|")[0]!.split(line.slice(first - 1, first + 1))).toHaveLength(2);
  }
  for (const example of await draw(task, 20)) {
    const lines = text(example.inputs).split(/(?<=\.)/);
    const whole = lines.filter((line) => line.endsWith("."));
    expect(whole.length).toBeGreaterThanOrEqual(lines.length - 1);
    expect(whole.every((line) => form.test(line))).toBe(true);
    // Of a line that does not fit nothing is due.
    const end = whole.reduce((count, line) => count + line.length, 0);
    expect(asked(example).at(-1)![0]).toBe(end - 2);
  }
});

test("what does not fit is refused", () => {
  expect(() => ngramLookup({ maxLength: 60 })).toThrow("L of at least 123 for strings of 60, got 100");
  expect(() => ngramLookup({ minLength: 5 })).toThrow("minLength of at least 6");
  expect(() => ngramLookup({ letters: 2 })).toThrow("20 different ones, got 2 and 3");
  expect(() => ngramLookup({ kind: "other" as "copy" })).toThrow("copy or prefix or suffix for kind, got other");
  expect(() => mqar({ pairs: 20 })).toThrow("at least 80 for 20 pairs");
  expect(() => mqarForgetting({ updates: 9 })).toThrow("9 updates");
  expect(() => mqarCompositional({ sideKeys: 4 })).toThrow("at least 96 for 16 keys");
  expect(() => associativeRecall({ vocabSize: 8 })).toThrow("an odd vocabSize");
});
