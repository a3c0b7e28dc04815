import { forecasting } from "@seqmix/tasks";
import { cpu } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { forecastingPage } from "../report/forecasting-page.js";
import { findingOf, spread } from "./forecast-finding.js";
import { forecasters, runForecaster, type ForecastOutcome } from "./forecasting.js";
import { everyMonth, realSeries } from "./real-series.js";

/** A line with a season of 4. */
const task = forecasting(
  {
    id: "line",
    season: 4,
    values: [Float64Array.from({ length: 60 }, (_, t) => t / 10 + Math.sin((t * Math.PI) / 2))],
  },
  { lag: 16, horizon: 4, testLength: 10, validationLength: 8 },
);
const training = { steps: 4, batch: 4, learningRate: 1e-2, checkEvery: 2 };
const outcome = (name: string, test: number, seed?: number): ForecastOutcome => ({
  name,
  ...(seed !== undefined && { seed }),
  test,
  validation: test,
  example: [1, 2],
});

describe("forecasting", () => {
  test("every forecaster runs; the same seed gives the same numbers", async () => {
    const device = cpu();
    for (const forecaster of forecasters) {
      const first = await runForecaster(forecaster, task, training, 1, device);
      expect(first.example).toHaveLength(4);
      expect(first.test).toBeGreaterThanOrEqual(0);
      if (forecaster.name === "linear map")
        expect(await runForecaster(forecaster, task, training, 1, device)).toEqual(first);
    }
    await device.close();
  });

  test("the seasonal-naive forecast of a line is off by its change over a season, with drift by nothing", async () => {
    const device = cpu();
    const [naive, drift] = forecasters;
    expect((await runForecaster(naive!, task, training, 0, device)).test).toBeCloseTo(1, 4);
    expect((await runForecaster(drift!, task, training, 0, device)).test).toBeCloseTo(0, 4);
    await device.close();
  });

  test("the finding follows from the numbers", () => {
    const outcomes = [
      outcome("seasonal naive", 2),
      outcome("SpaceTime", 1, 0),
      outcome("SpaceTime", 3, 1),
      outcome("linear map", 1.5, 0),
    ];
    expect(spread(outcomes, "SpaceTime")).toBe("2.000 ± 1.414");
    expect(findingOf([{ series: "co2", outcomes }])).toBe(
      "co2: SpaceTime is better than the seasonal naive forecast with 1 of 2 seeds (2.000 against 2.000); best is linear map (1.500).",
    );
    const page = forecastingPage(
      [{ series: "co2", outcomes, past: [0, 1], future: [1, 2], lag: 16, horizon: 2 }],
      "found <this>",
    );
    expect(page).toContain("found &lt;this&gt;");
    expect(page).toContain("<svg");
    expect(page).not.toContain("NaN");
  });

  test("months that were not measured lie on a line; the real series are whole", () => {
    expect([
      ...everyMonth([
        [3, 1],
        [4, 2],
        [7, 5],
      ]),
    ]).toEqual([1, 2, 3, 4, 5]);
    const { values: co2 } = realSeries["co2"]!();
    expect(co2.map(({ length }) => length)).toEqual([746]);
    expect(co2[0]!.every((value) => value > 300 && value < 420)).toBe(true);
    const { values: industries } = realSeries["unemployment"]!();
    expect(industries).toHaveLength(14);
    expect(industries.every(({ length }) => length === 122)).toBe(true);
  });
});
