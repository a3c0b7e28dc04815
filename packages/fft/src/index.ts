/**
 * Discrete Fourier transforms of any length, and long convolutions by them.
 *
 * @packageDocumentation
 */
export { fft, ifft, irfft, rfft, type Complex, type ComplexInput } from "./fft.js";
export { fftConv, fftConvKernel, type FftConvArguments } from "./fft-conv.js";
