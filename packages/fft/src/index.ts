/**
 * Discrete Fourier transforms of any length, and long convolutions by them.
 *
 * @packageDocumentation
 */
export { fft, ifft, irfft, rfft, type Complex, type ComplexInput } from "./fft.js";
export {
  fftConv,
  fftConvKernel,
  fftCorrelationKernel,
  type FftConvArguments,
  type FftConvInputs,
  type FftConvOutputs,
  type FftCorrelationInputs,
  type FftCorrelationOptions,
  type FftCorrelationOutputs,
} from "./fft-conv.js";
export { packedFftConv, type PackedFftConvArguments } from "./packed.js";
export { chunkedFftConv, fftConvChunk, type FftConvChunk, type FftConvChunkArguments } from "./chunk.js";
export { fftPieceKernel, type FftPieceInputs, type FftPieceOutputs } from "./piece.js";
