/** What follows the state-space model inside a layer: GELU and a gate, with the parameters of the published JAX code. */
import { uniformInit } from "@seqmix/nn";
import { add, foldIn, geluTanh, matmul, mul, sigmoid, zeros, type Key, type Tensor } from "@seqmix/tensor";

/** An affine map in flax's layout. */
export type DenseParameters = {
  /** [I O]. */
  readonly kernel: Tensor;
  /** [O]. */
  readonly bias: Tensor;
};

/** The names of {@link LayerActivation}. */
export const layerActivations = ["full_glu", "half_glu1", "half_glu2", "gelu"] as const;

/** What follows the recurrence, from y with g = gelu(y). */
export type LayerActivation =
  /** W1 g o sigmoid(W2 g) */
  | "full_glu"
  /** g o sigmoid(W2 g) */
  | "half_glu1"
  /** y o sigmoid(W2 g) */
  | "half_glu2"
  /** g */
  | "gelu";

/** The maps that the activation needs. */
export type ActivationParameters = {
  /** W1. */
  readonly out1?: DenseParameters;
  /** W2. */
  readonly out2?: DenseParameters;
};

/** Fresh maps; uniform with the variance 1/D of flax's default, biases zero. */
export function initActivation(activation: LayerActivation, dModel: number, key: Key): ActivationParameters {
  const dense = (name: string): DenseParameters => ({
    kernel: uniformInit(Math.sqrt(3 / dModel))(foldIn(key, name), [dModel, dModel]),
    bias: zeros([dModel]),
  });
  switch (activation) {
    case "full_glu":
      return { out1: dense("out1"), out2: dense("out2") };
    case "half_glu1":
    case "half_glu2":
      return { out2: dense("out2") };
    case "gelu":
      return {};
    default:
      throw new RangeError(
        `initActivation: expected "full_glu", "half_glu1", "half_glu2" or "gelu", got "${String(activation)}"`,
      );
  }
}

/** @param y [.. D] */
export function activate(activation: LayerActivation, { out1, out2 }: ActivationParameters, y: Tensor): Tensor {
  const g = geluTanh(y);
  if (activation === "gelu") return g;
  const gate = sigmoid(dense(out2, "out2", g));
  if (activation === "half_glu1") return mul(g, gate);
  return mul(activation === "half_glu2" ? y : dense(out1, "out1", g), gate);
}

function dense(map: DenseParameters | undefined, name: string, x: Tensor): Tensor {
  if (!map)
    throw new TypeError(
      `activate: expected parameters ${name} for this activation, got none; take them from init with the same config`,
    );
  return add(matmul(x, map.kernel), map.bias);
}
