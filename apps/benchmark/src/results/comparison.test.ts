import { expect, test } from "vitest";
import { compareResults, comparisonTable } from "./comparison.js";
import type { Row } from "./results.js";

const row = (seed: number, accuracy: number | undefined, more: Partial<Row> = {}): Row =>
  ({
    trial: `t:mamba:dModel=8;seed=${seed};steps=3`,
    status: accuracy === undefined ? "diverged" : "done",
    metric: "accuracy",
    metrics: { ...(accuracy !== undefined && { accuracy }) },
    tokensPerSecond: 100,
    device: "cpu",
    deviceDescription: "",
    machine: "m",
    versions: { seqmix: "1" },
    commit: "c",
    ...more,
  }) as Row;

test("trials are compared seed by seed, and a change is one only beyond what the seeds vary", () => {
  const before = [row(0, 0.5), row(1, 0.7), row(2, 0.6)];
  const shifted = compareResults(
    before,
    before.map((each, k) => row(k, each.metrics["accuracy"]! + 0.1 + k * 0.01, { tokensPerSecond: 150 })),
  );
  const [group] = shifted.groups;
  expect(group).toMatchObject({ trials: "t:mamba:dModel=8;steps=3", change: "better", speed: 1.5 });
  expect(group!.difference.mean).toBeCloseTo(0.11, 10);
  expect(comparisonTable(shifted.groups).cells[0]!.slice(1)).toEqual([
    "3",
    "60.0 %",
    "71.0 %",
    "+11.0 points",
    "better",
    "1.50x",
  ]);
  const noise = compareResults(before, [row(0, 0.7), row(1, 0.5), row(2, 0.63)]);
  expect(noise.groups[0]!.change).toBe("same");
  expect(compareResults([row(0, 0.1)], [row(0, 0.9)]).groups[0]!.change).toBe("same");
});

test("what is in one set alone, ended differently or comes from elsewhere is said", () => {
  const { groups, notes } = compareResults(
    [row(0, 0.5), row(1, 0.5), row(3, 0.5)],
    [row(0, 0.5, { machine: "n" }), row(1, undefined, { machine: "n" }), row(4, 0.5)],
  );
  expect(groups[0]!.before.values).toEqual([0.5]);
  expect(notes).toEqual([
    "1 trial only before.",
    "1 trial only after.",
    "1 of 2 trials ended differently.",
    "Another machine: m before, n after.",
  ]);
});

test("a metric that is better when lower changes the other way", () => {
  const bits = (seed: number, value: number): Row =>
    row(seed, 0, { metric: "bitsPerChar", metrics: { bitsPerChar: value } });
  expect(compareResults([bits(0, 2), bits(1, 2.1)], [bits(0, 1.9), bits(1, 2)]).groups[0]!.change).toBe("better");
});
