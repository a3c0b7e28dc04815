/** How learned numbers are kept positive. */
import { add, exp, relu, sigmoid, softplus, type Tensor } from "@seqmix/tensor";

/** p, e^p, max(p, 0) + 1e-4, 1/(1+e^-p), log(1+e^p). */
export type PositiveTransform = "none" | "exp" | "relu" | "sigmoid" | "softplus";

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

/** The number that `transform` takes to x > 0, below 1 for "sigmoid"; as in published code "relu" takes it to x + 1e-4. */
export function beforePositive(x: number, transform: PositiveTransform): number {
  switch (transform) {
    case "exp":
      return Math.log(x);
    case "sigmoid":
      return Math.log(x / (1 - x));
    case "softplus":
      return Math.log(Math.expm1(x));
    default:
      return x;
  }
}
