/** Sums of the powers of many decays: the kernels of diagonal systems. */
import { assertNumber, defineKernel, type Complex, type Kernel, type Tensor } from "@seqmix/tensor";
import { powerSum, powerTable, type Decay } from "./powers.js";
import { powerSumsOnGpu } from "./webgpu/power-sums-variant.js";

/** Axes of the inputs of {@link powerSumsKernel}. */
export type PowerSumsInputs = {
  /** Real part of the weights. */
  readonly Wr: "M H N";
  /** Imaginary part. */
  readonly Wi: "M H N";
  /** Real part of the logarithms of the decays. */
  readonly zr: "H N";
  /** Imaginary part. */
  readonly zi: "H N";
};

/** Settings of {@link powerSumsKernel}. */
export interface PowerSumsOptions {
  /** L, at least 1. */
  readonly length: number;
}

/** Axes of the output of {@link powerSumsKernel}. */
export type PowerSumsOutputs = {
  /** The sums. */
  readonly K: "M H L";
};

type Inputs = { readonly [K in keyof PowerSumsInputs]: Tensor };

/**
 * The record of {@link powerSums}: K_l = Re sum_n W_n e^(l z_n) for l < L. Composed of ops it is powers in two levels and one
 * product of matrices a channel; on WebGPU a workgroup makes the powers that it sums, so that none are stored.
 */
export const powerSumsKernel: Kernel<PowerSumsInputs, PowerSumsOutputs, PowerSumsOptions> = defineKernel({
  name: "powerSums",
  options: { length: { from: 1, whole: true } },
  inputs: { Wr: "M H N", Wi: "M H N", zr: "H N", zi: "H N" },
  extraDims: (_, { length }: PowerSumsOptions) => ({ L: length }),
  outputs: { K: "M H L" },
  backwardReads: [],
  reference: ({ Wr, Wi, zr, zi }: Inputs, { length }) => ({
    K: powerSum({ re: Wr, im: Wi }, powerTable({ exponent: { re: zr, im: zi } }, length)),
  }),
  cost: ({ M, H, N, L }) => ({
    flops: 4 * M! * H! * N! * L!,
    bytes: 4 * H! * (2 * (M! + 1) * N! + M! * L!),
  }),
  variants: [powerSumsOnGpu],
  samples: (
    [
      ["two sums", { M: 2, H: 2, N: 3 }, 100],
      ["many modes over several tiles", { M: 1, H: 2, N: 37 }, 1100],
      ["one mode, one place", { M: 1, H: 3, N: 1 }, 1],
    ] as const
  ).map(([name, dims, length]) => ({
    name,
    dims,
    options: { length },
    ranges: { zr: [-0.2, -0.01], zi: [-4, 9] },
  })),
});

/**
 * K_l = Re sum_n W_n e^(l z_n) for l < L, with gradients of both.
 * @param W [M H N]
 * @param z [H N]
 * @returns [M H L]
 */
export function powerSums(W: Complex, z: Complex, length: number): Tensor {
  assertNumber("powerSums", "the length L", length, { from: 1, whole: true });
  return powerSumsKernel({ Wr: W.re, Wi: W.im, zr: z.re, zi: z.im }, { length }).K;
}

/** The same of any decay: powers of a base are made by squaring. */
export const sumOfPowers = (W: Complex, decay: Decay, length: number): Tensor =>
  "exponent" in decay ? powerSums(W, decay.exponent, length) : powerSum(W, powerTable(decay, length));
