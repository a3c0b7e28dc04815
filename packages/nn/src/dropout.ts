/** Dropout (Srivastava et al., 2014). */
import {
  assertKey,
  assertNumber,
  assertSettings,
  assertTensor,
  bernoulli,
  div,
  where,
  type Key,
  type Tensor,
  type TensorKey,
} from "@seqmix/tensor";

/** Settings of {@link dropout}. */
export interface DropoutOptions {
  /** Share of elements that become 0, in [0, 1). */
  readonly rate: number;
  /** The draw; none: x as it is, for evaluation. Of `keyTensor`, so that every step of a training runs the same plan. */
  readonly key?: Key | TensorKey | undefined;
}

/**
 * Each element 0 with probability `rate`, the others divided by 1 - rate, so that the mean stays.
 * @param x [..]
 * @throws RangeError for a rate outside [0, 1).
 */
export function dropout(x: Tensor, options: DropoutOptions): Tensor {
  assertSettings("dropout", options, { rate: "own", key: "own" });
  const { rate, key } = options;
  assertTensor("dropout", x);
  assertNumber("dropout", "rate", rate, { from: 0, below: 1 });
  if (key !== undefined) assertKey("dropout", key);
  return !key || rate === 0 ? x : where(bernoulli(key, 1 - rate, x.shape), div(x, 1 - rate), 0);
}
