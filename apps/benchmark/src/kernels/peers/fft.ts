/** fft.js, as far as the benchmark calls it. */
export type FftPackage = new (size: number) => {
  /** Interleaved real and imaginary parts, `size` of each. */
  createComplexArray(): number[];
  /** Of real values; fills the first half of the spectrum. */
  realTransform(out: number[], data: ArrayLike<number>): void;
  completeSpectrum(spectrum: number[]): void;
  inverseTransform(out: number[], spectrum: readonly number[]): void;
};
