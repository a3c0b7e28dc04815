import { cpu, key, realize } from "@seqmix/tensor";
import { afterAll, expect, test } from "vitest";
import { stateSpacesPage } from "../../report/state-spaces-page.js";
import { runSignalTrial, stateSpaceExperiments } from "./experiments.js";
import { smoothSignals, waves } from "./signals.js";

const device = cpu();
afterAll(() => device.close());
const valuesOf = async (x: ReturnType<typeof smoothSignals>): Promise<number[]> => {
  await realize(x, { device });
  return [...(await x.data())];
};

test("half the rate is every second sample of the same functions", async () => {
  const [all, half] = [waves(key(1), 3, 32, 4), waves(key(1), 3, 32, 4, 2)];
  const every = await valuesOf(all.x);
  const second = await valuesOf(half.x);
  expect(half.x.shape).toEqual([3, 16, 1]);
  second.forEach((value, k) => expect(value).toBeCloseTo(every[2 * k]!, 5));
  expect(await valuesOf(half.y)).toEqual(await valuesOf(all.y));
});

test("smooth signals have unit variance, so that 1 is the error of a constant", async () => {
  const values = await valuesOf(smoothSignals(key(2), 200, 64, 8));
  const variance = values.reduce((sum, value) => sum + value * value, 0) / values.length;
  expect(variance).toBeGreaterThan(0.9);
  expect(variance).toBeLessThan(1.1);
});

test("a trained model is measured once for each look, and the page shows every model", async () => {
  const experiment = stateSpaceExperiments.find(({ id }) => id === "sampling-rate")!;
  const training = { steps: 2, batch: 4, learningRate: 1e-3 };
  const outcomes = await runSignalTrial(experiment, experiment.tasks[0]!, experiment.arms[0]!, training, 0, device);
  expect(outcomes.map(({ name }) => name)).toEqual(experiment.looks.map(({ name }) => `S4D, zoh: ${name}`));
  for (const { test: accuracy } of outcomes) expect(accuracy).toBeLessThanOrEqual(1);
  const page = stateSpacesPage(experiment, outcomes, training);
  for (const { name } of outcomes) expect(page).toContain(name);
  expect(page).toContain("<svg");
});

test("names of experiments are those of commands, each once", () => {
  const ids = stateSpaceExperiments.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
});
