import { key } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { selectiveCopying } from "./selective-copying.js";
import type { Batch } from "./task.js";

const read = async ({ inputs, targets, mask }: Batch): Promise<number[][]> =>
  Promise.all([inputs, targets, mask].map(async (x) => [...(await x.data())]));

const rows = (values: readonly number[], length: number): number[][] =>
  Array.from({ length: values.length / length }, (_, row) => values.slice(row * length, (row + 1) * length));

test.each<Parameters<typeof selectiveCopying>[0]>([
  {},
  { dataTokens: 16, positions: 64 },
  { vocabSize: 3, dataTokens: 1, positions: 1 },
  { dataTokens: 5, positions: 5 },
])("the answers are the data tokens in order, asked for by markers: %o", async (settings) => {
  const task = selectiveCopying(settings);
  const { vocabSize, dataTokens, L } = task.config;
  const positions = L - dataTokens;
  const batch = task.batch(key(7), "train", 50);
  expect(batch.inputs.shape).toEqual([50, positions + dataTokens]);
  const [tokens, labels, mask] = (await read(batch)).map((values) => rows(values, task.length));
  for (let row = 0; row < 50; row++) {
    const first = tokens![row]!.slice(0, positions);
    const data = first.filter((token) => token !== 0);
    expect(data).toHaveLength(dataTokens);
    expect(data.every((token) => token >= 1 && token <= vocabSize - 2)).toBe(true);
    expect(tokens![row]!.slice(positions)).toEqual(data.map(() => vocabSize - 1));
    expect(labels![row]).toEqual([...first.map(() => 0), ...data]);
    expect(mask![row]).toEqual([...first.map(() => 0), ...data.map(() => 1)]);
  }
});

test("tokens and positions are uniform", async () => {
  const task = selectiveCopying();
  const [tokens] = (await read(task.batch(key(1), "train", 5000))).map((values) => rows(values, task.length));
  const atPosition = Array.from({ length: 32 }, (_, k) => tokens!.filter((row) => row[k] !== 0).length / 5000);
  // Standard deviations: 0.0061 of a position's share, 0.0013 of a token's.
  for (const share of atPosition) expect(Math.abs(share - 8 / 32)).toBeLessThan(0.025);
  const data = tokens!.flatMap((row) => row.slice(0, 32).filter((token) => token !== 0));
  for (let token = 1; token <= 14; token++)
    expect(Math.abs(data.filter((each) => each === token).length / data.length - 1 / 14)).toBeLessThan(0.006);
});

test("the length may be said by the positions, but not in two ways", () => {
  expect(selectiveCopying({ dataTokens: 3, positions: 7 }).length).toBe(10);
  expect(() => selectiveCopying({ positions: 32, L: 99 })).toThrow(
    "positions=32 with 8 data tokens makes L=40, but L=99",
  );
});

test("a batch is a function of its key and split", async () => {
  const task = selectiveCopying();
  const train = await read(task.batch(key(3), "train", 4));
  expect(await read(task.batch(key(3), "train", 4))).toEqual(train);
  expect(await read(task.batch(key(4), "train", 4))).not.toEqual(train);
  expect(await read(task.batch(key(3), "test", 4))).not.toEqual(train);
});

test("evaluation covers its sequences once in batches of one size", async () => {
  const task = selectiveCopying({ evaluationSequences: 10, dataTokens: 3, positions: 6 });
  const batches = await Promise.all([...task.evaluation("test", 4)].map(read));
  expect(batches).toHaveLength(3);
  for (const [tokens] of batches) expect(tokens).toHaveLength(4 * 9);
  expect(batches.flatMap(([, , mask]) => mask!).reduce((a, b) => a + b, 0)).toBe(10 * 3);
  const again = await Promise.all([...task.evaluation("test", 4)].map(read));
  expect(again).toEqual(batches);
  expect(await Promise.all([...task.evaluation("validation", 4)].map(read))).not.toEqual(batches);
});

test("settings that no sequence can meet are refused", () => {
  expect(() => selectiveCopying({ dataTokens: 33 })).toThrow(
    "expected at most 7 data tokens for 7 positions (L=40), got 33",
  );
  expect(() => selectiveCopying({ vocabSize: 2 })).toThrow("whole number of at least 3 for vocabSize, got 2");
  expect(() => selectiveCopying({ positions: 2.5 })).toThrow("whole number of at least 1 for L, got 10.5");
  expect(() => [...selectiveCopying().evaluation("train", 4)]).toThrow("always new");
});
