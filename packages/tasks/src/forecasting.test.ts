import { key, realize, reference, tensor, type Tensor } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { forecasting, scaledError, seasonalNaive, seasonalNaiveWithDrift, type TimeSeries } from "./index.js";

const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: reference() });
  return [...(await x.data())];
};
/** Two series of 40 values that tell where they are from. */
const series: TimeSeries = {
  id: "numbers",
  season: 4,
  values: [0, 1000].map((first) => Float64Array.from({ length: 40 }, (_, t) => first + t)),
};
const config = { lag: 6, horizon: 3, testLength: 8, validationLength: 5 };
/** What a standardized value was, with the mean and deviation of the first 27 of a series. */
const deviation = Math.sqrt((27 ** 2 - 1) / 12);
const original = (scaled: number): number => Math.round(scaled * deviation + 13);

describe("forecasting", () => {
  const task = forecasting(series, config);

  test("every window of a split lies in it with its future, and goes on from its past", async () => {
    const { past, future } = task.windows("test");
    expect([past.shape, future.shape]).toEqual([
      [12, 6, 1],
      [12, 3, 1],
    ]);
    const [before, after] = [await values(past), await values(future)];
    for (let row = 0; row < 12; row++) {
      const start = 32 + (row % 6);
      const window = [...before.slice(6 * row, 6 * row + 6), ...after.slice(3 * row, 3 * row + 3)];
      // Both series have the same standard values.
      expect(window.map((value) => original(value))).toEqual(Array.from({ length: 9 }, (_, k) => start - 6 + k));
    }
  });

  test("training windows end before the validation part; equal keys give equal batches", async () => {
    const { future } = task.batch(key(1), 200);
    const last = (await values(future)).map((value) => original(value));
    expect(Math.max(...last)).toBe(26);
    expect(Math.min(...last)).toBe(6);
    expect(await values(task.batch(key(1), 3).past)).toEqual(await values(task.batch(key(1), 3).past));
    expect(await values(task.batch(key(1), 3).past)).not.toEqual(await values(task.batch(key(2), 3).past));
  });

  test("the seasonal-naive forecast of a line is one season's change off per season: its scaled error is known", async () => {
    const windows = task.windows("test");
    const error = await values(scaledError(seasonalNaive(windows.past, 4, 3), windows));
    expect(error[0]).toBeCloseTo(1, 9);
    const drifting = await values(scaledError(seasonalNaiveWithDrift(windows.past, 2, 3), windows));
    expect(drifting[0]).toBeCloseTo(0, 9);
  });

  test("the naive forecasts repeat the last season", async () => {
    const past = tensor([9, 9, 1, 2, 3, 11, 12, 13], [1, 8, 1]);
    expect(await values(seasonalNaive(past, 3, 7))).toEqual([11, 12, 13, 11, 12, 13, 11]);
    expect(await values(seasonalNaiveWithDrift(past, 3, 4))).toEqual([21, 22, 23, 31]);
    expect(() => seasonalNaive(past, 9, 1)).toThrow("one season of 9");
    expect(() => seasonalNaiveWithDrift(past, 5, 1)).toThrow("two seasons of 5");
  });

  test("series that are too short or of several lengths are refused", () => {
    expect(() => forecasting(series, { ...config, lag: 26 })).toThrow("in the train part");
    expect(() => forecasting(series, { ...config, validationLength: 2 })).toThrow("in the validation part");
    expect(() => forecasting({ ...series, values: [new Float64Array(40), new Float64Array(39)] }, config)).toThrow(
      "series of one length",
    );
  });
});
