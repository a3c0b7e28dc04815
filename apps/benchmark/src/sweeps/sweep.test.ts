import { expect, test } from "vitest";
import type { Row } from "../results/results.js";
import { chosenRate, dueTrials } from "./rounds.js";
import { defineSweep, expandSweep, planAt, type Cell } from "./sweep.js";

const changes = { lr: [0.1, 0.2], steps: [10, 20, 30] };
const settingsOf = (cells: readonly Cell[]): unknown[] => cells.map(({ settings }) => settings);

test("one factor at a time: the baseline, and every value with the rest as in the baseline", () => {
  const cells = expandSweep({ task: "t", mixers: ["a"], baseline: { lr: 0.1, dModel: 8 }, changes });
  expect(settingsOf(cells)).toEqual([
    { lr: 0.1, dModel: 8 },
    { lr: 0.2, dModel: 8 },
    { lr: 0.1, dModel: 8, steps: 10 },
    { lr: 0.1, dModel: 8, steps: 20 },
    { lr: 0.1, dModel: 8, steps: 30 },
  ]);
  expect(cells.map(({ name }) => name)).toEqual(["a", "a, lr=0.2", "a, steps=10", "a, steps=20", "a, steps=30"]);
});

test("a grid has every combination, for every task and mixer, once", () => {
  const cells = expandSweep({ task: ["t", "u"], mixers: ["a", "b"], changes, combine: "grid", seeds: [0, 1] });
  expect(cells).toHaveLength(2 * 2 * 2 * 3);
  expect(new Set(cells.map((cell) => JSON.stringify(cell))).size).toBe(24);
  for (const { settings, seeds } of cells) {
    expect(Object.keys(settings).sort()).toEqual(["lr", "steps"]);
    expect(seeds).toEqual([0, 1]);
  }
});

test("a mixer's own settings win over the changes, a task's over the baseline", () => {
  const [a, b] = expandSweep({
    task: { task: "t", settings: { L: 64, steps: 7 } },
    mixers: ["a", { mixer: "a", name: "a, large", settings: { dState: 32, steps: 9 } }],
    baseline: { steps: 5, dState: 4 },
  });
  expect([a!.settings, b!.settings]).toEqual([
    { steps: 7, dState: 4, L: 64 },
    { steps: 9, dState: 32, L: 64 },
  ]);
  expect([a!.name, b!.name, b!.series]).toEqual(["a", "a, large", "a, large"]);
});

test("seeds among the changes are seeds", () => {
  const cells = expandSweep({ task: "t", mixers: ["a"], changes: { seed: [1, 2], lr: [0.1] } });
  expect(cells.map(({ settings, seeds }) => [settings, seeds])).toEqual([
    [{}, [1, 2]],
    [{ lr: 0.1 }, [1, 2]],
  ]);
  expect(expandSweep({ task: "t", mixers: ["a"], baseline: { seed: 7 } })[0]!.seeds).toEqual([7]);
  expect(() => expandSweep({ task: "t", mixers: ["a"], changes: { seed: [1] }, seeds: [2] })).toThrow(/one place/);
  expect(() => expandSweep({ task: "t", mixers: ["a"], changes: { lr: [1] }, rates: [2] })).toThrow(/one place/);
});

test("a scale puts its own lists in the place of the sweep's, and merges settings", () => {
  const sweep = defineSweep({
    task: "t",
    mixers: ["a", "b"],
    baseline: { steps: 100, dModel: 8 },
    seeds: [0, 1, 2],
    question: "?",
    scales: { smoke: { mixers: ["a"], baseline: { steps: 2 }, seeds: [0] } },
  });
  const smoke = planAt(sweep, "smoke", () => ({ steps: 50, L: 4 }));
  expect(expandSweep(smoke).map(({ mixer, settings, seeds }) => [mixer, settings, seeds])).toEqual([
    ["a", { steps: 2, dModel: 8, L: 4 }, [0]],
  ]);
  expect(planAt(sweep, "laptop").seeds).toEqual([0, 1, 2]);
});

test("what a sweep does not know is named", () => {
  const sweep =
    (more: object): (() => unknown) =>
    () =>
      expandSweep(planAt({ task: "t", mixers: ["a"], ...more } as never, "smoke"));
  expect(sweep({ combine: "gird" })).toThrow('Unknown combination "gird" of a sweep; did you mean grid?');
  expect(sweep({ seed: [1] })).toThrow('Unknown field "seed" of a sweep; did you mean seeds?');
  expect(sweep({ changes: { lr: 0.1 } })).toThrow(/list of values for lr/);
  expect(sweep({ changes: { lr: [] } })).toThrow(/list of values for lr/);
  expect(sweep({ match: "parameter" })).toThrow('Unknown match "parameter" of a sweep; did you mean parameters?');
  expect(sweep({ scales: { labtop: {} } })).toThrow('Unknown scale "labtop" of a sweep; did you mean laptop?');
  expect(sweep({ scales: { smoke: { seed: 1 } } })).toThrow(/Unknown field "seed" of scale smoke/);
  expect(sweep({ mixers: [{ mixer: "a", setting: {} }] })).toThrow(
    'Unknown field "setting" of a mixer of a sweep; did you mean settings?',
  );
  expect(sweep({ task: { task: "t", setings: {} } })).toThrow(/Unknown field "setings" of a task of a sweep/);
  expect(sweep({ mixers: [] })).toThrow(/Expected a task and a list of mixers in a sweep, got none/);
  expect(sweep({ plots: [{ title: "t", x: "length", logarithmic: true }] })).toThrow(
    /Unknown field "logarithmic" of a plot/,
  );
});

const row = (metric: string, value: number | undefined): Row =>
  ({ metric, validation: value === undefined ? {} : { [metric]: value } }) as unknown as Row;

test("the learning rate is the best on validation, by the metric's own direction, once all were tried", () => {
  expect(
    chosenRate([
      [0.1, row("accuracy", 0.5)],
      [0.2, row("accuracy", 0.7)],
    ]),
  ).toBe(0.2);
  expect(
    chosenRate([
      [0.1, row("bitsPerChar", 2.5)],
      [0.2, row("bitsPerChar", 2.7)],
    ]),
  ).toBe(0.1);
  expect(
    chosenRate([
      [0.1, row("accuracy", 0.5)],
      [0.2, undefined],
    ]),
  ).toBeUndefined();
  expect(
    chosenRate([
      [0.1, row("accuracy", undefined)],
      [0.2, row("accuracy", 0.1)],
    ]),
  ).toBe(0.2);
  expect(chosenRate([[0.1, row("accuracy", undefined)]])).toBeUndefined();
});

test("every rate runs with the first seed, and the chosen one alone with the others", () => {
  const [cell] = expandSweep({ task: "t", mixers: ["a"], baseline: { steps: 5 }, rates: [0.1, 0.2], seeds: [3, 4, 5] });
  const first = [0.1, 0.2].map((lr) => ({ steps: 5, lr, seed: 3 }));
  expect(dueTrials(cell!, () => undefined)).toEqual(first);
  expect(dueTrials(cell!, ({ lr }) => row("accuracy", lr === 0.1 ? 0.9 : 0.2))).toEqual([
    ...first,
    { steps: 5, lr: 0.1, seed: 4 },
    { steps: 5, lr: 0.1, seed: 5 },
  ]);
});
