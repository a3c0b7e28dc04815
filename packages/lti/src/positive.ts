/** How learned numbers are kept positive. */
import { add, assertNumber, assertOneOf, exp, relu, sigmoid, softplus, type Tensor } from "@seqmix/tensor";

/** Functions that keep a learned number positive: p, e^p, max(p, 0) + 1e-4, 1/(1+e^-p), log(1+e^p). */
export const positiveTransforms = ["none", "exp", "relu", "sigmoid", "softplus"] as const;

/** One of {@link positiveTransforms}. */
export type PositiveTransform = (typeof positiveTransforms)[number];

/** p under one of the {@link PositiveTransform}s. */
export function positive(p: Tensor, transform: PositiveTransform): Tensor {
  switch (transform) {
    case "none":
      return p;
    case "exp":
      return exp(p);
    case "relu":
      return add(relu(p), 1e-4);
    case "sigmoid":
      return sigmoid(p);
    case "softplus":
      return softplus(p);
    default:
      throw new RangeError(
        `positive: expected "none", "exp", "relu", "sigmoid" or "softplus", got "${String(transform)}"`,
      );
  }
}

/** What {@link positive} makes `value` of; values below 1e-4 count as that, as in the published code, also with "none". */
export function beforeTransform(value: number, transform: PositiveTransform): number {
  assertOneOf("beforeTransform", "transform", transform, positiveTransforms);
  assertNumber("beforeTransform", "the value", value, transform === "sigmoid" ? { below: 1 } : {});
  const bounded = Math.max(value, 1e-4);
  switch (transform) {
    case "exp":
      return Math.log(bounded);
    case "sigmoid":
      return Math.log(bounded / (1 - bounded));
    case "softplus":
      return bounded + Math.log(-Math.expm1(-bounded));
    default:
      return bounded;
  }
}
