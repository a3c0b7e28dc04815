/** Long convolutions on the webgpu device, from rows that a workgroup holds to the longest. */
import { fftConv, fftConvKernel } from "@seqmix/fft";
import { add, cast, floor, iota, mul, sin, sub, vjp, type Tensor } from "@seqmix/tensor";
import { atMost, atMostWithin, type Bar } from "../bars.js";
import type { BenchmarkCase } from "../contestant.js";
import { deviceCase } from "../device-case.js";
import { withoutHalf } from "../gpu.js";

interface Size {
  readonly B: number;
  readonly D: number;
  readonly L: number;
}

type Names = "u" | "k" | "skip" | "gate" | "dy";

/**
 * Numbers in -1 to 1 without a pattern, in one kernel without temporaries: the most memory in use is then that of a run.
 * @param seed Tells tensors apart.
 */
function scattered(seed: number, shape: readonly number[]): Tensor {
  const turns = shape.map((_, axis) => mul(cast(iota(shape, axis), "f32"), 12.9898 + 65.233 * axis));
  const x = mul(sin(add(turns.reduce(add), seed)), 43758.547);
  return sub(mul(sub(x, floor(x)), 2), 1);
}

function drawn({ B, D, L }: Size, gated: boolean, backward: boolean, half = false): Record<Names, Tensor> {
  const inputs = {
    u: scattered(1, [B, D, L]),
    k: scattered(2, [D, L]),
    ...(gated && { skip: scattered(3, [D]), gate: scattered(4, [B, D, L]) }),
    ...(backward && { dy: scattered(5, [B, D, L]) }),
  };
  const rounded = half ? { u: cast(inputs.u, "f16"), k: cast(inputs.k, "f16") } : {};
  return { ...inputs, ...rounded } as Record<Names, Tensor>;
}

interface Asked {
  readonly forward: Bar;
  readonly both: Bar;
  readonly reference: readonly [forward: string, both: string];
  /** Channels that the reference follows at full length; long rows are checked at a smaller size alone. */
  readonly checked: number;
  readonly smaller: Size;
  readonly gated?: boolean;
}

function cases(size: Size, { forward, both, reference, checked, smaller, gated = false }: Asked): BenchmarkCase[] {
  const { B, D, L } = size;
  const present = new Set(gated ? ["u", "k", "skip", "gate"] : ["u", "k"]);
  const { flops, bytes } = fftConvKernel.record.cost({ B, D, L, K: L }, undefined, present);
  const facts = {
    kernel: "fftConv",
    shape: `B${B} D${D} L${L}${gated ? " with gate and skip" : ""}`,
    rate: "GB/s",
    tolerance: 1e-5,
  } as const;
  const units = {
    count: D,
    checked,
    name: "channels",
    inputAxis: { u: 1, k: 0, skip: 0, gate: 1, dy: 1 },
  } as const;
  const smallerSize = `B${smaller.B} D${smaller.D} L${smaller.L}`;
  return [
    deviceCase<Names>({
      ...facts,
      mode: "fwd",
      flops,
      bytes,
      bars: [forward],
      reference: reference[0],
      inputs: () => drawn(size, gated, false),
      compute: (inputs) => [fftConv(inputs)],
      units: { ...units, outputAxis: [1] },
      smaller: { size: smallerSize, inputs: () => drawn(smaller, gated, false) },
    }),
    deviceCase<Names>({
      ...facts,
      mode: "fwd+bwd",
      flops: 3 * flops,
      // u, k and dy are read; y, du and dk are written; with a gate it, and its gradient
      bytes: 4 * (D * L * (B * (gated ? 6 : 4) + 2)),
      bars: [both],
      reference: reference[1],
      inputs: () => drawn(size, gated, true),
      compute({ dy, ...inputs }) {
        const [y, pullBack] = vjp((x: typeof inputs) => fftConv(x), inputs);
        const gradients = pullBack(dy);
        return [y, gradients.u, gradients.k, ...(gated ? [gradients.skip, gradients.gate] : [])];
      },
      units: { ...units, outputAxis: gated ? [1, 1, 0, 0, 1] : [1, 1, 0] },
      smaller: { size: smallerSize, inputs: () => drawn(smaller, gated, true) },
    }),
  ];
}

const SHORT: Size = { B: 8, D: 1024, L: 2048 };

/** The operands in f16, sums and results in f32. */
const halfCase: BenchmarkCase = deviceCase<Names>({
  kernel: "fftConv",
  shape: `B${SHORT.B} D${SHORT.D} L${SHORT.L}`,
  mode: "fwd+bwd",
  dtype: "f16",
  missing: withoutHalf,
  flops: 3 * fftConvKernel.record.cost({ ...SHORT, K: SHORT.L }, undefined, new Set(["u", "k"])).flops,
  bytes: SHORT.D * SHORT.L * (SHORT.B * (2 + 4 + 4 + 2) + 4),
  rate: "GB/s",
  bars: [],
  inputs: () => drawn(SHORT, false, true, true),
  compute({ dy, u, k }) {
    const [y, pullBack] = vjp((x: { u: Tensor; k: Tensor }) => fftConv(x), { u, k });
    const gradients = pullBack(dy);
    return [y, gradients.u, gradients.k];
  },
  units: { count: SHORT.D, checked: 1, name: "channels", inputAxis: { u: 1, k: 0, dy: 1 }, outputAxis: [1, 1, 0] },
  // gradients of f16 operands are rounded to f16
  tolerance: 1e-3,
});

/** Causal convolutions as long as the sequence. */
export const webgpuConvolutions: readonly BenchmarkCase[] = [
  ...cases(SHORT, {
    forward: atMost(0.12),
    both: atMost(0.3),
    reference: ["H200: torch and cuFFT 0.478 ms", "H200: torch and cuFFT 1.515 ms"],
    checked: 1,
    smaller: { B: 3, D: 5, L: 700 },
  }),
  ...cases(SHORT, {
    forward: atMost(0.17),
    both: atMost(0.45),
    reference: ["H200: the convolution alone by torch and cuFFT 0.478 ms", "H200: the same 1.515 ms"],
    checked: 1,
    smaller: { B: 3, D: 5, L: 700 },
    gated: true,
  }),
  ...cases(
    { B: 8, D: 1024, L: 8192 },
    {
      forward: atMost(0.55),
      both: atMost(1.8),
      reference: ["H200: torch and cuFFT 1.924 ms", "H200: torch and cuFFT 6.133 ms"],
      checked: 0,
      smaller: { B: 2, D: 2, L: 6000 },
    },
  ),
  ...cases(
    { B: 1, D: 256, L: 1048576 },
    {
      forward: atMostWithin(6.8, 1955),
      both: atMostWithin(17, 5364),
      reference: ["H200: torch and cuFFT 18.8 ms and 8,200 MB", "H200: torch and cuFFT 50.3 ms and 22,500 MB"],
      checked: 0,
      smaller: { B: 1, D: 1, L: 40000 },
    },
  ),
  halfCase,
];
