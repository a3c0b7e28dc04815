import type { Command } from "commander";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { forecasting, type ForecastingConfig, type ForecastingTask } from "@seqmix/tasks";
import type { Device } from "@seqmix/tensor";
import { formatDuration } from "../report/format.js";
import { formatTable } from "../report/table.js";
import type { ForecastSection } from "../report/forecasting-page.js";
import { writeFileAtomically } from "../results/atomic-file.js";
import { findingOf, spread } from "../sweeps/forecast-finding.js";
import { forecasters, runForecaster, type ForecastOutcome, type ForecastTraining } from "../sweeps/forecasting.js";
import { devices, openDevice } from "./devices.js";
import { parseCount } from "./options.js";

interface Options {
  readonly device: string;
  readonly steps: number;
  readonly seeds: number;
  readonly out: string;
}

/** Two years of carbon dioxide from five, a year of unemployment from three. */
const windows: Readonly<Record<string, ForecastingConfig>> = {
  co2: { lag: 60, horizon: 24, testLength: 120, validationLength: 60 },
  unemployment: { lag: 36, horizon: 12, testLength: 24, validationLength: 18 },
};

/** Registers `forecasting`. */
export function registerForecasting(program: Command): void {
  program
    .command("forecasting")
    .description("forecast real series in closed loop with SpaceTime, against seasonal-naive forecasts")
    .option("--device <name>", `where to compute: ${Object.keys(devices).join(", ")}`, "cpu")
    .option("--steps <n>", "training steps", parseCount, 400)
    .option("--seeds <n>", "seeds of each trained forecaster", parseCount, 3)
    .option("--out <folder>", "folder of forecasting.html and .json", "results/forecasting")
    .action(run);
}

async function run({ device: name, steps, seeds, out }: Options): Promise<void> {
  const { realSeries } = await import("../sweeps/real-series.js");
  const { forecastingPage } = await import("../report/forecasting-page.js");
  mkdirSync(out, { recursive: true });
  const training: ForecastTraining = { steps, batch: 32, learningRate: 3e-3, checkEvery: Math.ceil(steps / 20) };
  const device = await openDevice(name);
  const sections: ForecastSection[] = [];
  try {
    for (const [id, series] of Object.entries(realSeries))
      sections.push(await compare(forecasting(series(), windows[id]!), training, seeds, device));
  } finally {
    await device.close();
  }
  const finding = findingOf(sections);
  console.log(`\n${table(sections)}\n\n${finding}\n`);
  writeFileAtomically(join(out, "forecasting.json"), `${JSON.stringify({ ...training, seeds, finding, sections })}\n`);
  const page = join(out, "forecasting.html");
  writeFileAtomically(page, forecastingPage(sections, finding));
  console.log(`Written to ${page}.`);
}

/** Every forecaster on one series. */
async function compare(
  task: ForecastingTask,
  training: ForecastTraining,
  seeds: number,
  device: Device,
): Promise<ForecastSection> {
  const outcomes: ForecastOutcome[] = [];
  for (const forecaster of forecasters)
    for (let seed = 0; seed < (forecaster.init ? seeds : 1); seed++) {
      const started = performance.now();
      const outcome = await runForecaster(forecaster, task, training, seed, device);
      outcomes.push(outcome);
      console.log(
        `${task.id}, ${forecaster.name}${forecaster.init ? `, seed ${seed}` : ""}: ${outcome.test.toFixed(3)} (${formatDuration((performance.now() - started) / 1000)})`,
      );
    }
  const { past, future } = task.windows("test");
  const { lag, horizon } = task.config;
  const known = [...(await past.data())].slice(-lag);
  return {
    series: task.id,
    outcomes,
    past: known.slice(-2 * task.season),
    future: [...(await future.data())].slice(-horizon),
    lag,
    horizon,
  };
}

function table(sections: readonly ForecastSection[]): string {
  const names = [...new Set(sections.flatMap(({ outcomes }) => outcomes.map(({ name }) => name)))];
  return formatTable(
    [{ title: "scaled error" }, ...sections.map(({ series }) => ({ title: series, number: true }))],
    names.map((name) => [name, ...sections.map(({ outcomes }) => spread(outcomes, name))]),
  );
}
