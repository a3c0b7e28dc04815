import {
  abs,
  add,
  assertFields,
  assertSettings,
  broadcastTo,
  concat,
  div,
  expandDims,
  foldIn,
  mean,
  mul,
  reshape,
  sliceAxis,
  sub,
  tensor,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import { hostRandom } from "./host-random.js";
import { splits, type Split } from "./task.js";

/** Series measured at even intervals over the same time. */
export interface TimeSeries {
  /** Name, e.g. "co2". */
  readonly id: string;
  /** Positions of one season, e.g. 12 for months. */
  readonly season: number;
  /** One series each, all of one length, oldest value first. */
  readonly values: readonly Float64Array[];
}

/** Settings of {@link forecasting}. */
export type ForecastingConfig = {
  /** Positions a forecast is made from. */
  readonly lag: number;
  /** Positions to forecast. */
  readonly horizon: number;
  /** Last positions, for testing. */
  readonly testLength: number;
  /** Positions before those, for validation. */
  readonly validationLength: number;
};

/** Windows of series in standard units: each series' mean over its training part taken off, divided by its deviation there. */
export interface ForecastBatch {
  /** [B lag 1]. */
  readonly past: Tensor;
  /** [B horizon 1]. */
  readonly future: Tensor;
  /** Mean change over a season in the training part of the window's series [B], for {@link scaledError}. */
  readonly seasonalChange: Tensor;
}

/** Forecasting of series: what follows a window. */
export interface ForecastingTask {
  /** Name of the series. */
  readonly id: string;
  /** The complete settings. */
  readonly config: ForecastingConfig;
  /** Positions of a season. */
  readonly season: number;
  /** Windows that end anywhere in the training part of any series: the same key gives the same batch. */
  batch(key: Key, batchSize: number): ForecastBatch;
  /** Every window whose future lies in the split; its past may lie before. */
  windows(split: Split): ForecastBatch;
}

/**
 * Forecasting of real series. Windows of all series are trained on together, each as one channel.
 * @throws RangeError if the series are too short for the settings, or not of one length.
 */
export function forecasting(series: TimeSeries, config: ForecastingConfig): ForecastingTask {
  const count = { from: 1, whole: true };
  assertSettings("forecasting", series, { id: "own", season: count, values: "list?" });
  assertFields("forecasting", series, { season: count });
  assertSettings("forecasting", config, ["lag", "horizon", "testLength", "validationLength"]);
  assertFields("forecasting", config, { lag: count, horizon: count, testLength: count, validationLength: count });
  const { id, season, values } = series;
  const { lag, horizon, testLength, validationLength } = config;
  const length = values[0]?.length ?? 0;
  if (values.some((each) => each.length !== length))
    throw new RangeError(
      `forecasting: expected series of one length, got ${values.map((each) => each.length).join(", ")}`,
    );
  const ends: Readonly<Record<Split, readonly [from: number, to: number]>> = {
    train: [lag, length - testLength - validationLength],
    validation: [length - testLength - validationLength, length - testLength],
    test: [length - testLength, length],
  };
  for (const split of splits)
    if (ends[split][1] - ends[split][0] < horizon || ends[split][0] < lag)
      throw new RangeError(
        `forecasting: expected room for a lag of ${lag} and a horizon of ${horizon} in the ${split} part, got ${length} positions with ${validationLength} for validation and ${testLength} for testing; shorten one`,
      );
  const trainEnd = ends.train[1];
  const scaled = values.map((each) => standardized(each, trainEnd));
  const changes = scaled.map((each) => seasonalChange(each.subarray(0, trainEnd), season));

  const take = (places: readonly (readonly [series: number, start: number])[]): ForecastBatch => {
    const part = (from: number, count: number): Tensor => {
      const all = new Float64Array(places.length * count);
      places.forEach(([series, start], row) =>
        all.set(scaled[series]!.subarray(start + from, start + from + count), row * count),
      );
      return tensor(all, [places.length, count, 1]);
    };
    return {
      past: part(-lag, lag),
      future: part(0, horizon),
      seasonalChange: tensor(places.map(([series]) => changes[series]!)),
    };
  };
  /** Starts of futures that fit into a split. */
  const startsIn = (split: Split): number[] => {
    const [from, to] = ends[split];
    return Array.from({ length: to - from - horizon + 1 }, (_, k) => from + k);
  };

  return {
    id,
    config,
    season,
    batch(key, batchSize) {
      const random = hostRandom(foldIn(key, "train"));
      const starts = startsIn("train");
      return take(
        Array.from({ length: batchSize }, () => [
          random.integer(values.length),
          starts[random.integer(starts.length)]!,
        ]),
      );
    },
    windows: (split) => take(values.flatMap((_, series) => startsIn(split).map((start) => [series, start] as const))),
  };
}

/** The last season again and again: past [B lag C] -> [B horizon C]. @throws RangeError if the past is shorter than a season. */
export function seasonalNaive(past: Tensor, season: number, horizon: number): Tensor {
  const [B, lag, C] = past.shape as [number, number, number];
  if (lag < season)
    throw new RangeError(`seasonalNaive: expected a lag of at least one season of ${season}, got ${lag}`);
  const times = Math.ceil(horizon / season);
  const last = expandDims(sliceAxis(past, 1, lag - season, lag), 1);
  return sliceAxis(reshape(broadcastTo(last, [B, times, season, C]), [B, times * season, C]), 1, 0, horizon);
}

/** {@link seasonalNaive} plus, for every season ahead, the change from the season before last to the last one: a trend without a model. */
export function seasonalNaiveWithDrift(past: Tensor, season: number, horizon: number): Tensor {
  const lag = past.shape[1]!;
  if (lag < 2 * season)
    throw new RangeError(`seasonalNaiveWithDrift: expected a lag of at least two seasons of ${season}, got ${lag}`);
  const level = (back: number): Tensor =>
    mean(sliceAxis(past, 1, lag - back * season, lag - (back - 1) * season), 1, { keepDims: true });
  const drift = sub(level(1), level(2));
  const seasons = Array.from({ length: Math.ceil(horizon / season) }, (_, k) =>
    broadcastTo(mul(drift, k + 1), [past.shape[0]!, season, past.shape[2]!]),
  );
  return add(seasonalNaive(past, season, horizon), sliceAxis(concat(seasons, 1), 1, 0, horizon));
}

/**
 * Mean absolute scaled error: a window's mean absolute error over its series' mean seasonal change in training
 * (Hyndman and Koehler, Another look at measures of forecast accuracy, 2006). 1 is as far off as the year before was.
 * @param prediction [B horizon 1]
 */
export const scaledError = (prediction: Tensor, { future, seasonalChange }: Omit<ForecastBatch, "past">): Tensor =>
  mean(div(mean(abs(sub(prediction, future)), [1, 2]), seasonalChange));

/** (x - mean) / deviation, both of the first `count` values. */
function standardized(values: Float64Array, count: number): Float64Array {
  const known = values.subarray(0, count);
  const average = known.reduce((sum, value) => sum + value, 0) / count;
  const deviation = Math.sqrt(known.reduce((sum, value) => sum + (value - average) ** 2, 0) / count);
  return values.map((value) => (value - average) / (deviation || 1));
}

/** Mean |x_t - x_(t - season)|. */
function seasonalChange(values: Float64Array, season: number): number {
  let sum = 0;
  for (let t = season; t < values.length; t++) sum += Math.abs(values[t]! - values[t - season]!);
  return sum / Math.max(1, values.length - season);
}
