/** Long convolutions along the sequence by Fourier transforms. */
import {
  add,
  defineKernel,
  flip,
  mul,
  pad,
  sliceAxis,
  sub,
  sum,
  zeros,
  type Dims,
  type Kernel,
  type KernelVariant,
  type Tensor,
} from "@seqmix/tensor";
import { fftConvProgram, fftConvTable } from "./cpu-fft-program.js";
import { fft, ifft, type Complex } from "./fft.js";

/** Settings of {@link fftConvKernel}. */
export interface FftConvOptions {
  /** Look ahead instead of back: tap s multiplies u_(t+s). This is the adjoint of the causal convolution. */
  readonly transposed: boolean;
}

/** Settings of {@link fftCorrelationKernel}. */
export interface FftCorrelationOptions {
  /** Number of lags K, at most L. */
  readonly taps: number;
}

/** Axes of the inputs of {@link fftConvKernel}. */
export type FftConvInputs = {
  /** Input. */
  readonly u: "B D L";
  /** Taps, at most as many as positions. */
  readonly k: "D K";
};

/** Axes of the output of {@link fftConvKernel}. */
export type FftConvOutputs = {
  /** The convolution. */
  readonly y: "B D L";
};

/** Axes of the inputs of {@link fftCorrelationKernel}. */
export type FftCorrelationInputs = {
  /** The operand that is shifted. */
  readonly a: "B D L";
  /** The operand that stays. */
  readonly b: "B D L";
};

/** Axes of the output of {@link fftCorrelationKernel}. */
export type FftCorrelationOutputs = {
  /** One value a lag. */
  readonly c: "D K";
};

/** Roots of unity. */
const constants = { table: { axes: "L", values: ({ L }: Dims) => fftConvTable(L!) } };

/** Modulo x^n - i, four channels at once: no zero padding, a complex transform of the sequence's own length. */
const convolutionOnCpu: KernelVariant<FftConvOptions> = {
  device: "cpu",
  name: "four channels, modulo x^n - i",
  supports: ({ dims: { L, K } }) => K! <= L! || `expected at most ${L} taps for length ${L}, got ${K}`,
  forward: ({ dims: { B, D, L, K }, options: { transposed } }, memory) =>
    fftConvProgram(
      { batch: B!, channels: D!, length: L!, kernelLength: K!, reverseInput: transposed, reverseOutput: transposed },
      memory,
    ),
};

const correlationOnCpu: KernelVariant<FftCorrelationOptions> = {
  device: "cpu",
  name: "four channels, modulo x^n - i",
  supports: ({ dims: { L, K } }) => K! <= L! || `expected at most ${L} lags for length ${L}, got ${K}`,
  forward: ({ dims: { B, D, L, K } }, memory) =>
    fftConvProgram(
      {
        batch: B!,
        channels: D!,
        length: L!,
        kernelLength: L!,
        outputLength: K!,
        batchedKernel: true,
        sumBatch: true,
        reverseInput: true,
        reverseOutput: true,
      },
      memory,
    ),
};

/**
 * The record of {@link fftConv}: u [B D L] and k [D K], K <= L, -> y [B D L] with y_t = sum_(s <= min(t, K-1)) k_s u_(t-s),
 * or u_(t+s) if transposed.
 */
export const fftConvKernel: Kernel<FftConvInputs, FftConvOutputs, FftConvOptions> = defineKernel({
  name: "fftConv",
  inputs: { u: "B D L", k: "D K" },
  constants,
  outputs: { y: "B D L" },
  reference({ u, k }: { readonly u: Tensor; readonly k: Tensor }, { transposed }: FftConvOptions) {
    if (u.size === 0 || k.size === 0) return { y: zeros(u.shape) };
    const input = transposed ? flip(u, 2) : u;
    const y = sliceAxis(circularProduct(input, k, u.shape[2]! + k.shape[1]! - 1), 2, 0, u.shape[2]!);
    return { y: transposed ? flip(y, 2) : y };
  },
  gradient(
    { u, k }: { readonly u: Tensor; readonly k: Tensor },
    { y: g }: { readonly y?: Tensor },
    { transposed }: FftConvOptions,
  ): { readonly u?: Tensor; readonly k?: Tensor } {
    const [a, b] = transposed ? [u, g!] : [g!, u];
    // Taps beyond the length reach no output.
    const [taps, L] = [k.shape[1]!, u.shape[2]!];
    return {
      u: fftConvKernel({ u: g, k }, { transposed: !transposed }).y,
      k: widen(fftCorrelationKernel({ a, b }, { taps: Math.min(taps, L) }).c, taps),
    };
  },
  cost({ B, D, L, K }) {
    const length = transformLength(L! + K! - 1);
    // A real transform of n points is about 2.5 n log2 n operations; two an input row, one a kernel row.
    return {
      flops: D! * (2.5 * length * Math.log2(length) * (2 * B! + 1) + 3 * B! * length),
      bytes: 4 * D! * (2 * B! * L! + K!),
    };
  },
  variants: [convolutionOnCpu],
  samples: (
    [
      [2, 3, 16, 16],
      [2, 2, 63, 63],
      [1, 2, 65, 4],
      [1, 1, 1, 1],
      [1, 5, 2, 2],
      [1, 2, 1000, 1000],
    ] as const
  ).flatMap(([B, D, L, K]) =>
    [false, true].map((transposed) => ({
      name: `length ${L}, ${K} taps${transposed ? ", transposed" : ""}`,
      dims: { B, D, L, K },
      options: { transposed },
    })),
  ),
});

