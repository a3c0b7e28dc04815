import { fftConv, fftConvKernel } from "@seqmix/fft";
import { atMost, peerNames } from "../bars.js";
import type { BenchmarkCase, Contestant } from "../contestant.js";
import { forwardCase, type ForwardCase } from "../forward-case.js";
import { uniformValues } from "../host-values.js";
import type { FftPackage } from "../peers/fft.js";
import { pffftContestant } from "../peers/pffft.js";

const D = 64;
const L = 16384;
const cost = fftConvKernel.record.cost({ B: 1, D, L, K: L }, undefined, new Set(["u", "k"]));

/** u [1 D L] and k [D L] by ONNX's DFT of twice the length, whose spectra are full and complex. */
const onnxConvolution: ForwardCase<"u" | "k">["onnx"] = {
  opset: 20,
  constants: { length: 2 * L, before: -2, last: [-1], first: [0], second: [1], end: [L], axis: [-2] },
  nodes: [
    { op: "Unsqueeze", inputs: ["u", "last"], outputs: ["u4"] },
    { op: "Unsqueeze", inputs: ["k", "last"], outputs: ["k3"] },
    { op: "DFT", inputs: ["u4", "length", "before"], outputs: ["U"] },
    { op: "DFT", inputs: ["k3", "length", "before"], outputs: ["K"] },
    ...(["U", "K"] as const).flatMap((name) => [
      { op: "Gather", inputs: [name, "first"], outputs: [`${name}re`], integers: { axis: -1 } },
      { op: "Gather", inputs: [name, "second"], outputs: [`${name}im`], integers: { axis: -1 } },
    ]),
    { op: "Mul", inputs: ["Ure", "Kre"], outputs: ["rr"] },
    { op: "Mul", inputs: ["Uim", "Kim"], outputs: ["ii"] },
    { op: "Mul", inputs: ["Ure", "Kim"], outputs: ["ri"] },
    { op: "Mul", inputs: ["Uim", "Kre"], outputs: ["ir"] },
    { op: "Sub", inputs: ["rr", "ii"], outputs: ["Yre"] },
    { op: "Add", inputs: ["ri", "ir"], outputs: ["Yim"] },
    { op: "Concat", inputs: ["Yre", "Yim"], outputs: ["Y"], integers: { axis: -1 } },
    { op: "DFT", inputs: ["Y", "length", "before"], outputs: ["y"], integers: { inverse: 1 } },
    { op: "Gather", inputs: ["y", "first"], outputs: ["re"], integers: { axis: -1 } },
    { op: "Slice", inputs: ["re", "first", "end", "axis"], outputs: ["out"] },
  ],
  out: [1, D, L, 1],
};

/** A causal convolution as long as the sequence; input and kernel are both transformed. */
export const fftConvCase: BenchmarkCase = forwardCase({
  kernel: "fftConv",
  shape: `B1 D${D} L${L}`,
  mode: "fwd",
  ...cost,
  rate: "GFLOP/s",
  bars: [atMost(3.5, 2)],
  units: D,
  checkedUnits: 8,
  unitName: "channels",
  tolerance: { tolerance: 1e-5, unit: "relative" },
  inputs: () => ({
    u: { values: uniformValues(D * L, 1), shape: (channels) => [1, channels, L] },
    k: { values: uniformValues(D * L, 2), shape: (channels) => [channels, L] },
  }),
  compute: ({ u, k }) => [fftConv({ u, k })],
  onnx: onnxConvolution,
  peers: ({ u, k }) => ({
    [peerNames.fft]: ({ fft }) => fftContestant(fft, u.values, k.values),
    [peerNames.pffft]: ({ pffft }) => pffftContestant(pffft, u.values, k.values, L),
  }),
});

/** The same by fft.js: channel by channel, padded with zeros to twice the length. */
function fftContestant(Fft: FftPackage, u: Float32Array, k: Float32Array): Contestant {
  const transform = new Fft(2 * L);
  const padded = new Float64Array(2 * L);
  const [input, kernel, result] = [
    transform.createComplexArray(),
    transform.createComplexArray(),
    transform.createComplexArray(),
  ];
  const out = new Float32Array(D * L);
  const spectrum = (to: number[], values: Float32Array, channel: number): void => {
    padded.set(values.subarray(channel * L, (channel + 1) * L));
    transform.realTransform(to, padded);
    transform.completeSpectrum(to);
  };
  const run = (): void => {
    for (let channel = 0; channel < D; channel++) {
      spectrum(input, u, channel);
      spectrum(kernel, k, channel);
      for (let i = 0; i < 4 * L; i += 2) {
        const [a, b, c, d] = [input[i]!, input[i + 1]!, kernel[i]!, kernel[i + 1]!];
        input[i] = a * c - b * d;
        input[i + 1] = a * d + b * c;
      }
      transform.inverseTransform(result, input);
      for (let t = 0; t < L; t++) out[channel * L + t] = result[2 * t]!;
    }
  };
  return { run, read: () => (run(), out), close() {} };
}
