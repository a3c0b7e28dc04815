import { expect, test } from "vitest";
import {
  bernoulli,
  categorical,
  cpu,
  foldIn,
  key,
  mean,
  normal,
  randint,
  randomBits,
  realize,
  reference,
  splitKey,
  square,
  tensor,
  threefry,
  uniform,
  variance,
} from "../index.js";

test("threefry2x32-20 gives the known answers of the Random123 distribution", () => {
  const hex = (words: readonly number[]): string[] => words.map((word) => (word >>> 0).toString(16).padStart(8, "0"));
  expect(hex(threefry([0, 0], [0, 0]))).toEqual(["6b200159", "99ba4efe"]);
  expect(hex(threefry([-1, -1], [-1, -1]))).toEqual(["1cb996fc", "bb002be7"]);
  expect(hex(threefry([0x13198a2e, 0x03707344], [0x243f6a88, 0x85a308d3]))).toEqual(["c4923a9c", "483df7a0"]);
});

test("tensors of random bits are the cipher's, on every device", async () => {
  const source = key(7);
  const expected: number[] = [];
  for (let i = 0; i < 6; i++) expected.push(threefry(source.words, [i, 0])[0]);
  for (let i = 0; i < 5; i++) expected.push(threefry(source.words, [i, 0])[1]);
  for (const device of [reference(), cpu()])
    expect([...(await (await realize(randomBits(source, [11]), { device })).data())]).toEqual(expected);
});

test("uniform and normal numbers have their moments", async () => {
  const n = 40_000;
  const u = uniform(key(1), [n]);
  const z = normal(key(2), [n], 3, 2);
  expect(await mean(u).item()).toBeCloseTo(0.5, 2);
  expect(await variance(u).item()).toBeCloseTo(1 / 12, 2);
  expect(await mean(z).item()).toBeCloseTo(3, 1);
  expect(await variance(z).item()).toBeCloseTo(4, 0);
  expect(await mean(square(square(normal(key(3), [n])))).item()).toBeCloseTo(3, 0);
});

test("keys that differ give other numbers, the same key the same", async () => {
  const [a, b] = splitKey(key(1)) as [ReturnType<typeof key>, ReturnType<typeof key>];
  const names = [a, b, foldIn(a, 0), foldIn(a, 1), foldIn(a, "x"), foldIn(a, "y"), key(1), key(2)].map(({ words }) =>
    words.join(),
  );
  expect(new Set(names).size).toBe(names.length);
  expect([...(await uniform(a, [5]).data())]).toEqual([...(await uniform(a, [5]).data())]);
});

test("uniform numbers stay below their end where the sum would be rounded up to it", async () => {
  for (const [low, high, below] of [
    [2 ** 20, 2 ** 20 + 1, 2 ** 20 + 0.9375],
    [-1, 0, 0],
    [-(2 ** 24) - 2, -(2 ** 24), -(2 ** 24) - 1],
    [3, 3, 3],
  ] as const) {
    const drawn = await uniform(key(1), [1000], low, high).data();
    expect(drawn.every((x) => x >= low && (x < high || low === high) && x <= below)).toBe(true);
  }
  expect(() => uniform(key(1), [2], -3e38, 3e38)).toThrow("as wide as an f32 number at most");
  expect(() => uniform(key(1), [2], 1e39, 2e39)).toThrow("as wide as an f32 number");
});

// found by trying seeds: this key's draw of two has the smallest uniform number, 0, at its end
const least = key(10573324);

test("at the ends of what is drawn nothing leaves its range", async () => {
  expect((await uniform(least, [2]).data()).at(1)).toBe(0);
  expect(await categorical(least, tensor([-Infinity, 0]), 0).item()).toBe(1);
  expect(await categorical(least, tensor([-Infinity, 3e38]), 0).item()).toBe(1);
  expect((await normal(least, [64]).data()).every(Number.isFinite)).toBe(true);
  expect((await randint(least, [2], -(2 ** 31), -(2 ** 31) + 2 ** 24).data()).at(1)).toBe(-(2 ** 31));
  const ends = await randint(key(3), [4000], 2 ** 31 - 4, 2 ** 31 - 1).data();
  expect(new Set(ends)).toEqual(new Set([2 ** 31 - 4, 2 ** 31 - 3, 2 ** 31 - 2]));
  expect([...(await bernoulli(least, 0, [2]).data())]).toEqual([0, 0]);
  expect([...(await bernoulli(least, 1, [2]).data())]).toEqual([1, 1]);
});
