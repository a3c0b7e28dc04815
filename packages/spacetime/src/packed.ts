/** Convolution of sequences packed into one: taps reach back to the beginning of their own sequence only. */
import {
  cast,
  concat,
  einsum,
  equal,
  expandDims,
  flip,
  mul,
  pad,
  reshape,
  sliceAxis,
  zeros,
  broadcastTo,
  type Tensor,
} from "@seqmix/tensor";

/**
 * y_t = sum_l k_l u_(t-l) over the positions of t's own part, as products with masked Toeplitz matrices: for short pieces.
 * @param u [B K R L]
 * @param k Taps [K W], the same for the R channels of a kernel.
 * @param parts Number of the part each position is of, from 0 [B L]; f32.
 * @param past Inputs before u, of part 0 [B K R P]; none by default.
 * @returns [B K R L]
 */
export function packedConvolution(u: Tensor, k: Tensor, parts: Tensor, past?: Tensor): Tensor {
  const P = past?.shape[3] ?? 0;
  const [B, L] = parts.shape as [number, number];
  const inputs = past ? concat([past, u], 3) : u;
  const inputParts = concat([zeros([B, P]), parts], 1);
  const mask = cast(equal(expandDims(parts, 2), expandDims(inputParts, 1)), "f32");
  const matrix = sliceAxis(toeplitz(k, P + L), 1, P, P + L);
  return einsum("B K T S, B K R S -> B K R T", mul(matrix, expandDims(mask, 1)), inputs);
}

/** M_ts = k_(t-s) for 0 <= t - s < W, else 0: k [K W] -> [K L L]. */
function toeplitz(k: Tensor, L: number): Tensor {
  const [K, W] = k.shape as [number, number];
  const taps = W < L ? pad(k, [0, 0], [0, L - W]) : sliceAxis(k, 1, 0, L);
  // Rows of 2L entries read as rows of 2L + 1 are each one place further: entry (r, s) is f_(r+s), f the taps reversed.
  const row = pad(flip(taps, 1), [0, 0], [0, L]);
  const rows = reshape(broadcastTo(expandDims(row, 1), [K, L, 2 * L]), [K, 2 * L * L]);
  const skewed = reshape(pad(rows, [0, 0], [0, L]), [K, L, 2 * L + 1]);
  return flip(sliceAxis(skewed, 2, 0, L), 1);
}
