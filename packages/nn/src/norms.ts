/**
 * Normalizations over channels, each position by itself, so that causality is kept. They are computed in f32, whatever the type of x:
 * the squares of numbers beyond 1.8e19 are infinite there, and the results 0, as in PyTorch.
 */
import {
  add,
  assertNumber,
  assertSettings,
  cast,
  div,
  mean,
  mul,
  ones,
  reshape,
  ShapeError,
  sqrt,
  square,
  sub,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import { assertNorm } from "./assert-parameters.js";

/** The learned scale of {@link rmsNorm}. */
export type RmsNormParameters = {
  /** [D]; none: no scale. */
  readonly weight?: Tensor;
};

/** The learned scale and shift of {@link layerNorm} and {@link groupNorm}. */
export type LayerNormParameters = {
  /** Scale [D]; none: no scale. */
  readonly weight?: Tensor;
  /** Shift [D]; none: no shift. */
  readonly bias?: Tensor;
};

/** A scale of ones. */
export const initRmsNorm = (dModel: number): Required<RmsNormParameters> => ({ weight: ones([dModel]) });

/** A scale of ones and a shift of zeros. */
export const initLayerNorm = (dModel: number): Required<LayerNormParameters> => ({
  weight: ones([dModel]),
  bias: zeros([dModel]),
});

/**
 * x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich, Root Mean Square Layer Normalization, 2019).
 * @param x [.. D]
 * @param options `eps`, added to the mean square: 1e-5 by default.
 */
export function rmsNorm(parameters: RmsNormParameters, x: Tensor, options: { readonly eps?: number } = {}): Tensor {
  assertNorm("rmsNorm", parameters, x);
  const eps = epsOf("rmsNorm", options);
  const { weight } = parameters;
  return inSingle(x, (z) =>
    affine({ ...(weight && { weight }) }, div(z, sqrt(add(mean(square(z), -1, { keepDims: true }), eps)))),
  );
}

/**
 * (x - mean) / sqrt(variance + eps) * weight + bias over the last axis, with the biased variance (Ba, Kiros, Hinton, 2016).
 * @param x [.. D]
 * @param options `eps`, added to the variance: 1e-5 by default.
 */
export function layerNorm(parameters: LayerNormParameters, x: Tensor, options: { readonly eps?: number } = {}): Tensor {
  assertNorm("layerNorm", parameters, x);
  const eps = epsOf("layerNorm", options);
  return inSingle(x, (z) => affine(parameters, standardize(z, eps)));
}

/**
 * {@link layerNorm} of each of `groups` equal runs of channels, with a scale and shift per channel (Wu and He, 2018, at
 * each position by itself: the form RetNet and RWKV use on heads). Unlike PyTorch's on [B D L] it does not average over L.
 * @param x [.. D]
 * @param settings `groups`, a divisor of D; `eps` as in {@link layerNorm}.
 */
export function groupNorm(
  parameters: LayerNormParameters,
  x: Tensor,
  settings: { readonly groups: number; readonly eps?: number },
): Tensor {
  assertNorm("groupNorm", parameters, x);
  assertSettings("groupNorm", settings, ["groups", "eps"]);
  const { groups, ...options } = settings;
  const eps = epsOf("groupNorm", options);
  const D = x.shape.at(-1) ?? 0;
  if (!Number.isInteger(groups) || groups < 1 || D % groups !== 0)
    throw new ShapeError(
      `groupNorm: expected groups that divide axis D of x, got ${groups} groups for D = ${D}; change one of them`,
    );
  const grouped = [...x.shape.slice(0, -1), groups, D / groups];
  return inSingle(x, (z) => affine(parameters, reshape(standardize(reshape(z, grouped), eps), x.shape)));
}

/** @throws TypeError for settings that do not exist; RangeError for an eps below 0. */
function epsOf(name: string, options: { readonly eps?: number }): number {
  assertSettings(name, options, ["eps"]);
  const { eps = 1e-5 } = options;
  assertNumber(name, "eps", eps, { from: 0 });
  return eps;
}

function standardize(x: Tensor, eps: number): Tensor {
  const centered = sub(x, mean(x, -1, { keepDims: true }));
  return div(centered, sqrt(add(mean(square(centered), -1, { keepDims: true }), eps)));
}

/** In f32, rounded to the type of x at the end: squares of f16 numbers may be beyond the largest. */
function inSingle(x: Tensor, f: (x: Tensor) => Tensor): Tensor {
  return cast(f(cast(x, "f32")), x.dtype);
}

/** Scale and shift of f32 numbers. */
function affine({ weight, bias }: LayerNormParameters, x: Tensor): Tensor {
  const scaled = weight ? mul(x, cast(weight, "f32")) : x;
  return bias ? add(scaled, cast(bias, "f32")) : scaled;
}
