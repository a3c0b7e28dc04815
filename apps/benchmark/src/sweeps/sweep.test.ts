import { expect, test } from "vitest";
import { defineSweep, expandSweep } from "./sweep.js";

const changes = { lr: [0.1, 0.2], steps: [10, 20, 30] };

test("one factor at a time: the baseline, and every value with the rest as in the baseline", () => {
  const trials = expandSweep(defineSweep({ task: "t", mixers: ["a"], baseline: { lr: 0.1, dModel: 8 }, changes }));
  expect(trials.map(({ settings }) => settings)).toEqual([
    { lr: 0.1, dModel: 8, seed: 0 },
    { lr: 0.2, dModel: 8, seed: 0 },
    { lr: 0.1, dModel: 8, steps: 10, seed: 0 },
    { lr: 0.1, dModel: 8, steps: 20, seed: 0 },
    { lr: 0.1, dModel: 8, steps: 30, seed: 0 },
  ]);
});

test("a grid has every combination, for every mixer and seed, once", () => {
  const trials = expandSweep({ task: "t", mixers: ["a", "b"], changes, combine: "grid", seeds: [0, 1] });
  expect(trials).toHaveLength(2 * 2 * 3 * 2);
  expect(new Set(trials.map((trial) => JSON.stringify(trial))).size).toBe(24);
  for (const { settings } of trials) expect(Object.keys(settings).sort()).toEqual(["lr", "seed", "steps"]);
});

test("with nothing changed it is the baseline for each mixer", () => {
  expect(expandSweep({ task: "t", mixers: ["a", "b"] })).toEqual([
    { mixer: "a", settings: { seed: 0 } },
    { mixer: "b", settings: { seed: 0 } },
  ]);
});
