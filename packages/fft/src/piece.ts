/** The convolution of a piece of a sequence with all that it adds to what comes behind it. */
import { concat, defineKernel, pad, sliceAxis, zeros, type Kernel, type Tensor } from "@seqmix/tensor";
import { pieceOnCpu } from "./cpu/variants.js";
import { correlated, fftConvKernel } from "./fft-conv.js";
import { piecesOnGpu } from "./webgpu/row-variant.js";

/** Axes of the inputs of {@link fftPieceKernel}. */
export type FftPieceInputs = {
  /** Input. */
  readonly u: "B D L";
  /** Taps that look back. */
  readonly k: "D K";
};

/** Axes of the outputs of {@link fftPieceKernel}; T is K - 1. */
export type FftPieceOutputs = {
  /** The convolution. */
  readonly y: "B D L";
  /** The convolution behind the last input, as if zeros followed it. */
  readonly tail: "B D T";
};

type Inputs = { readonly [K in keyof FftPieceInputs]: Tensor };
type Cotangents = { readonly [K in keyof FftPieceOutputs]?: Tensor };

/**
 * All of the product of u [B D L] and k [D K]: y_t = sum_s k_s u_(t-s) for t < L, and in `tail` [B D K-1] those for t from L
 * on. Modulo x^n - i the terms from x^n on are the imaginary part, so that the tail takes no longer transform.
 */
export const fftPieceKernel: Kernel<FftPieceInputs, FftPieceOutputs, undefined> = defineKernel({
  name: "fftPiece",
  inputs: { u: "B D L", k: "D K" },
  extraDims: ({ K }) => ({ T: Math.max(0, K! - 1) }),
  outputs: { y: "B D L", tail: "B D T" },
  backwardReads: [],
  reference({ u, k }: Inputs) {
    const [L, later] = [u.shape[2]!, Math.max(0, k.shape[1]! - 1)];
    const { y } = fftConvKernel({ u: extended(u, later), k }, undefined);
    return { y: sliceAxis(y, 2, 0, L), tail: sliceAxis(y, 2, L, L + later) };
  },
  gradient({ u, k }: Inputs, { y, tail }: Cotangents, _, { B, D, L, T, K }): Partial<Inputs> {
    const g = concat([y ?? zeros([B!, D!, L!]), tail ?? zeros([B!, D!, T!])], 2);
    return {
      u: sliceAxis(fftConvKernel({ u: g, kReverse: k }, undefined).y, 2, 0, L!),
      k: correlated(g, extended(u, T!), K!),
    };
  },
  cost: ({ B, D, L, K, T }) => {
    const { flops } = fftConvKernel.record.cost({ B: B!, D: D!, L: L!, K: K! }, undefined, new Set(["u", "k"]));
    return { flops, bytes: 4 * D! * (B! * (2 * L! + T!) + K!) };
  },
  variants: [piecesOnGpu, pieceOnCpu],
  samples: (
    [
      [2, 3, 16, 16],
      [2, 5, 20, 7],
      [1, 2, 9, 60],
    ] as const
  ).map(([B, D, L, K]) => ({ name: `length ${L}, ${K} taps`, dims: { B, D, L, K }, options: undefined })),
});

const extended = (x: Tensor, by: number): Tensor => pad(x, [0, 0, 0], [0, 0, by]);
