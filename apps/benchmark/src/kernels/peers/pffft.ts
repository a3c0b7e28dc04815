/** PFFFT compiled to WebAssembly with SIMD (@echogarden/pffft-wasm), as far as the benchmark calls it. */
import type { Contestant } from "../contestant.js";

/** The module once it is instantiated; addresses are bytes. */
export interface PffftPackage {
  readonly HEAPF32: Float32Array;
  _pffft_aligned_malloc(bytes: number): number;
  _pffft_aligned_free(address: number): void;
  /** @param transform 0: of real values. */
  _pffft_new_setup(size: number, transform: 0 | 1): number;
  _pffft_destroy_setup(setup: number): void;
  /** @param direction 0 forward, 1 backward; values stay in the library's own order. */
  _pffft_transform(setup: number, input: number, output: number, work: number, direction: 0 | 1): void;
  /** ab += scale a b, of spectra in the library's own order. */
  _pffft_zconvolve_accumulate(setup: number, a: number, b: number, ab: number, scale: number): void;
}

/** A causal convolution of rows of L values, channel by channel, padded with zeros to twice the length. */
export function pffftContestant(pffft: PffftPackage, u: Float32Array, k: Float32Array, L: number): Contestant {
  const size = 2 * L;
  const setup = pffft._pffft_new_setup(size, 0);
  const blocks = Array.from({ length: 4 }, () => pffft._pffft_aligned_malloc(4 * size));
  const [row, a, b, work] = blocks as [number, number, number, number];
  const out = new Float32Array(u.length);
  const spectrum = (to: number, values: Float32Array, channel: number): void => {
    const { HEAPF32 } = pffft;
    HEAPF32.set(values.subarray(channel * L, (channel + 1) * L), row / 4);
    HEAPF32.fill(0, row / 4 + L, row / 4 + size);
    pffft._pffft_transform(setup, row, to, work, 0);
  };
  const run = (): void => {
    for (let channel = 0; channel < u.length / L; channel++) {
      spectrum(a, u, channel);
      spectrum(b, k, channel);
      pffft.HEAPF32.fill(0, row / 4, row / 4 + size);
      pffft._pffft_zconvolve_accumulate(setup, a, b, row, 1 / size);
      pffft._pffft_transform(setup, row, a, work, 1);
      out.set(pffft.HEAPF32.subarray(a / 4, a / 4 + L), channel * L);
    }
  };
  return {
    run,
    read: () => (run(), out),
    close() {
      for (const block of blocks) pffft._pffft_aligned_free(block);
      pffft._pffft_destroy_setup(setup);
    },
  };
}
