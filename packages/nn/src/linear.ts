/** Affine maps of the last axis. */
import {
  add,
  assertSettings,
  einsum,
  expandDims,
  foldIn,
  matmul,
  reshape,
  ShapeError,
  transpose,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import { assertLinear } from "./assert-parameters.js";
import { uniformInit, type Initializer } from "./initialize.js";

/** An affine map of I to O channels, in the layout of published checkpoints. */
export type LinearParameters = {
  /** [O I]. */
  readonly weight: Tensor;
  /** [O]; none: nothing is added. */
  readonly bias?: Tensor;
};

/** How {@link initLinear} fills the parameters. */
export interface LinearOptions {
  /** Whether there is a bias; true by default. */
  readonly bias?: boolean;
  /** Uniform in +-1/sqrt(I) by default, as in PyTorch. */
  readonly weightInit?: Initializer;
  /** Uniform in +-1/sqrt(I) by default, as in PyTorch. */
  readonly biasInit?: Initializer;
}

/** Parameters of a map from I = `inputs` to O = `outputs` channels. */
export function initLinear(key: Key, inputs: number, outputs: number, options: LinearOptions = {}): LinearParameters {
  assertSettings("initLinear", options, { bias: "flag", weightInit: "function?", biasInit: "function?" });
  const standard = uniformInit(1 / Math.sqrt(inputs));
  const { bias = true, weightInit = standard, biasInit = standard } = options;
  const weight = weightInit(foldIn(key, "weight"), [outputs, inputs]);
  return bias ? { weight, bias: biasInit(foldIn(key, "bias"), [outputs]) } : { weight };
}

/**
 * y = x W^T + b.
 * @param x [.. I]
 * @returns [.. O]
 * @throws ShapeError if the last axis is not I.
 */
export function linear(parameters: LinearParameters, x: Tensor): Tensor {
  assertLinear("linear", parameters, x);
  const { weight, bias } = parameters;
  const [outputs, inputs] = weight.shape as [number, number];
  if (x.shape.at(-1) !== inputs)
    throw new ShapeError(
      `linear: expected x [.. ${inputs}] for a weight of shape [${weight.shape.join(",")}], got shape [${x.shape.join(",")}]; check the number of channels`,
    );
  const y =
    x.shape.length === 1
      ? reshape(matmul(reshape(x, [1, inputs]), transpose(weight)), [outputs])
      : matmul(x, transpose(weight));
  return bias ? add(y, bias) : y;
}

/**
 * {@link linear} with the result's channels before its positions, as a convolution along L reads them, without a copy.
 * @param x [B L I]
 * @returns [B O L]
 * @throws ShapeError if the last axis is not I.
 */
export function linearChannelsFirst(parameters: LinearParameters, x: Tensor): Tensor {
  assertLinear("linearChannelsFirst", parameters, x);
  const { weight, bias } = parameters;
  assertChannels("linearChannelsFirst", "[B L I]", weight, x, 2);
  const y = timesColumns(weight, transpose(x));
  return bias ? add(y, expandDims(bias, 1)) : y;
}

/**
 * {@link linear} of what a convolution along L wrote, without a copy: the inverse of {@link linearChannelsFirst} in layout.
 * @param x [B I L]
 * @returns [B L O]
 * @throws ShapeError if axis 1 is not I.
 */
export function linearChannelsLast(parameters: LinearParameters, x: Tensor): Tensor {
  assertLinear("linearChannelsLast", parameters, x);
  const { weight, bias } = parameters;
  assertChannels("linearChannelsLast", "[B I L]", weight, x, 1);
  const y = transpose(timesColumns(weight, x));
  return bias ? add(y, bias) : y;
}

/**
 * W x for every sequence: [O I] times [B I L]. A product a sequence reads and writes channels first as they lie, and its
 * weight has B gradients to be summed; for sequences shorter than that is worth, one product over all positions.
 */
function timesColumns(weight: Tensor, x: Tensor): Tensor {
  return x.shape[2]! < weight.shape[0]! ? einsum("O I, B I L -> B O L", weight, x) : matmul(weight, x);
}

function assertChannels(name: string, axes: string, weight: Tensor, x: Tensor, axis: number): void {
  const [outputs, inputs] = weight.shape as [number, number];
  if (x.shape.length !== 3 || x.shape[axis] !== inputs)
    throw new ShapeError(
      `${name}: expected x ${axes} with I = ${inputs} for a weight of shape [${outputs},${inputs}], got shape [${x.shape.join(",")}]; check the number of channels`,
    );
}
