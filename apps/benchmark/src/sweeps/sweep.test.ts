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

test("seeds among the changes are seeds", () => {
  const trials = expandSweep({ task: "t", mixers: ["a"], changes: { seed: [1, 2], lr: [0.1] } });
  expect(trials.map(({ settings }) => settings)).toEqual([
    { seed: 1 },
    { seed: 2 },
    { lr: 0.1, seed: 1 },
    { lr: 0.1, seed: 2 },
  ]);
  expect(expandSweep({ task: "t", mixers: ["a"], baseline: { seed: 7 } })[0]!.settings).toEqual({ seed: 7 });
  expect(() => expandSweep({ task: "t", mixers: ["a"], changes: { seed: [1] }, seeds: [2] })).toThrow(/one place/);
});

test("what a sweep does not know is named", () => {
  const sweep =
    (more: object): (() => unknown) =>
    () =>
      expandSweep({ task: "t", mixers: ["a"], ...more } as never);
  expect(sweep({ combine: "gird" })).toThrow('Unknown combination "gird" of a sweep; did you mean grid?');
  expect(sweep({ seed: [1] })).toThrow('Unknown field "seed" of a sweep; did you mean seeds?');
  expect(sweep({ changes: { lr: 0.1 } })).toThrow(/list of values for lr/);
  expect(sweep({ changes: { lr: [] } })).toThrow(/list of values for lr/);
});
