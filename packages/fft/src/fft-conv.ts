/** Long convolutions along the sequence by Fourier transforms. */
import { add, defineKernel, flip, mul, pad, sliceAxis, sub, zeros, type KernelVariant, type Tensor } from "@seqmix/tensor";
import { fft, ifft, type Complex } from "./fft.js";

/** Programs of particular devices, tried in order; without one the reference below runs. */
const variants: readonly KernelVariant<undefined>[] = [];

/**
 * The record of {@link fftConv}: u [B D L], k [D K] and perhaps kReverse [D R] -> y [B D L], where
 * y_t = sum_(s <= min(t, K-1)) k_s u_(t-s) + sum_(s <= min(L-1-t, R-1)) kReverse_s u_(t+s).
 */
export const fftConvKernel = defineKernel({
  name: "fftConv",
  inputs: { u: "B D L", k: "D K", kReverse: "D R" },
  optional: ["kReverse"],
  outputs: { y: "B D L" },
  reference({ u, k, kReverse }: { readonly u: Tensor; readonly k: Tensor; readonly kReverse?: Tensor }) {
    const L = u.shape[2]!;
    if (u.size === 0 || (k.size === 0 && !kReverse?.size)) return { y: zeros(u.shape) };
    // Taps beyond the length reach no output.
    const ahead = sliceAxis(k, 1, 0, Math.min(k.shape[1]!, L));
    const back = kReverse && sliceAxis(kReverse, 1, 0, Math.min(kReverse.shape[1]!, L));
    const taps = Math.max(ahead.shape[1]!, back?.shape[1] ?? 0);
    const length = 2 ** Math.ceil(Math.log2(L + taps - 1));
    const filter = back ? add(widen(ahead, length), widenReversed(back, length)) : widen(ahead, length);
    const product = multiply(fft({ re: widen(u, length) }), fft({ re: filter }));
    return { y: sliceAxis(ifft(product).re, 2, 0, L) };
  },
  cost({ B, D, L, K }) {
    const length = 2 ** Math.ceil(Math.log2(Math.max(2, L! + Math.min(K!, L!) - 1)));
    // A real transform of n points is about 2.5 n log2 n operations; two an input row, one a kernel row.
    return { flops: D! * (2.5 * length * Math.log2(length) * (2 * B! + 1) + 3 * B! * length), bytes: 4 * D! * (2 * B! * L! + K!) };
  },
  variants,
  samples: [
    { name: "kernel as long as the sequence", dims: { B: 2, D: 3, L: 16, K: 16 }, options: undefined, without: ["kReverse"] },
    { name: "ragged length", dims: { B: 2, D: 2, L: 63, K: 63 }, options: undefined, without: ["kReverse"] },
    { name: "short kernel", dims: { B: 1, D: 2, L: 65, K: 4 }, options: undefined, without: ["kReverse"] },
    { name: "long kernel", dims: { B: 1, D: 2, L: 5, K: 40 }, options: undefined, without: ["kReverse"] },
    { name: "one element", dims: { B: 1, D: 1, L: 1, K: 1 }, options: undefined, without: ["kReverse"] },
    { name: "both directions", dims: { B: 2, D: 2, L: 13, K: 13, R: 13 }, options: undefined },
    { name: "long", dims: { B: 1, D: 2, L: 1000, K: 1000 }, options: undefined, without: ["kReverse"] },
  ],
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
export const fftConv = ({ u, k, kReverse }: FftConvArguments): Tensor => fftConvKernel({ u, k, kReverse }, undefined).y;

const widen = (x: Tensor, length: number): Tensor => pad(x, x.shape.map(() => 0), x.shape.map((extent, axis) => (axis === x.shape.length - 1 ? length - extent : 0)));

/** Tap s at place -s, modulo the length. */
function widenReversed(k: Tensor, length: number): Tensor {
  const first = widen(sliceAxis(k, 1, 0, 1), length);
  const rest = flip(sliceAxis(k, 1, 1, k.shape[1]!), 1);
  return add(first, pad(rest, [0, length - rest.shape[1]!], [0, 0]));
}

const multiply = (x: Complex, y: Complex): Complex => ({ re: sub(mul(x.re, y.re), mul(x.im, y.im)), im: add(mul(x.re, y.im), mul(x.im, y.re)) });
