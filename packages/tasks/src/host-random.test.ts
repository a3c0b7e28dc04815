import { key } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { hostRandom } from "./host-random.js";

const many = <T>(count: number, draw: () => T): T[] => Array.from({ length: count }, draw);
const mean = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0) / values.length;

test("normal numbers have the moments and the tails of the normal distribution", () => {
  const random = hostRandom(key(1));
  const drawn = many(40_000, () => random.normal());
  // Standard deviations of these means: 0.005, 0.007, 0.019, 0.05, and at most 0.0025 of a share.
  expect(Math.abs(mean(drawn))).toBeLessThan(0.02);
  expect(mean(drawn.map((x) => x ** 2))).toBeCloseTo(1, 1.3);
  expect(Math.abs(mean(drawn.map((x) => x ** 3)))).toBeLessThan(0.08);
  expect(Math.abs(mean(drawn.map((x) => x ** 4)) - 3)).toBeLessThan(0.2);
  for (const [limit, share] of [
    [0.5, 0.6915],
    [1, 0.8413],
    [2, 0.9772],
    [3, 0.99865],
  ] as const)
    expect(Math.abs(mean(drawn.map((x) => Number(x < limit))) - share)).toBeLessThan(0.01);
});

test("distinct integers are distinct, in range, and every pair is as likely as every other", () => {
  const random = hostRandom(key(2));
  const counts = new Map<string, number>();
  for (const pair of many(12_000, () => random.distinct(2, 4)))
    counts.set(pair.join(), (counts.get(pair.join()) ?? 0) + 1);
  expect(counts.size).toBe(12);
  // 1000 each, standard deviation 30.
  for (const [pair, count] of counts) {
    expect(pair[0]).not.toBe(pair[2]);
    expect(Math.abs(count - 1000)).toBeLessThan(130);
  }
  expect(random.distinct(50, 50).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, k) => k));
  expect(random.shuffled(["a", "b", "c"]).toSorted()).toEqual(["a", "b", "c"]);
});
