// Each answer is found again by a solver that computes it in another way.
import { expect, test } from "vitest";
import { finiteGroup, groupWord, modularArithmetic, parity } from "./index.js";
import { asked, draw } from "./testing/examples.js";

test.each(["last", "every"] as const)("parity, asked at %s: that of the ones so far", async (where) => {
  const lengths = new Set<number>();
  for (const example of await draw(parity({ L: 12, minLength: 3, asked: where, longest: 0 }), 200)) {
    const bits = example.inputs.filter((token) => token > 0).map((token) => token - 1);
    lengths.add(bits.length);
    expect(example.inputs.slice(bits.length).every((token) => token === 0)).toBe(true);
    const expected = bits.map((_, t) => [t, 1 + (bits.slice(0, t + 1).filter((bit) => bit === 1).length % 2)]);
    expect(asked(example)).toEqual(where === "last" ? expected.slice(-1) : expected);
  }
  expect([...lengths].toSorted((a, b) => a - b)).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
});

test("parity beyond its length asks for longer sequences only", async () => {
  const { beyond } = parity({ L: 8, longest: 20 });
  expect(Object.keys(beyond!)).toEqual(["L=16", "L=20"]);
  for (const example of await draw(beyond!["L=20"]!, 40, "test"))
    expect(example.inputs.filter((token) => token > 0).length).toBeGreaterThan(8);
});

test.each([
  [false, ["_", "+", "-", "*", "=", "0", "1", "2", "3", "4"]],
  [true, ["_", "+", "-", "*", "=", "(", ")", "0", "1", "2", "3", "4"]],
] as const)("arithmetic with brackets %s: JavaScript computes the same", async (brackets, symbols) => {
  const depths = new Set<number>();
  for (const example of await draw(modularArithmetic({ L: 24, minLength: 2, brackets, longest: 0 }), 300)) {
    const text = example.inputs.map((token) => symbols[token]).join("");
    const [expression, rest] = text.split("=");
    expect(rest).toMatch(/^_*$/);
    expect(expression).toMatch(brackets ? /^[-+*()0-4]+$/ : /^[0-4]([-+*][0-4])*$/);
    depths.add(expression!.split("(").length - 1);
    // A sign behind an operator is a sign: "1--2" means 1 - (-2).
    const value = Number(new Function(`return ${expression!.replace(/([-+*])-/g, "$1 -")}`)());
    expect(asked(example)).toEqual([[expression!.length, symbols.indexOf(String(((value % 5) + 5) % 5) as "0")]]);
  }
  expect(Math.max(...depths) > 2).toBe(brackets);
});

test.each([
  ["S3", 6],
  ["S5", 120],
  ["A5", 60],
  ["Z60", 60],
  ["A4xZ5", 60],
] as const)("%s is a group of %d elements", (name, order) => {
  const { size, product } = finiteGroup(name);
  expect(size).toBe(order);
  for (let a = 0; a < size; a++) {
    expect(product(0, a)).toBe(a);
    expect(product(a, 0)).toBe(a);
    // Every row and column holds every element once.
    expect(new Set(Array.from({ length: size }, (_, b) => product(a, b))).size).toBe(size);
  }
  for (let n = 0; n < 200; n++) {
    const [a, b, c] = [(7 * n) % size, (11 * n + 3) % size, (13 * n + 5) % size] as const;
    expect(product(product(a, b), c)).toBe(product(a, product(b, c)));
  }
  const commutes = Array.from({ length: size }, (_, a) => product(a, 1) === product(1, a)).every(Boolean);
  if (name === "Z60") expect(commutes).toBe(true);
  if (name === "S3") expect(commutes).toBe(false);
});

test("the targets of a word are what the permutations do to a row of things", async () => {
  const { permutations } = finiteGroup("S4");
  for (const example of await draw(groupWord({ group: "S4", L: 15, longest: 0 }), 20)) {
    for (let t = 0; t < 15; t++) {
      // Each thing walks from place to place.
      const ends = [0, 1, 2, 3].map((place) =>
        example.inputs.slice(0, t + 1).reduce((at, element) => permutations[element]![at]!, place),
      );
      expect(permutations[example.targets[t]!]).toEqual(ends);
    }
    expect(asked(example)).toHaveLength(15);
  }
});

test("a finite training set has so many different words", async () => {
  const examples = await draw(groupWord({ trainSequences: 7, longest: 0 }), 200);
  expect(new Set(examples.map(({ inputs }) => inputs.join())).size).toBe(7);
  // None of them is tested on.
  const tested = await draw(groupWord({ trainSequences: 7, longest: 0 }), 50, "test");
  expect(tested.some(({ inputs }) => examples.some((each) => each.inputs.join() === inputs.join()))).toBe(false);
});

test("what cannot be is refused", () => {
  expect(() => groupWord({ group: "D4" })).toThrow("a group such as S3, A5, Z60 or A4xZ5");
  expect(() => groupWord({ group: "S6xZ2" })).toThrow("at most 1000 elements, got S6xZ2 with 1440");
  expect(() => parity({ L: 4, minLength: 5, longest: 0 })).toThrow("minLength of at most L=4, got 5");
  expect(() => parity({ L: 4, longest: 3 })).toThrow("at least L=4, got 3");
});
