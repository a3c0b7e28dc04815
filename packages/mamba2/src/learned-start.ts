/**
 * A learned state before the first position. It enters the recurrence as any state does, so h_t is the state that grew from
 * zero plus c_t times the learned one, c_t the product of the decays since the sequence began: a number a head is all that
 * has to be carried, and it begins at 1 again where a sequence does.
 */
import { linearScan } from "@seqmix/scan";
import { cast, einsum, exp, expandDims, mul, ones, reshape, sliceAxis, zeros, type Tensor } from "@seqmix/tensor";

/**
 * What the outputs read of the learned state.
 * @param init [H P N]
 * @param C Output map [.. G N]
 * @param left What is left of the state at each position [.. H]
 * @returns [.. H P]
 */
export function readLearnedStart(init: Tensor, C: Tensor, left: Tensor): Tensor {
  const [H, P, N] = init.shape as [number, number, number];
  const [outer, G] = [C.shape.slice(0, -2), C.shape.at(-2)!];
  const read = einsum("X G N, G R P N -> X G R P", reshape(C, [-1, G, N]), reshape(init, [G, H / G, P, N]));
  return mul(reshape(read, [...outer, H, P]), expandDims(left, -1));
}

/**
 * What is left of the learned state at each position, and after the last.
 * @param logDecay [B L H]
 * @param before What was left before the first position [B H]; all of it by default.
 * @param resets [B L], true where a sequence begins
 */
export function remainsOfStart(
  logDecay: Tensor,
  before: Tensor | undefined,
  resets: Tensor | undefined,
): { readonly all: Tensor; readonly last: Tensor } {
  const [B, L, H] = logDecay.shape as [number, number, number];
  const first = before ?? ones([B, H]);
  if (L === 0) return { all: logDecay, last: first };
  const a = exp(logDecay);
  const begins = resets && reshape(cast(resets, "f32"), [B, L, 1]);
  const all = linearScan({ a, b: begins ? mul(a, begins) : zeros(a.shape), h0: first, axis: 1, resets: begins });
  return { all, last: reshape(sliceAxis(all, 1, L - 1, L), [B, H]) };
}
