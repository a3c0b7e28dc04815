/** The convolution and the correlation on the CPU device: four channels at once, modulo x^n - i, in WebAssembly. */
import type { CpuVariant, KernelCase, KernelTable } from "@seqmix/tensor";
import type { FftCorrelationOptions } from "../fft-conv.js";
import { convolutionProgram, correlationProgram, rootsOf } from "./program.js";

const NAME = "four channels, modulo x^n - i";

const tables = ({ dims: { L } }: KernelCase<unknown>): readonly KernelTable[] => [
  { name: `roots ${L}`, values: () => rootsOf(L!) },
];

/** Taps of a kernel that is given. */
export const tapsOf = ({ present, dims }: KernelCase<unknown>, name: "k" | "kReverse"): number | undefined =>
  present.has(name) ? dims[name === "k" ? "K" : "R"] : undefined;

/** Why programs by transforms of the input's length cannot run a case; true if they can. */
export function withinLength(kase: KernelCase<unknown>): true | string {
  const { B = 0, D = 0, L = 0 } = kase.dims;
  if (B * D * L === 0) return "expected elements, got none";
  for (const name of ["k", "kReverse"] as const) {
    const taps = tapsOf(kase, name);
    if (taps !== undefined && (taps < 1 || taps > L)) return `expected 1 to ${L} taps for length ${L}, got ${taps}`;
  }
  return true;
}

/** Of {@link fftConvKernel}. */
export const convolutionOnCpu: CpuVariant<undefined> = {
  device: "cpu",
  name: NAME,
  supports: withinLength,
  tables,
  forward: (kase, memory) =>
    convolutionProgram(
      {
        batch: kase.dims.B!,
        channels: kase.dims.D!,
        length: kase.dims.L!,
        taps: tapsOf(kase, "k"),
        tapsAhead: tapsOf(kase, "kReverse"),
        skip: kase.present.has("skip"),
        gate: kase.present.has("gate"),
      },
      memory,
    ),
};

/** Of {@link fftCorrelationKernel}. */
export const correlationOnCpu: CpuVariant<FftCorrelationOptions> = {
  device: "cpu",
  name: NAME,
  supports: ({ dims: { L, K } }) => K! <= L! || `expected at most ${L} lags for length ${L}, got ${K}`,
  tables,
  forward: ({ dims: { B, D, L, K } }, memory) =>
    correlationProgram({ batch: B!, channels: D!, length: L!, lags: K! }, memory),
};
