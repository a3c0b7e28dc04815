/** The convolution and the correlation on the CPU device: four channels at once, modulo x^n - i, in WebAssembly. */
import type { CpuVariant, KernelCase, KernelTable } from "@seqmix/tensor";
import type { FftCorrelationOptions } from "../fft-conv.js";
import { convolutionProgram, correlationProgram, longestOf, type ConvolutionSpec } from "./program.js";
import { rootsOf } from "./roots.js";

const NAME = "four channels, modulo x^n - i";

const roots = (length: number): readonly KernelTable[] => [{ name: `roots ${length}`, values: () => rootsOf(length) }];

/** Taps of a kernel that is given. */
export const tapsOf = ({ present, dims }: KernelCase<unknown>, name: "k" | "kReverse"): number | undefined =>
  present.has(name) ? dims[name === "k" ? "K" : "R"] : undefined;

/** Why programs cannot run a case that has nothing to transform; true if they can. */
export function hasElements(kase: KernelCase<unknown>): true | string {
  const { B = 0, D = 0, L = 0 } = kase.dims;
  const taps = [tapsOf(kase, "k") ?? 1, tapsOf(kase, "kReverse") ?? 1];
  return [B, D, L, ...taps].every((extent) => extent > 0) || "expected elements along every axis, got none";
}

const specOf = (kase: KernelCase<unknown>): ConvolutionSpec => ({
  batch: kase.dims.B!,
  channels: kase.dims.D!,
  length: kase.dims.L!,
  taps: tapsOf(kase, "k"),
  tapsAhead: tapsOf(kase, "kReverse"),
  skip: kase.present.has("skip"),
  gate: kase.present.has("gate"),
});

/** Of {@link fftConvKernel}. */
export const convolutionOnCpu: CpuVariant<undefined> = {
  device: "cpu",
  name: NAME,
  supports: hasElements,
  tables: (kase) => roots(longestOf(specOf(kase))),
  forward: (kase, memory) => convolutionProgram(specOf(kase), memory),
};

/** Of {@link fftPieceKernel}. */
export const pieceOnCpu: CpuVariant<undefined> = {
  ...convolutionOnCpu,
  supports: (kase) => (kase.dims.K! > 1 ? hasElements(kase) : "expected at least 2 taps, got one"),
  forward: (kase, memory) => convolutionProgram({ ...specOf(kase), tail: true }, memory),
};

/** Of {@link fftCorrelationKernel}. */
export const correlationOnCpu: CpuVariant<FftCorrelationOptions> = {
  device: "cpu",
  name: NAME,
  supports: ({ dims: { L, K } }) => K! <= L! || `expected at most ${L} lags for length ${L}, got ${K}`,
  tables: ({ dims: { L } }) => roots(L!),
  forward: ({ dims: { B, D, L, K } }, memory) =>
    correlationProgram({ batch: B!, channels: D!, length: L!, lags: K! }, memory),
};
