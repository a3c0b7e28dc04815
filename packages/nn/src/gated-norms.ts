/** Norms with a gate, as behind state-space models. */
import { add, assertSettings, assertTensor, cast, mul, reshape, ShapeError, silu, type Tensor } from "@seqmix/tensor";
import { assertNorm } from "./assert-parameters.js";
import { rmsNorm, type LayerNormParameters } from "./norms.js";

/** How {@link gatedRmsNorm} normalizes. */
export interface GatedRmsNormOptions {
  /** norm(x) silu(z) if true, norm(x silu(z)) by default. */
  readonly normBeforeGate?: boolean;
  /** Equal runs of channels that are normalized each by itself; 1 by default: all together. */
  readonly groups?: number;
  /** Added to the mean square; 1e-5 by default. */
  readonly eps?: number;
}

/**
 * The root mean square norm of Mamba-2 with its gate (Dao and Gu, Transformers are SSMs, 2024, section 7.1). The published
 * block divides channels into as many groups as its B and C; Hugging Face's takes all together.
 * @param x [.. D]
 * @param z The gate [.. D]; none: no gate.
 * @returns [.. D]
 */
export function gatedRmsNorm(
  parameters: LayerNormParameters,
  x: Tensor,
  z?: Tensor,
  options: GatedRmsNormOptions = {},
): Tensor {
  assertNorm("gatedRmsNorm", parameters, x);
  if (z !== undefined) assertTensor("gatedRmsNorm", z);
  assertSettings("gatedRmsNorm", options, { normBeforeGate: "flag", groups: "own", eps: { from: 0 } });
  const { weight, bias } = parameters;
  const { normBeforeGate = false, groups = 1, eps = 1e-5 } = options;
  const D = x.shape.at(-1) ?? 0;
  if (!Number.isInteger(groups) || groups < 1 || D % groups !== 0)
    throw new ShapeError(
      `gatedRmsNorm: expected groups that divide axis D of x, got ${groups} groups for D = ${D}; change one of them`,
    );
  // In f32, rounded at the end: a product with the gate may be beyond the largest f16 number.
  const single = (value: Tensor): Tensor => cast(value, "f32");
  const gate = z && silu(single(z));
  const given = gate && !normBeforeGate ? mul(single(x), gate) : single(x);
  const normed = reshape(rmsNorm({}, reshape(given, [...x.shape.slice(0, -1), groups, D / groups]), { eps }), x.shape);
  const scaled = weight ? mul(normed, single(weight)) : normed;
  const shifted = bias ? add(scaled, single(bias)) : scaled;
  return cast(gate && normBeforeGate ? mul(shifted, gate) : shifted, x.dtype);
}
