/** Long convolutions of several sequences packed into one row. */
import {
  add,
  assertSettings,
  assertTensors,
  cast,
  concat,
  cumsum,
  equal,
  formatShape,
  mul,
  pad,
  reshape,
  ShapeError,
  sliceAxis,
  transpose,
  where,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import { fftConv } from "./fft-conv.js";

/** What {@link packedFftConv} takes. */
export interface PackedFftConvArguments {
  /** Input [B D L]. */
  readonly u: Tensor;
  /** Taps that look back [D K]: tap s multiplies u_(t-s). */
  readonly k: Tensor;
  /** bool or i32 [B L], not 0 at the first position of each sequence. */
  readonly resets: Tensor;
}

/** Positions of the blocks that are done tap by tap. */
const DIRECT = 16;

/**
 * y_t = sum_s k_s u_(t-s) over the s for which t - s lies in the sequence of t. Where sequences begin is data, so every block of
 * 16, 32, 64 .. positions takes what goes from its first half into its second by one Fourier transform: only one sequence of
 * a block crosses its middle. About log2(L / 16) times the work of `fftConv`.
 * @throws ShapeError if the resets are not one a position.
 */
export function packedFftConv(given: PackedFftConvArguments): Tensor {
  assertSettings("packedFftConv", given, ["u", "k", "resets"]);
  assertTensors("packedFftConv", given, ["u", "k", "resets"]);
  const { u, k, resets } = given;
  const [B, D, L] = u.shape as [number, number, number];
  if (resets.shape.join() !== `${B},${L}`)
    throw new ShapeError(
      `packedFftConv: expected resets [B L] of shape [${B},${L}], got shape ${formatShape(resets.shape)}; give one flag a position`,
    );
  if (u.size === 0) return u;
  const length = DIRECT * 2 ** Math.max(0, Math.ceil(Math.log2(L / DIRECT)));
  const number = cumsum(cast(cast(resets, "bool"), "f32"), 1);
  const wide = pad(u, [0, 0, 0], [0, 0, length - L]);
  // What fills up is a sequence of its own.
  const sequence = pad(number, [0, 0], [0, length - L], -1);
  const taps = k.shape[1]! < length ? pad(k, [0, 0], [0, length - k.shape[1]!]) : k;
  let y = withinBlocks(wide, taps, sequence);
  for (let size = 2 * DIRECT; size <= length; size *= 2) y = add(y, acrossMiddles(wide, taps, sequence, size));
  return sliceAxis(reshape(y, [B, D, length]), 2, 0, L);
}

/** Products within blocks of {@link DIRECT} positions. */
function withinBlocks(u: Tensor, k: Tensor, sequence: Tensor): Tensor {
  const [B, D, L] = u.shape as [number, number, number];
  const blocks = (x: Tensor, channels: number): Tensor => reshape(x, [B, channels, L / DIRECT, DIRECT]);
  const [values, numbers] = [blocks(u, D), blocks(sequence, 1)];
  const later = (x: Tensor, by: number, fill: number): Tensor =>
    pad(sliceAxis(x, 3, 0, DIRECT - by), [0, 0, 0, by], [0, 0, 0, 0], fill);
  let y: Tensor | undefined;
  for (let s = 0; s < DIRECT; s++) {
    const term = mul(later(values, s, 0), reshape(sliceAxis(k, 1, s, s + 1), [D, 1, 1]));
    const own = s === 0 ? term : where(equal(later(numbers, s, -2), numbers), term, 0);
    y = y ? add(y, own) : own;
  }
  return reshape(y!, [B, D, L]);
}

/** From the first half of each block of `size` positions into its second, within the sequence that crosses the middle. */
function acrossMiddles(u: Tensor, k: Tensor, sequence: Tensor, size: number): Tensor {
  const [B, D, L] = u.shape as [number, number, number];
  const [blocks, half] = [L / size, size / 2];
  const numbers = reshape(sequence, [B, 1, blocks, size]);
  const middle = sliceAxis(numbers, 3, half, half + 1);
  const first = sliceAxis(reshape(u, [B, D, blocks, size]), 3, 0, half);
  const crossing = where(equal(sliceAxis(numbers, 3, 0, half), middle), first, 0);
  // Blocks are elements of a batch.
  const rows = reshape(transpose(pad(crossing, [0, 0, 0, 0], [0, 0, 0, half]), [0, 2, 1, 3]), [B * blocks, D, size]);
  const y = transpose(reshape(fftConv({ u: rows, k: sliceAxis(k, 1, 0, size) }), [B, blocks, D, size]), [0, 2, 1, 3]);
  const second = where(equal(sliceAxis(numbers, 3, half, size), middle), sliceAxis(y, 3, half, size), 0);
  return reshape(concat([zeros([B, D, blocks, half]), second], 3), [B, D, L]);
}
