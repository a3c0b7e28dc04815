/** A linear recurrence that forgets what is older than a window. */
import { linearScan } from "./linear-scan.js";
import { assertSettings, concat, cumsum, exp, mul, sliceAxis, sub, zeros, type Tensor } from "@seqmix/tensor";

/** What {@link windowedLinearScan} takes. */
export interface WindowedLinearScanArguments {
  /** Logarithms of the decays, at most 0: Mamba's delta A. The shape of `b`. */
  readonly logDecay: Tensor;
  /** Drive [..., L, ...]. */
  readonly b: Tensor;
  /** The axis of the recurrence. */
  readonly axis: number;
  /** Elements r that a state holds, the last one included. */
  readonly window: number;
}

/**
 * h_t - (a_(t-r+1) .. a_t) h_(t-r) with h_t = a_t h_(t-1) + b_t: the state of the last r elements alone, as a difference of
 * two states, Stuffed Mamba's third method against state collapse (Chen et al., 2024). Their code does not contain it: the
 * formula follows the paper's text and is not checked against an original. The difference loses digits where h_(t-r) is
 * much larger than what it leaves.
 */
export function windowedLinearScan(given: WindowedLinearScanArguments): Tensor {
  assertSettings("windowedLinearScan", given, { logDecay: "tensor", b: "tensor", axis: "own", window: "own" });
  const { logDecay, b, axis, window } = given;
  if (!Number.isInteger(window) || window < 1)
    throw new RangeError(`windowedLinearScan: expected a window of at least 1, got ${window}`);
  const L = b.shape.at(axis)!;
  const h = linearScan({ a: exp(logDecay), b, axis });
  if (window >= L) return h;
  const sums = cumsum(logDecay, axis);
  const product = exp(sub(sliceAxis(sums, axis, window, L), sliceAxis(sums, axis, 0, L - window)));
  const gone = mul(product, sliceAxis(h, axis, 0, L - window));
  const none = zeros(h.shape.map((extent, k) => (k === (axis + h.shape.length) % h.shape.length ? window : extent)));
  return sub(h, concat([none, gone], axis));
}
