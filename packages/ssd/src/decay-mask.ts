/** Masks of structured masked attention: what is left, at each position, of what each earlier one wrote. */
import {
  assertTensor,
  broadcastTo,
  cumsum,
  exp,
  expandDims,
  formatShape,
  iota,
  less,
  lessEqual,
  ShapeError,
  where,
  type Tensor,
} from "@seqmix/tensor";

/**
 * Sums of segments: entry (t, s) is x_(s+1) + .. + x_t for s <= t, 0 on the diagonal, -Infinity above it
 * (Dao and Gu, Transformers are SSMs, 2024, listing 1). Each column adds up by itself: differences of one running sum
 * would lose the small segments behind large ones.
 * @param x [.. L]
 * @returns [.. L L]
 */
export const segsum = (x: Tensor): Tensor => where(causal(lengthOf(x)), columnSums(x), -Infinity);

/**
 * The 1-semiseparable matrix of a decay, exp of {@link segsum}: entry (t, s) is what is left at t of what s wrote, 0 for s > t.
 * @param logDecay [.. L], at most 0
 * @returns [.. L L]
 */
export const decayMask = (logDecay: Tensor): Tensor => where(causal(lengthOf(logDecay)), exp(columnSums(logDecay)), 0);

/** Whether s <= t, as bool [L L]. */
export const causal = (L: number): Tensor => lessEqual(iota([L, L], 1), iota([L, L], 0));

/** Running sums down the columns of what lies below the diagonal; 0 on it and above. */
function columnSums(x: Tensor): Tensor {
  const L = lengthOf(x);
  const below = less(iota([L, L], 1), iota([L, L], 0));
  return cumsum(where(below, broadcastTo(expandDims(x, -1), [...x.shape, L]), 0), x.shape.length - 1);
}

function lengthOf(x: Tensor): number {
  assertTensor("segsum", x);
  const { shape } = x;
  if (shape.length === 0) throw new ShapeError(`segsum: expected x [.. L], got shape ${formatShape(shape)}`);
  return shape.at(-1)!;
}
