/** The shift state-space model: the state holds the last N inputs under a learned map, so the kernel has N taps (Fu et al., Hungry Hungry Hippos, 2023, section 3.1). */
import { fftConv, fftConvKernel } from "@seqmix/fft";
import {
  add,
  concat,
  cumsum,
  einsum,
  equal,
  cast,
  expandDims,
  flip,
  mul,
  pad,
  reshape,
  sliceAxis,
  zeros,
  type Tensor,
} from "@seqmix/tensor";

/** h_t = S h_(t-1) + B u_t, y_t = C h_t for each of D channels, S moving every entry one place down. */
export interface ShiftSystem {
  /** Input map [D N]; one at the first place and zero elsewhere makes h the last N inputs. */
  readonly B: Tensor;
  /** Output map [D N]. */
  readonly C: Tensor;
}

/** K_l = sum_n B_n C_(n+l): the kernel of N taps. @returns [D N] */
export function shiftKernel({ B, C }: ShiftSystem): Tensor {
  return reshape(fftConvKernel({ u: expandDims(C, 0), k: B }, { transposed: true }).y, C.shape);
}

/**
 * One position.
 * @param u [B D]
 * @param h [B D N]
 * @returns y [B D] and the next state [B D N]
 */
export function shiftStep({ B, C }: ShiftSystem, u: Tensor, h: Tensor): readonly [Tensor, Tensor] {
  const next = add(shiftBy(h, 1), mul(expandDims(u, 2), B));
  return [einsum("B D N, D N -> B D", next, C), next];
}

/**
 * A whole sequence.
 * @param u [B D L]
 * @param h0 State before it [B D N]; zeros by default.
 * @param resets 1 where the past is forgotten, else 0 [B L], f32.
 * @returns y [B D L] and the state after it [B D N]
 */
export function shiftSequence(system: ShiftSystem, u: Tensor, h0?: Tensor, resets?: Tensor): readonly [Tensor, Tensor] {
  const K = shiftKernel(system);
  if (!resets) {
    const driven = fftConv({ u, k: K });
    return [h0 ? add(driven, fromState(system, h0, u.shape[2]!)) : driven, finalState(system, u, h0)];
  }
  const parts = cumsum(resets, 1);
  const L = u.shape[2]!;
  const last = sliceAxis(parts, 1, L - 1, L);
  const same = (x: Tensor, y: Tensor | number): Tensor => expandDims(cast(equal(x, y), "f32"), 1);
  const driven = packedConvolution(K, u, parts);
  const y = h0 ? add(driven, mul(fromState(system, h0, L), same(parts, 0))) : driven;
  const kept = h0 && mul(h0, same(last, 0));
  return [y, finalState(system, mul(u, same(parts, last)), kept)];
}

/** Taps K [D N] on u [B D L], each only where both positions are of one part [B L]: N products, as a short convolution. */
function packedConvolution(K: Tensor, u: Tensor, parts: Tensor): Tensor {
  const [D, N] = K.shape as [number, number];
  const L = u.shape[2]!;
  const taps = Math.min(N, L);
  const past = pad(u, [0, 0, taps - 1], [0, 0, 0]);
  const pastParts = pad(parts, [0, taps - 1], [0, 0], -1);
  let y: Tensor | undefined;
  for (let l = 0; l < taps; l++) {
    const start = taps - 1 - l;
    const same = cast(equal(parts, sliceAxis(pastParts, 1, start, start + L)), "f32");
    const tap = reshape(sliceAxis(K, 1, l, l + 1), [D, 1]);
    const term = mul(mul(sliceAxis(past, 2, start, start + L), tap), expandDims(same, 1));
    y = y ? add(y, term) : term;
  }
  return y!;
}

/** What the state adds to outputs: sum_n h_n C_(n+t+1) [B D L], zero from t = N - 1 on. */
function fromState({ C }: ShiftSystem, h: Tensor, L: number): Tensor {
  const [B, D, N] = h.shape as [number, number, number];
  const copies = concat(
    Array.from({ length: B }, () => expandDims(C, 0)),
    1,
  );
  const { y } = fftConvKernel({ u: copies, k: reshape(h, [B * D, N]) }, { transposed: true });
  const later = pad(sliceAxis(reshape(y, [B, D, N]), 2, 1, N), [0, 0, 0], [0, 0, Math.max(0, L - N + 1)]);
  return sliceAxis(later, 2, 0, L);
}

/** S^L h0 + sum_j S^j B u_(L-1-j) [B D N]. */
function finalState({ B: input }: ShiftSystem, u: Tensor, h0?: Tensor): Tensor {
  const N = input.shape[1]!;
  const L = u.shape[2]!;
  const recent = flip(sliceAxis(u, 2, Math.max(0, L - N), L), 2);
  const driven = fftConv({ u: pad(recent, [0, 0, 0], [0, 0, Math.max(0, N - L)]), k: input });
  return h0 && L < N ? add(driven, shiftBy(h0, L)) : driven;
}

/** Entries [B D N] moved up by `places`, zeros first. */
function shiftBy(h: Tensor, places: number): Tensor {
  const [B, D, N] = h.shape as [number, number, number];
  if (places >= N) return zeros([B, D, N]);
  return pad(sliceAxis(h, 2, 0, N - places), [0, 0, places], [0, 0, 0]);
}