/**
 * Correlation summed over the batch: a, b [B D L] -> c [D K] with c_s = sum_(b, t) a_(t+s) b_t, the gradient of
 * {@link fftConvKernel} with respect to its kernel.
 */
export const fftCorrelationKernel: Kernel<FftCorrelationInputs, FftCorrelationOutputs, FftCorrelationOptions> =
  defineKernel({
    name: "fftCorrelation",
    inputs: { a: "B D L", b: "B D L" },
    constants,
    outputs: { c: "D K" },
    extraDims: (_, { taps }: FftCorrelationOptions) => ({ K: taps }),
    reference({ a, b }: { readonly a: Tensor; readonly b: Tensor }, { taps }: FftCorrelationOptions) {
      const [, D, L] = a.shape as [number, number, number];
      if (a.size === 0) return { c: zeros([D, taps]) };
      // flip(a) convolved with b has c_s at L - 1 - s.
      const lags = Math.min(taps, L);
      const all = sum(flip(sliceAxis(circularProduct(flip(a, 2), b, 2 * L - 1), 2, 0, L), 2), 0);
      return { c: widen(sliceAxis(all, 1, 0, lags), taps) };
    },
    gradient(
      { a, b }: { readonly a: Tensor; readonly b: Tensor },
      { c: g }: { readonly c?: Tensor },
    ): { readonly a?: Tensor; readonly b?: Tensor } {
      return {
        a: fftConvKernel({ u: b, k: g }, { transposed: false }).y,
        b: fftConvKernel({ u: a, k: g }, { transposed: true }).y,
      };
    },
    cost({ B, D, L, K }) {
      const length = transformLength(2 * L! - 1);
      return {
        flops: D! * B! * (3 * 2.5 * length * Math.log2(length) + 3 * length),
        bytes: 4 * D! * (2 * B! * L! + K!),
      };
    },
    variants: [correlationOnCpu],
    samples: (
      [
        [2, 3, 16, 16],
        [2, 2, 63, 63],
        [1, 2, 65, 4],
        [1, 1, 1, 1],
        [3, 2, 100, 100],
      ] as const
    ).map(([B, D, L, K]) => ({
      name: `length ${L}, ${K} lags`,
      dims: { B, D, L },
      options: { taps: K },
    })),
  });

/** What {@link fftConv} takes. */
export interface FftConvArguments {
  /** Input [B D L]. */
  readonly u: Tensor;
  /** Causal kernel [D K], any K: tap s multiplies u_(t-s). */
  readonly k: Tensor;
  /** Kernel [D R] that looks ahead: tap s multiplies u_(t+s), the present input included. None by default. */
  readonly kReverse?: Tensor | undefined;
}

/**
 * Convolution of every channel with its own long kernel, in O(L log L):
 * y_t = sum_s k_s u_(t-s), plus sum_s kReverse_s u_(t+s) if that kernel is given; zeros lie beyond both ends.
 * @returns y [B D L]
 * @throws ShapeError if axis D differs.
 */
export function fftConv({ u, k, kReverse }: FftConvArguments): Tensor {
  const L = u.shape[2] ?? 0;
  // Taps beyond the length reach no output.
  const within = (taps: Tensor): Tensor =>
    taps.shape.length === 2 && taps.shape[1]! > L ? sliceAxis(taps, 1, 0, L) : taps;
  const { y } = fftConvKernel({ u, k: within(k) }, { transposed: false });
  return kReverse ? add(y, fftConvKernel({ u, k: within(kReverse) }, { transposed: true }).y) : y;
}

const transformLength = (length: number): number => 2 ** Math.ceil(Math.log2(Math.max(2, length)));

/** Product of polynomials x [B D L] and k [.. D K] of at most `length` coefficients, padded to a power of 2. */
function circularProduct(x: Tensor, k: Tensor, length: number): Tensor {
  const size = transformLength(length);
  return ifft(multiply(fft({ re: widen(x, size) }), fft({ re: widen(k, size) }))).re;
}

const widen = (x: Tensor, length: number): Tensor =>
  pad(
    x,
    x.shape.map(() => 0),
    x.shape.map((extent, axis) => (axis === x.shape.length - 1 ? length - extent : 0)),
  );

const multiply = (x: Complex, y: Complex): Complex => ({
  re: sub(mul(x.re, y.re), mul(x.im, y.im)),
  im: add(mul(x.re, y.im), mul(x.im, y.re)),
});
