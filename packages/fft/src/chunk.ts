/** Long convolutions of sequences that come in pieces: what inputs so far add to outputs still to come is the state. */
import {
  add,
  assertNumber,
  assertSettings,
  cast,
  concat,
  expandDims,
  formatShape,
  mul,
  pad,
  ShapeError,
  sliceAxis,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import type { FftConvArguments } from "./fft-conv.js";
import { fftPieceKernel } from "./piece.js";

/** What {@link fftConvChunk} takes: a piece of the sequence; kernels that look ahead have no state. */
export type FftConvChunkArguments = Omit<FftConvArguments, "k" | "kReverse"> & {
  /** Kernel [D K], K at least 1: tap s multiplies u_(t-s), of earlier pieces too. */
  readonly k: Tensor;
  /** The state after the pieces before [B D K-1]; zeros at the start of a sequence, the default. */
  readonly state?: Tensor | undefined;
};

/** A piece's outputs, and what later ones need of it. */
export interface FftConvChunk {
  /** Outputs [B D L], f32. */
  readonly y: Tensor;
  /** The state after the piece [B D K-1]. */
  readonly state: Tensor;
}

const assertArguments = (name: string, given: FftConvChunkArguments): void =>
  assertSettings(name, given, { u: "tensor", k: "tensor", skip: "tensor?", gate: "tensor?", state: "tensor?" });

/**
 * The causal convolution of one piece of a sequence, of any length, after those before it. Entry s of the state is what
 * all inputs so far add to the output s steps behind the last one (overlap and add): pieces of different lengths may
 * follow each other, and a state of zeros stands for a sequence that begins.
 * @returns y [B D L] and the state after it [B D K-1]
 * @throws ShapeError if the state has another shape.
 */
export function fftConvChunk(given: FftConvChunkArguments): FftConvChunk {
  assertArguments("fftConvChunk", given);
  const { u, k, skip, gate, state } = given;
  const [B, D, L] = u.shape as [number, number, number];
  const later = k.shape[1]! - 1;
  const before = state ?? zeros([B, D, later]);
  if (formatShape(before.shape) !== formatShape([B, D, later]))
    throw new ShapeError(
      `fftConvChunk: expected a state [B D K-1] = ${formatShape([B, D, later])}, got ${formatShape(before.shape)}; pass the state that the piece before returned`,
    );
  // The piece's own products, and what earlier ones add to the same outputs.
  const own = fftPieceKernel({ u, k }, undefined);
  const now = L > 0 ? add(own.y, fitted(before, 0, L)) : own.y;
  const direct = skip ? add(now, mul(cast(u, "f32"), expandDims(skip, 1))) : now;
  return { y: gate ? mul(cast(gate, "f32"), direct) : direct, state: add(own.tail, fitted(before, L, later)) };
}

/**
 * {@link fftConv} without kReverse, a piece after the other: transforms are of a piece and the kernel together, whatever
 * the length of the sequence.
 * @param length Positions of a piece, at least 1; as many as taps or more waste least.
 * @returns y [B D L], f32
 */
export function chunkedFftConv(given: FftConvChunkArguments, length: number): Tensor {
  assertArguments("chunkedFftConv", given);
  assertNumber("chunkedFftConv", "length", length, { from: 1, whole: true });
  const { u, k, skip, gate } = given;
  let { state } = given;
  const L = u.shape[2]!;
  const pieces: Tensor[] = [];
  for (let start = 0; start < L; start += length) {
    const cut = (x: Tensor): Tensor => sliceAxis(x, 2, start, Math.min(L, start + length));
    const piece = fftConvChunk({ u: cut(u), k, skip, gate: gate && cut(gate), state });
    pieces.push(piece.y);
    ({ state } = piece);
  }
  return pieces.length > 0 ? concat(pieces, 2) : zeros(u.shape);
}

/** `length` entries from a first one on, zeros behind the last. */
function fitted(x: Tensor, first: number, length: number): Tensor {
  const extent = x.shape[2]!;
  const start = Math.min(first, extent);
  const end = Math.min(first + length, extent);
  return pad(sliceAxis(x, 2, start, end), [0, 0, 0], [0, 0, length - (end - start)]);
}
