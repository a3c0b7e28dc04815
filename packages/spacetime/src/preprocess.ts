/** Fixed filters in front of the first model: differences and what is left of moving averages (SpaceTime paper, appendix; released as `preprocess/`). */
import {
  arange,
  assertFields,
  broadcastTo,
  cast,
  concat,
  div,
  expandDims,
  floor,
  key,
  less,
  pad,
  reshape,
  sliceAxis,
  stack,
  sub,
  uniform,
  type Tensor,
} from "@seqmix/tensor";

/** Which filters the channels pass before the companion model. */
export type Preprocessing =
  /** None. */
  | "none"
  /** Differences of order 0 .. maxDiffOrder - 1 in turn. */
  | "differencing"
  /** The input minus its moving average, over a window of its own for each channel. */
  | "moving-average"
  /** In each group of preKernels channels maxDiffOrder differences, then moving averages. */
  | "residual";

/** What {@link preprocessingTaps} needs to know of a config. */
export type PreprocessingConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** The filters. */
  readonly preprocess: Preprocessing;
  /** Filters in a group of "residual"; divides dModel. */
  readonly preKernels: number;
  /** Differences of order 0 up to this, exclusive. */
  readonly maxDiffOrder: number;
  /** Windows are whole numbers from minAvgWindow to maxAvgWindow, exclusive, drawn with the seed. */
  readonly minAvgWindow: number;
  /** See `minAvgWindow`. */
  readonly maxAvgWindow: number;
  /** Of the windows: they are no parameters. */
  readonly windowSeed: number;
  /** The released `MovingAvgResidualSSM` subtracts the average and then returns the filter from before: "identity" is that, "window" what its comment says. */
  readonly movingAverage: "window" | "identity";
};

/** Taps [D W], the present input's first; undefined without preprocessing. @throws RangeError for sizes that do not fit. */
export function preprocessingTaps(config: PreprocessingConfig): Tensor | undefined {
  const count = { from: 1, whole: true };
  assertFields("preprocessingTaps", config, {
    dModel: count,
    preprocess: "own",
    preKernels: count,
    maxDiffOrder: count,
    minAvgWindow: count,
    maxAvgWindow: count,
    windowSeed: { whole: true },
    movingAverage: ["window", "identity"],
  });
  const { dModel: D, preprocess, preKernels, maxDiffOrder, movingAverage } = config;
  const W = tapCount(config);
  switch (preprocess) {
    case "none":
      return undefined;
    case "differencing": {
      const rows = differences(maxDiffOrder, W);
      const groups = Math.ceil(D / maxDiffOrder);
      return sliceAxis(reshape(broadcastTo(rows, [groups, maxDiffOrder, W]), [groups * maxDiffOrder, W]), 0, 0, D);
    }
    case "moving-average":
      return movingAverage === "identity" ? broadcastTo(differences(1, W), [D, W]) : averageResiduals(config, D, W);
    case "residual": {
      const groups = D / preKernels;
      if (!Number.isInteger(groups) || maxDiffOrder > preKernels)
        throw new RangeError(
          `spacetime: expected preKernels that divide dModel and are at least maxDiffOrder, got ${preKernels} for ${D} and ${maxDiffOrder}`,
        );
      const averages = preKernels - maxDiffOrder;
      const group = [broadcastTo(differences(maxDiffOrder, W), [groups, maxDiffOrder, W])];
      if (averages > 0) group.push(reshape(averageResiduals(config, groups * averages, W), [groups, averages, W]));
      return reshape(concat(group, 1), [D, W]);
    }
    default:
      throw new RangeError(
        `spacetime: expected preprocess "none", "differencing", "moving-average" or "residual", got "${String(preprocess)}"`,
      );
  }
}

/** W. */
function tapCount({ preprocess, maxDiffOrder, maxAvgWindow, movingAverage }: PreprocessingConfig): number {
  const average = maxAvgWindow - 1;
  switch (preprocess) {
    case "none":
      return 1;
    case "differencing":
      return maxDiffOrder;
    case "moving-average":
      return movingAverage === "identity" ? 1 : average;
    default:
      return Math.max(maxDiffOrder, average);
  }
}

/** Rows (1 - z)^o, o = 0 .. orders - 1: signed binomial coefficients [orders W]. */
function differences(orders: number, W: number): Tensor {
  let row = cast(less(arange(W), 1), "f32");
  const rows = [row];
  for (let o = 1; o < orders; o++) {
    row = sub(row, pad(sliceAxis(row, 0, 0, W - 1), [1], [0]));
    rows.push(row);
  }
  return stack(rows, 0);
}

/** One minus the average over a window, for so many windows [count W]. */
function averageResiduals(
  { minAvgWindow, maxAvgWindow, windowSeed }: PreprocessingConfig,
  count: number,
  W: number,
): Tensor {
  if (!(minAvgWindow >= 1 && maxAvgWindow > minAvgWindow))
    throw new RangeError(
      `spacetime: expected 1 <= minAvgWindow < maxAvgWindow, got ${minAvgWindow} and ${maxAvgWindow}`,
    );
  const windows = expandDims(floor(uniform(key(windowSeed), [count], minAvgWindow, maxAvgWindow)), 1);
  const position = cast(arange(W), "f32");
  const average = div(cast(less(position, windows), "f32"), windows);
  return sub(cast(less(position, 1), "f32"), average);
}
