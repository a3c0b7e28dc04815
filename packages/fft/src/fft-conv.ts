/** Long convolutions along the sequence by Fourier transforms. */
import {
  add,
  assertNumber,
  assertSettings,
  assertTensors,
  defineKernel,
  expandDims,
  mul,
  neg,
  pad,
  reshape,
  ShapeError,
  sliceAxis,
  sub,
  sum,
  zeros,
  type Kernel,
  type KernelSample,
  type Tensor,
} from "@seqmix/tensor";
import { convolutionOnCpu, correlationOnCpu } from "./cpu/variants.js";
import { irfft, rfft, type Complex } from "./fft.js";
import { longOnGpu } from "./webgpu/long-variant.js";
import { rowsOnGpu } from "./webgpu/row-variant.js";

/** Settings of {@link fftCorrelationKernel}. */
export interface FftCorrelationOptions {
  /** Number of lags K, at most L. */
  readonly taps: number;
}

/** Axes of the inputs of {@link fftConvKernel}. */
export type FftConvInputs = {
  /** Input. */
  readonly u: "B D L";
  /** Taps that look back: tap s multiplies u_(t-s). */
  readonly k: "D K";
  /** Taps that look ahead: tap s multiplies u_(t+s). */
  readonly kReverse: "D R";
  /** Multiplies u_t: as if it were added to the first tap. */
  readonly skip: "D";
  /** Multiplies the result. */
  readonly gate: "B D L";
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

type ConvInputs = { readonly [K in keyof FftConvInputs]: Tensor };

/**
 * The record of {@link fftConv}: y_t = gate_t (sum_s k_s u_(t-s) + sum_s kReverse_s u_(t+s) + skip u_t) [B D L] for
 * u [B D L], of which k [D K], kReverse [D R], skip [D] and gate [B D L] may be left out, but not both kernels. u, k, kReverse and gate may be f16.
 */
export const fftConvKernel: Kernel<FftConvInputs, FftConvOutputs, undefined> = defineKernel({
  name: "fftConv",
  inputs: { u: "B D L", k: "D K", kReverse: "D R", skip: "D", gate: "B D L" },
  optional: ["k", "kReverse", "skip", "gate"],
  halves: ["u", "k", "kReverse", "gate"],
  outputs: { y: "B D L" },
  backwardReads: [],
  reference({ u, k, kReverse, skip, gate }: ConvInputs) {
    if (u.size === 0) return { y: zeros(u.shape) };
    const y = convolved(u, k, kReverse);
    const direct = skip ? add(y, mul(u, expandDims(skip, 1))) : y;
    return { y: gate ? mul(gate, direct) : direct };
  },
  gradient({ u, k, kReverse, skip, gate }: ConvInputs, { y }: { readonly y?: Tensor }): Partial<ConvInputs> {
    const g = gate ? mul(y!, gate) : y!;
    const dk = k && correlated(g, u, k.shape[1]!);
    const dkReverse = kReverse && correlated(u, g, kReverse.shape[1]!);
    // The skip is as good as the first tap of either kernel.
    const direct = [dk, dkReverse].find((taps) => taps !== undefined && taps.shape[1]! > 0);
    return {
      u: fftConvKernel({ u: g, k: kReverse, kReverse: k, skip }, undefined).y,
      ...(dk && { k: dk }),
      ...(dkReverse && { kReverse: dkReverse }),
      ...(skip && { skip: direct ? reshape(sliceAxis(direct, 1, 0, 1), skip.shape) : sum(mul(g, u), [0, 2]) }),
      ...(gate && { gate: mul(y!, fftConvKernel({ u, k, kReverse, skip }, undefined).y) }),
    };
  },
  cost({ B, D, L, K, R }, _, present) {
    const has = (name: string): boolean => present?.has(name) ?? true;
    const [k, r] = [has("k") ? K! : 0, has("kReverse") ? R! : 0];
    const length = transformLength(L! + Math.max(k, r) - 1);
    const transforms = 2 * B! + (k > 0 ? 1 : 0) + (r > 0 ? 1 : 0);
    // A real transform of n points is about 2.5 n log2 n operations; two an input row, one a kernel row.
    return {
      flops: D! * (2.5 * length * Math.log2(length) * transforms + 3 * B! * length),
      bytes: 4 * D! * ((has("gate") ? 3 : 2) * B! * L! + k + r + (has("skip") ? 1 : 0)),
    };
  },
  variants: [rowsOnGpu, longOnGpu, convolutionOnCpu],
  samples: [
    sample("causal", { B: 2, D: 3, L: 16, K: 16 }, ["kReverse", "skip", "gate"]),
    sample("causal", { B: 1, D: 2, L: 65, K: 4 }, ["kReverse", "skip", "gate"]),
    sample("causal", { B: 1, D: 2, L: 1000, K: 1000 }, ["kReverse", "skip", "gate"]),
    sample("all", { B: 6, D: 3, L: 35, K: 9, R: 35 }, []),
    {
      ...sample("looking ahead, f16", { B: 2, D: 2, L: 50, R: 40 }, ["k", "skip"]),
      halves: ["u", "kReverse", "gate"],
    },
  ],
});

function sample(
  name: string,
  dims: Readonly<Record<string, number>>,
  without: readonly (keyof FftConvInputs)[],
): KernelSample<keyof FftConvInputs, undefined> {
  return { name: `${name}, length ${dims.L}`, dims, options: undefined, without };
}

/**
 * Correlation summed over the batch: a, b [B D L] -> c [D K] with c_s = sum_(b, t) a_(t+s) b_t, the gradient of
 * {@link fftConvKernel} with respect to its kernel.
 */
export const fftCorrelationKernel: Kernel<FftCorrelationInputs, FftCorrelationOutputs, FftCorrelationOptions> =
  defineKernel({
    name: "fftCorrelation",
    options: { taps: "own" },
    inputs: { a: "B D L", b: "B D L" },
    outputs: { c: "D K" },
    extraDims(_, { taps }: FftCorrelationOptions) {
      assertNumber("fftCorrelation", "taps", taps, { from: 0, whole: true });
      return { K: taps };
    },
    reference({ a, b }: { readonly a: Tensor; readonly b: Tensor }, { taps }: FftCorrelationOptions) {
      const [, D, L] = a.shape as [number, number, number];
      if (a.size === 0) return { c: zeros([D, taps]) };
      const size = transformLength(2 * L - 1);
      const lags = Math.min(taps, L);
      const products = multiply(rfft(widen(a, size)), conjugate(rfft(widen(b, size))));
      return { c: widen(sliceAxis(sum(irfft(products, size), 0), 1, 0, lags), taps) };
    },
    gradient(
      { a, b }: { readonly a: Tensor; readonly b: Tensor },
      { c: g }: { readonly c?: Tensor },
    ): { readonly a?: Tensor; readonly b?: Tensor } {
      return {
        a: fftConvKernel({ u: b, k: g }, undefined).y,
        b: fftConvKernel({ u: a, kReverse: g }, undefined).y,
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
  /** Input [B D L], f32 or f16. */
  readonly u: Tensor;
  /** Kernel [D K] that looks back, any K: tap s multiplies u_(t-s). */
  readonly k?: Tensor | undefined;
  /** Kernel [D R] that looks ahead, any R: tap s multiplies u_(t+s), the present input included. */
  readonly kReverse?: Tensor | undefined;
  /** Factor [D] of the present input, as if it were added to the first tap. */
  readonly skip?: Tensor | undefined;
  /** Factor [B D L] of the result. */
  readonly gate?: Tensor | undefined;
}

/**
 * Convolution of every channel with its own long kernel, in O(L log L), with what models put around it:
 * y_t = gate_t (sum_s k_s u_(t-s) + sum_s kReverse_s u_(t+s) + skip u_t); zeros lie beyond both ends. At least one of k
 * and kReverse is given. Taps that reach beyond all inputs count as zero.
 * @returns y [B D L], f32
 * @throws ShapeError if axes differ, or there is no kernel.
 */
export function fftConv(given: FftConvArguments): Tensor {
  assertSettings("fftConv", given, ["u", "k", "kReverse", "skip", "gate"]);
  assertTensors("fftConv", given, ["u"], ["k", "kReverse", "skip", "gate"]);
  const { u, k, kReverse, skip, gate } = given;
  if (!k && !kReverse) throw new ShapeError("fftConv: expected a kernel k [D K] or kReverse [D R], got none");
  const L = u.shape[2] ?? 0;
  // Taps beyond the length reach no output.
  const within = (taps: Tensor | undefined): Tensor | undefined =>
    taps?.shape.length === 2 && taps.shape[1]! > L ? sliceAxis(taps, 1, 0, L) : taps;
  return fftConvKernel({ u, k: within(k), kReverse: within(kReverse), skip, gate }, undefined).y;
}

const transformLength = (length: number): number => 2 ** Math.ceil(Math.log2(Math.max(2, length)));

/** Convolution both ways by one product: taps that look ahead come in as the conjugate of their transform. */
function convolved(u: Tensor, k: Tensor | undefined, kReverse: Tensor | undefined): Tensor {
  const L = u.shape[2]!;
  const size = transformLength(L + Math.max(k?.shape[1] ?? 0, kReverse?.shape[1] ?? 0) - 1);
  const spectra = [...(k ? [rfft(widen(k, size))] : []), ...(kReverse ? [conjugate(rfft(widen(kReverse, size)))] : [])];
  const kernel = spectra.reduce((a, b) => ({ re: add(a.re, b.re), im: add(a.im, b.im) }));
  return sliceAxis(irfft(multiply(rfft(widen(u, size)), kernel), size), 2, 0, L);
}

/** The correlation at the first lags; taps beyond the length reach no output. */
export function correlated(a: Tensor, b: Tensor, taps: number): Tensor {
  const lags = Math.min(taps, a.shape[2]!);
  return widen(fftCorrelationKernel({ a, b }, { taps: lags }).c, taps);
}

const widen = (x: Tensor, length: number): Tensor =>
  pad(
    x,
    x.shape.map(() => 0),
    x.shape.map((extent, axis) => (axis === x.shape.length - 1 ? length - extent : 0)),
  );

const conjugate = ({ re, im }: Complex): Complex => ({ re, im: neg(im) });

const multiply = (x: Complex, y: Complex): Complex => ({
  re: sub(mul(x.re, y.re), mul(x.im, y.im)),
  im: add(mul(x.re, y.im), mul(x.im, y.re)),
});
