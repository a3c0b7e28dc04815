/** Pointwise functions by the names of the published code. */
import { glu } from "@seqmix/nn";
import { expm1, gelu, maximum, minimum, relu, sigmoid, silu, softplus, tanh, add, type Tensor } from "@seqmix/tensor";

/** Names of pointwise functions; "glu" halves the last axis: x[..half] sigmoid(x[half..]). */
export const activations = ["none", "tanh", "relu", "gelu", "elu", "silu", "sigmoid", "softplus", "glu"] as const;

/** One of {@link activations}. */
export type Activation = (typeof activations)[number];

/** x [.. D] under a function: [.. D], or [.. D/2] for "glu". */
export function activated(activation: Activation, x: Tensor): Tensor {
  switch (activation) {
    case "none":
      return x;
    case "tanh":
      return tanh(x);
    case "relu":
      return relu(x);
    case "gelu":
      return gelu(x);
    case "elu":
      return add(maximum(x, 0), expm1(minimum(x, 0)));
    case "silu":
      return silu(x);
    case "sigmoid":
      return sigmoid(x);
    case "softplus":
      return softplus(x);
    case "glu":
      return glu(x);
    default:
      throw new RangeError(`s4: expected an activation ${activations.join(", ")}, got "${String(activation)}"`);
  }
}
