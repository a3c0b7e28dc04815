/** The forecaster SpaceTime: encoder blocks, a closed-loop model, and an output map (Zhang et al., 2023, section 3.3; released as `network.py`). */
import { configure } from "@seqmix/mixer";
import { initLinear, linear, meanSquaredError, normalInit, type LinearParameters } from "@seqmix/nn";
import {
  add,
  assertFields,
  assertSettings,
  broadcastTo,
  expandDims,
  foldIn,
  gelu,
  mean,
  reshape,
  sliceAxis,
  sqrt,
  sub,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import {
  closedLoop,
  CONSISTENT,
  CONVENTIONS,
  openLoop,
  type ClosedLoopConventions,
  type ClosedLoopParameters,
} from "./closed-loop.js";
import { spacetime, type SpaceTimeConfig, type SpaceTimeParameters } from "./spacetime.js";

/** Settings of a forecaster. */
export type ForecasterConfig = {
  /** Series forecast together, C; divides the block's dModel. */
  readonly channels: number;
  /** Encoder blocks, at least 1. */
  readonly nBlocks: number;
  /** Of every encoder block; the first alone has the filters in front. */
  readonly block: SpaceTimeConfig;
  /** N of the closed-loop model, which has a kernel of its own for every channel D. */
  readonly dState: number;
  /** Where the released closed loop is not of one piece. */
  readonly conventions: ClosedLoopConventions;
};

/** Parameters under the published keys. */
export type ForecasterParameters = {
  /** Open-loop blocks. */
  readonly encoder: {
    /** From the input on. */
    readonly blocks: readonly SpaceTimeParameters[];
  };
  /** The closed-loop block. */
  readonly decoder: {
    /** From the input on. */
    readonly blocks: {
      /** The state-space model. */
      readonly ssm: ClosedLoopParameters;
    };
  };
  /** The map behind a GELU: weight [C D], bias [C]. */
  readonly output: {
    /** Linear maps under the keys of a sequential module. */
    readonly layers: {
      /** The map behind the activation. */
      readonly "1": LinearParameters;
    };
  };
};

/** What {@link forecast} gives. */
export interface Forecast {
  /** The series after the lag [B horizon C]. */
  readonly closed: Tensor;
  /** At each position of the lag the forecast of the next [B L C]. */
  readonly open: Tensor;
  /** Encoded inputs of the closed-loop model [B L D], and its predictions of the ones after [B L D]. */
  readonly inputs: Tensor;
  /** See `inputs`. */
  readonly nextInputs: Tensor;
}

/** The published sizes but for dModel 64 in place of 128. */
export const forecasterConfig: ForecasterConfig = {
  channels: 1,
  nBlocks: 1,
  block: { ...spacetime.config, nKernels: 8, preprocess: "residual", ssmSkip: true },
  dState: 64,
  conventions: CONSISTENT,
};

function assertForecaster(config: ForecasterConfig): void {
  assertSettings("forecaster", config, ["channels", "nBlocks", "block", "dState", "conventions"]);
  const count = { from: 1, whole: true };
  assertFields("forecaster", config, { channels: count, nBlocks: { from: 0, whole: true }, dState: count });
  assertFields("forecaster, block", config.block, { dModel: count });
  configure(spacetime, config.block);
  assertFields("forecaster, conventions", config.conventions, CONVENTIONS);
}

/** Fresh parameters; those of the models are normal as released. */
export function initForecaster(config: ForecasterConfig, key: Key): ForecasterParameters {
  assertForecaster(config);
  const { channels, nBlocks, block, dState } = config;
  const D = block.dModel;
  if (D % channels !== 0)
    throw new RangeError(`initForecaster: expected channels that divide dModel, got ${channels} for ${D}`);
  const draw = (name: string): Tensor => normalInit(1)(foldIn(key, `decoder.${name}`), [D, dState]);
  return {
    encoder: {
      blocks: Array.from({ length: nBlocks }, (_, i) =>
        spacetime.init(blockConfig(block, i), foldIn(key, `encoder.${i}`)),
      ),
    },
    decoder: { blocks: { ssm: { a: draw("a"), b: draw("b"), c: draw("c"), k: draw("k") } } },
    output: { layers: { "1": initLinear(foldIn(key, "output"), D, channels) } },
  };
}

/**
 * The series after u. The mean of u is taken off before and put back afterwards, as published.
 * @param u The lag [B L C].
 * @param horizon Positions to forecast.
 */
export function forecast(config: ForecasterConfig, params: ForecasterParameters, u: Tensor, horizon: number): Forecast {
  assertForecaster(config);
  const { block, channels, conventions } = config;
  const level = mean(u, 1, { keepDims: true });
  let z = repeated(sub(u, level), block.dModel / channels);
  params.encoder.blocks.forEach((each, i) => {
    [z] = spacetime.modes.parallel(blockConfig(block, i), each, z);
  });
  const options = { ...conventions, normOrder: block.normOrder };
  const { ssm } = params.decoder.blocks;
  const output = (y: Tensor): Tensor => add(linear(params.output.layers["1"], gelu(y)), level);
  const loop = openLoop(ssm, z, options);
  return {
    closed: output(closedLoop(ssm, z, horizon, options).y),
    open: output(loop.y),
    inputs: z,
    nextInputs: loop.nextInputs,
  };
}

/**
 * The published objective: root mean squared errors of the forecast, of the next position within the lag, and of the
 * closed-loop model's predicted inputs, with weights of 1.
 * @param u The lag [B L C], L at least 2.
 * @param target What follows it [B horizon C].
 */
export function forecastLoss(
  config: ForecasterConfig,
  params: ForecasterParameters,
  u: Tensor,
  target: Tensor,
): Tensor {
  const { closed, open, inputs, nextInputs } = forecast(config, params, u, target.shape[1]!);
  return [rootError(closed, target), aheadError(open, u), aheadError(nextInputs, inputs)].reduce((x, y) => add(x, y));
}

/** Of predictions [B L X] made at each position for the next one of x. */
function aheadError(prediction: Tensor, x: Tensor): Tensor {
  const L = x.shape[1]!;
  return rootError(sliceAxis(prediction, 1, 0, L - 1), sliceAxis(x, 1, 1, L));
}

/** The small number keeps the gradient finite where the error is 0. */
const rootError = (prediction: Tensor, target: Tensor): Tensor =>
  sqrt(add(meanSquaredError(prediction, target), 1e-12));

/** [B L C] -> [B L times C], all channels, then all again. */
function repeated(u: Tensor, times: number): Tensor {
  const [B, L, C] = u.shape as [number, number, number];
  return reshape(broadcastTo(expandDims(u, 2), [B, L, times, C]), [B, L, times * C]);
}

const blockConfig = (block: SpaceTimeConfig, place: number): SpaceTimeConfig =>
  place === 0 ? block : { ...block, preprocess: "none" };
