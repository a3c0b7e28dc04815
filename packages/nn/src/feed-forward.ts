/** Maps of each position by itself. */
import { assertSettings, foldIn, gelu, mul, silu, type Key, type Tensor } from "@seqmix/tensor";
import { initLinear, linear, type LinearParameters } from "./linear.js";

/** Two linear maps with F channels between them. */
export type MlpParameters = {
  /** D to F, weight [F D]. */
  readonly fc1: LinearParameters;
  /** F to D, weight [D F]. */
  readonly fc2: LinearParameters;
};

/** Three linear maps under the keys of LLaMA checkpoints. */
export type GatedMlpParameters = {
  /** D to F, weight [F D]. */
  readonly gate_proj: LinearParameters;
  /** D to F, weight [F D]. */
  readonly up_proj: LinearParameters;
  /** F to D, weight [D F]. */
  readonly down_proj: LinearParameters;
};

/** Two linear maps, D -> F -> D. */
export function initMlp(
  key: Key,
  dModel: number,
  dHidden: number,
  options: { readonly bias?: boolean } = {},
): MlpParameters {
  assertSettings("initMlp", options, { bias: "flag" });
  return {
    fc1: initLinear(foldIn(key, "fc1"), dModel, dHidden, options),
    fc2: initLinear(foldIn(key, "fc2"), dHidden, dModel, options),
  };
}

/** fc2(gelu(fc1(x))). @param x [.. D] */
export function mlp(parameters: MlpParameters, x: Tensor): Tensor {
  assertSettings("mlp", parameters, ["fc1", "fc2"]);
  const { fc1, fc2 } = parameters;
  return linear(fc2, gelu(linear(fc1, x)));
}

/** Three linear maps of a gated map D -> F -> D, without bias by default. */
export function initGatedMlp(
  key: Key,
  dModel: number,
  dHidden: number,
  options: { readonly bias?: boolean } = {},
): GatedMlpParameters {
  assertSettings("initGatedMlp", options, { bias: "flag" });
  const { bias = false } = options;
  return {
    gate_proj: initLinear(foldIn(key, "gate_proj"), dModel, dHidden, { bias }),
    up_proj: initLinear(foldIn(key, "up_proj"), dModel, dHidden, { bias }),
    down_proj: initLinear(foldIn(key, "down_proj"), dHidden, dModel, { bias }),
  };
}

/** down(silu(gate(x)) up(x)), SwiGLU (Shazeer, GLU Variants Improve Transformer, 2020). @param x [.. D] */
export function gatedMlp(parameters: GatedMlpParameters, x: Tensor): Tensor {
  assertSettings("gatedMlp", parameters, ["gate_proj", "up_proj", "down_proj"]);
  const { gate_proj, up_proj, down_proj } = parameters;
  return linear(down_proj, mul(silu(linear(gate_proj, x)), linear(up_proj, x)));
}
