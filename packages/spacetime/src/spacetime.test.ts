import { parameterCount } from "@seqmix/mixer";
import { checkMixer } from "@seqmix/testing";
import { cpu, dispose, grad, key, leavesOf, mul, normal, realize, reference, sub, type Tensor } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import {
  forecast,
  forecasterConfig,
  forecastLoss,
  initForecaster,
  preprocessingTaps,
  spacetime,
  type ForecasterConfig,
  type SpaceTimeConfig,
} from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};
const config: SpaceTimeConfig = { ...spacetime.config, dModel: 4 };

describe("spacetime", () => {
  test.each(Object.entries(spacetime.samples!))("keeps the laws of a mixer: %s", async (_, settings) => {
    const report = await checkMixer(spacetime, { ...spacetime.config, ...settings }, cpu(), { length: 7 });
    expect(report.modes).toEqual(["parallel", "chunked", "recurrent"]);
  });

  test("counts its parameters", () => {
    const sizes = { dModel: 6, nKernels: 3, dState: 5 };
    expect(parameterCount(spacetime.init({ ...config, ...sizes }, key(1)))).toBe(3 * 15 + 42);
    expect(parameterCount(spacetime.init({ ...config, ...sizes, ssm: "shift", ssmSkip: true }, key(1)))).toBe(
      15 + 6 + 42,
    );
    expect(() => spacetime.init({ ...config, nKernels: 3 }, key(1))).toThrow("nKernels that divides dModel");
  });
});

describe("filters", () => {
  test("differences are signed binomial coefficients", async () => {
    const taps = preprocessingTaps({ ...config, dModel: 6, preprocess: "differencing" })!;
    const rows = [1, 0, 0, 0, 1, -1, 0, 0, 1, -2, 1, 0, 1, -3, 3, -1];
    expect(await values(taps)).toEqual([...rows, ...rows.slice(0, 8)]);
  });

  test("a moving average's residual of a constant is zero, with windows inside the bounds", async () => {
    const taps = preprocessingTaps({
      ...config,
      dModel: 50,
      preprocess: "moving-average",
      minAvgWindow: 2,
      maxAvgWindow: 6,
    })!;
    expect(taps.shape).toEqual([50, 5]);
    const rows = await values(taps);
    const windows = new Set<number>();
    for (let d = 0; d < 50; d++) {
      const row = rows.slice(5 * d, 5 * d + 5);
      expect(row.reduce((x, y) => x + y)).toBeCloseTo(0, 6);
      windows.add(row.filter((value) => value !== 0).length);
    }
    expect([...windows].sort()).toEqual([2, 3, 4, 5]);
  });

  test("groups hold differences, then averages; the released code's averages do nothing", async () => {
    const taps = preprocessingTaps({
      ...config,
      preprocess: "residual",
      preKernels: 2,
      maxDiffOrder: 1,
      minAvgWindow: 2,
      maxAvgWindow: 3,
    })!;
    expect(await values(taps)).toEqual([1, 0, 0.5, -0.5, 1, 0, 0.5, -0.5]);
    const identity = preprocessingTaps({ ...config, preprocess: "moving-average", movingAverage: "identity" })!;
    expect(await values(identity)).toEqual([1, 1, 1, 1]);
    expect(() => preprocessingTaps({ ...config, preprocess: "residual", preKernels: 3 })).toThrow("preKernels");
    expect(() => preprocessingTaps({ ...config, preprocess: "moving-average", maxAvgWindow: 4 })).toThrow(
      "minAvgWindow",
    );
  });
});

describe("the forecaster", () => {
  const small: ForecasterConfig = {
    ...forecasterConfig,
    channels: 2,
    nBlocks: 2,
    block: { ...forecasterConfig.block, dModel: 8, nKernels: 4, dState: 4, maxAvgWindow: 6 },
    dState: 4,
  };
  const params = initForecaster(small, key(1));

  test("a series moved up or down has its forecast moved with it", async () => {
    const u = normal(key(2), [1, 9, 2]);
    const moved = forecast(small, params, sub(u, 100), 5);
    const plain = forecast(small, params, u, 5);
    expect(plain.closed.shape).toEqual([1, 5, 2]);
    const difference = await values(sub(plain.closed, moved.closed));
    difference.forEach((value) => expect(value).toBeCloseTo(100, 5));
  });

  test("its first forecast is the open loop's last", async () => {
    const { closed, open } = forecast(small, params, normal(key(2), [1, 9, 2]), 3);
    const [first, last] = [(await values(closed)).slice(0, 2), (await values(open)).slice(16)];
    first.forEach((value, i) => expect(value).toBeCloseTo(last[i]!, 7));
  });

  test("the loss: the forecast against the target, what was said of the next position, and of the next input", async () => {
    const [u, target] = [normal(key(2), [1, 9, 2]), normal(key(3), [1, 4, 2])];
    const { closed, open, inputs, nextInputs } = forecast(small, params, u, 4);
    const rootError = (actual: readonly number[], expected: readonly number[]): number =>
      Math.sqrt(actual.reduce((total, x, i) => total + (x - expected[i]!) ** 2, 0) / actual.length);
    const ahead = async (said: Tensor, x: Tensor): Promise<number> => {
      const channels = x.shape[2]!;
      return rootError((await values(said)).slice(0, -channels), (await values(x)).slice(channels));
    };
    const expected =
      rootError(await values(closed), await values(target)) +
      (await ahead(open, u)) +
      (await ahead(nextInputs, inputs));
    expect((await values(forecastLoss(small, params, u, target)))[0]).toBeCloseTo(expected, 6);
  });

  test("every parameter has a gradient", async () => {
    const [u, target] = [normal(key(2), [2, 9, 2]), normal(key(3), [2, 4, 2])];
    const gradients = leavesOf(grad((p: typeof params) => mul(1, forecastLoss(small, p, u, target)))(params));
    await realize(gradients, { device: oracle });
    for (const gradient of gradients) expect((await gradient.data()).some((value) => value !== 0)).toBe(true);
    dispose(gradients);
  });
});
