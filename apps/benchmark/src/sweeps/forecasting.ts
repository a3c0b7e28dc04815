/**
 * Closed-loop forecasting of real series: SpaceTime, and simple forecasts that it has to beat. Every model sees the same
 * windows; the step that is kept is the best one on the validation part; what is reported is of the test part.
 */
import { initLinear, linear, meanSquaredError } from "@seqmix/nn";
import { adamw, clipByGlobalNorm, cosineSchedule } from "@seqmix/optim";
import {
  CONSISTENT,
  forecast,
  forecasterConfig,
  forecastLoss,
  initForecaster,
  RELEASED,
  type ClosedLoopConventions,
  type ForecasterConfig,
  type ForecasterParameters,
} from "@seqmix/spacetime";
import {
  scaledError,
  seasonalNaive,
  seasonalNaiveWithDrift,
  type ForecastBatch,
  type ForecastingTask,
} from "@seqmix/tasks";
import {
  add,
  dispose,
  expandDims,
  foldIn,
  key,
  mean,
  mul,
  realize,
  reshape,
  sub,
  valueAndGrad,
  type Device,
  type Key,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";

/** A way to forecast: trained, or a rule. */
export interface Forecaster {
  /** Name in tables and charts. */
  readonly name: string;
  /** Fresh parameters; absent for a rule. */
  init?(task: ForecastingTask, key: Key): Tree;
  /** What is trained on. */
  loss?(task: ForecastingTask, params: Tree, batch: ForecastBatch): Tensor;
  /** past [B lag 1] -> [B horizon 1]. */
  predict(task: ForecastingTask, params: Tree | undefined, past: Tensor): Tensor;
}

/** How a forecaster is trained. */
export interface ForecastTraining {
  readonly steps: number;
  readonly batch: number;
  /** Peak of a cosine schedule. */
  readonly learningRate: number;
  /** Steps between looks at the validation part. */
  readonly checkEvery: number;
}

/** How a forecaster did. */
export interface ForecastOutcome {
  readonly name: string;
  /** Absent for a rule. */
  readonly seed?: number;
  /** Mean absolute scaled error on the test part, and on the validation part at the step that was kept. */
  readonly test: number;
  readonly validation: number;
  /** The step that was kept. */
  readonly step?: number;
  /** The forecast of the last test window, in standard units. */
  readonly example: readonly number[];
}

const rule = (name: string, predict: (past: Tensor, season: number, horizon: number) => Tensor): Forecaster => ({
  name,
  predict: ({ season, config }, _, past) => predict(past, season, config.horizon),
});

/** One linear map of the window to the forecast, for what is left of the window's mean (Zeng et al., Are Transformers Effective for Time Series Forecasting?, 2023). */
const linearMap: Forecaster = {
  name: "linear map",
  init: ({ config: { lag, horizon } }, source) => initLinear(source, lag, horizon),
  predict(_, params, past) {
    const level = mean(past, 1, { keepDims: true });
    const centred = reshape(sub(past, level), past.shape.slice(0, 2));
    return add(expandDims(linear(params as ReturnType<typeof initLinear>, centred), 2), level);
  },
  loss: (task, params, { past, future }) => meanSquaredError(linearMap.predict(task, params, past), future),
};

/** SpaceTime with small sizes. */
const spaceTime = (name: string, conventions: ClosedLoopConventions): Forecaster => {
  const configOf = ({ config: { lag } }: ForecastingTask): ForecasterConfig => ({
    ...forecasterConfig,
    block: { ...forecasterConfig.block, dModel: 32, nKernels: 8, dState: 16, maxAvgWindow: Math.min(25, lag) },
    dState: 32,
    conventions,
  });
  return {
    name,
    init: (task, source) => initForecaster(configOf(task), source),
    predict: (task, params, past) =>
      forecast(configOf(task), params as ForecasterParameters, past, task.config.horizon).closed,
    loss: (task, params, { past, future }) =>
      forecastLoss(configOf(task), params as ForecasterParameters, past, future),
  };
};

/** What is compared, in the order of tables. */
export const forecasters: readonly Forecaster[] = [
  rule("seasonal naive", seasonalNaive),
  rule("seasonal naive, drift", seasonalNaiveWithDrift),
  linearMap,
  spaceTime("SpaceTime", CONSISTENT),
  spaceTime("SpaceTime as released", RELEASED),
];

/** Trains a forecaster, if it is trained, and measures it. */
export async function runForecaster(
  forecaster: Forecaster,
  task: ForecastingTask,
  { steps, batch: batchSize, learningRate, checkEvery }: ForecastTraining,
  seed: number,
  device: Device,
): Promise<ForecastOutcome> {
  const windows = { validation: task.windows("validation"), test: task.windows("test") };
  const measure = async (params: Tree | undefined, split: "validation" | "test"): Promise<number> => {
    const prediction = forecaster.predict(task, params, windows[split].past);
    const error = scaledError(prediction, windows[split]);
    await realize(error, { device });
    const [value] = await error.data();
    dispose(error);
    return value!;
  };
  const { init, loss } = forecaster;
  if (!init || !loss)
    return {
      name: forecaster.name,
      test: await measure(undefined, "test"),
      validation: await measure(undefined, "validation"),
      example: await lastForecast(forecaster, task, undefined, windows.test, device),
    };

  const source = key(seed);
  const optimizer = adamw({
    learningRate: cosineSchedule({ peak: learningRate, warmupSteps: Math.ceil(steps / 20), totalSteps: steps }),
    weightDecay: 1e-4,
  });
  let params = init(task, foldIn(source, "init"));
  let state = optimizer.init(params);
  await realize([params, state], { device });
  const stepOf = valueAndGrad((given: Tree, batch: ForecastBatch) => loss(task, given, batch));
  let best:
    | { readonly validation: number; readonly test: number; readonly step: number; readonly example: readonly number[] }
    | undefined;
  for (let step = 1; step <= steps; step++) {
    const batch = task.batch(foldIn(source, step), batchSize);
    const [, gradients] = stepOf(params, batch);
    const [next, after] = optimizer.update(clipByGlobalNorm(gradients, 1)[0] as Tree, state, params);
    await realize([next, after], { device, donate: [params, state] });
    dispose({ ...batch });
    [params, state] = [next, after];
    if (step % checkEvery !== 0 && step !== steps) continue;
    const validation = await measure(params, "validation");
    if (best && !(validation < best.validation)) continue;
    best = {
      validation,
      step,
      test: await measure(params, "test"),
      example: await lastForecast(forecaster, task, params, windows.test, device),
    };
  }
  dispose([params, state]);
  return { name: forecaster.name, seed, ...best! };
}

/** The forecast of the last window [horizon]. */
async function lastForecast(
  forecaster: Forecaster,
  task: ForecastingTask,
  params: Tree | undefined,
  { past }: ForecastBatch,
  device: Device,
): Promise<readonly number[]> {
  const prediction = mul(forecaster.predict(task, params, past), 1);
  await realize(prediction, { device });
  const values = [...(await prediction.data())].slice(-task.config.horizon);
  dispose(prediction);
  return values;
}
