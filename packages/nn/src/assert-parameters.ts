/** Checks of what layers are given: parameters come first, then a tensor. */
import { assertSettings, assertTensor, type Tensor } from "@seqmix/tensor";
import type { LinearParameters } from "./linear.js";
import type { LayerNormParameters } from "./norms.js";

/**
 * A bias under another name would be ignored.
 * @throws TypeError for parameters of other names, or none; DTypeError for anything but tensors.
 */
export function assertLinear(name: string, parameters: LinearParameters, x: Tensor): void {
  assertSettings(name, parameters, { weight: "tensor", bias: "tensor?" });
  assertTensor(name, x);
}

/**
 * A scale or a shift under another name would be ignored.
 * @throws TypeError for parameters of other names, or none; DTypeError for anything but tensors.
 */
export function assertNorm(name: string, parameters: LayerNormParameters, x: Tensor): void {
  assertSettings(name, parameters, { weight: "tensor?", bias: "tensor?" });
  assertTensor(name, x);
}
