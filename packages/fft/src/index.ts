/**
 * Discrete Fourier transforms of any length, and long convolutions by them.
 *
 * @packageDocumentation
 */
export { fft, ifft, irfft, rfft, type Complex, type ComplexInput } from "./fft.js";
export { fftConv, fftConvKernel, fftCorrelationKernel, type FftConvArguments, type FftConvOptions, type FftCorrelationOptions } from "./fft-conv.js";
