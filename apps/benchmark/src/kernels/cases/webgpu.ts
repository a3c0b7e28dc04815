/** The cases of the webgpu device, at sizes that fill a large GPU. */
import { rmsNorm } from "@seqmix/nn";
import { linearScan as complexOrRealScan } from "@seqmix/scan";
import { selectiveScan, selectiveScanKernel } from "@seqmix/selective-scan";
import {
  add,
  cast,
  cos,
  cumsum,
  foldIn,
  key,
  linearScan,
  matmul,
  mul,
  neg,
  normal,
  silu,
  sin,
  softmax,
  transpose,
  uniform,
  vjp,
  type Tensor,
} from "@seqmix/tensor";
import { atMost, atMostWithin, shareOfTraffic, teraBytes, teraFlops, type Bar } from "../bars.js";
import type { BenchmarkCase } from "../contestant.js";
import { copyPeer, deviceCase } from "../device-case.js";
import { withoutHalf } from "../gpu.js";
import { wholeModels } from "./whole-models.js";
import { stateSpaceKernels } from "./state-space-kernels.js";
import { stateSpaceLayer, structuredAgainstDense } from "./state-space-layer.js";
import { webgpuConvolutions } from "./webgpu-convolution.js";
import { attentionCases } from "./attention.js";
import { matrixStateCases } from "./matrix-states.js";

const k = key(2026);
const draw = (name: string, shape: readonly number[]): Tensor => normal(foldIn(k, name), shape);
const elements = 2 ** 28;
const blocks = {
  count: 2 ** 18,
  checked: 16,
  name: "blocks of 1,024 elements",
  inputAxis: { x: 0 },
  outputAxis: [0],
} as const;

/** x [N] -> y [N], one read and one write. */
const chain = (kernel: string, compute: (x: Tensor) => Tensor, flops: number): BenchmarkCase =>
  deviceCase({
    kernel,
    shape: `N${elements}`,
    mode: "fwd",
    flops: flops * elements,
    bytes: 8 * elements,
    rate: "GB/s",
    bars: [teraBytes(2.58)],
    reference: "H100: a plain vec4 copy 2.87 TB/s, torch copy 2.96",
    inputs: () => ({ x: draw("x", [elements]) }),
    compute: ({ x }) => [compute(x)],
    units: blocks,
    tolerance: 1e-6,
    copyOf: elements,
  });

const rows = { count: 16384, columns: 4096 };
const size = rows.count * rows.columns;
const rowCase = (
  kernel: string,
  compute: (inputs: { x: Tensor; weight: Tensor }) => Tensor,
  flops: number,
  elsewhere: string,
): BenchmarkCase =>
  deviceCase({
    kernel,
    shape: `${rows.count}x${rows.columns}`,
    mode: "fwd",
    flops: flops * size,
    bytes: 8 * size,
    rate: "GB/s",
    bars: [shareOfTraffic(0.8, copyPeer, 8 * size)],
    reference: elsewhere,
    inputs: () => ({ x: draw("x", [rows.count, rows.columns]), weight: draw("weight", [rows.columns]) }),
    compute: (inputs) => [compute(inputs)],
    units: { count: rows.count, checked: 24, name: "rows", inputAxis: { x: 0 }, outputAxis: [0] },
    tolerance: 1e-5,
    copyOf: size,
  });

type Layout = "NN" | "NT" | "TN";
const matmulCase = (
  batch: readonly number[],
  m: number,
  n: number,
  depth: number,
  layout: Layout,
  { bars = [], ...more }: Partial<Pick<BenchmarkCase, "bars" | "tf32Bars" | "reference">> = {},
): BenchmarkCase => {
  const batches = batch.reduce((a, b) => a * b, 1);
  const turned = (x: Tensor): Tensor => transpose(x, [...batch.keys(), batch.length + 1, batch.length]);
  return deviceCase({
    kernel: "matmul",
    shape: `${batches > 1 ? `${batches}x` : ""}${m}x${n}x${depth} ${layout}`,
    mode: "fwd",
    flops: 2 * batches * m * n * depth,
    bytes: 4 * batches * (m * depth + n * depth + m * n),
    rate: "GFLOP/s",
    bars,
    ...more,
    inputs: () => ({
      a: draw("a", layout === "TN" ? [...batch, depth, m] : [...batch, m, depth]),
      b: draw("b", layout === "NT" ? [...batch, n, depth] : [...batch, depth, n]),
    }),
    compute: ({ a, b }) => [matmul(layout === "TN" ? turned(a) : a, layout === "NT" ? turned(b) : b)],
    units:
      batches > 1
        ? { count: batches, checked: 3, name: "products", inputAxis: { a: 0, b: 0 }, outputAxis: [0] }
        : { count: m, checked: 8, name: "rows", inputAxis: { a: layout === "TN" ? 1 : 0 }, outputAxis: [0] },
    tolerance: 1e-5,
    tf32Tolerance: 2e-3,
  });
};

/** f16 operands, sums and results in f32. */
const halfMatmulCase = (n: number, layout: Layout): BenchmarkCase => {
  const drawHalf = (name: string): Tensor => cast(draw(name, [n, n]), "f16");
  return deviceCase({
    kernel: "matmul",
    shape: `${n}x${n}x${n} ${layout}`,
    mode: "fwd",
    dtype: "f16",
    missing: withoutHalf,
    flops: 2 * n ** 3,
    bytes: (2 + 2 + 4) * n * n,
    rate: "GFLOP/s",
    bars: [teraFlops(260)],
    reference: "H200: cuBLAS f16 680 TFLOP/s",
    inputs: () => ({ a: drawHalf("a"), b: drawHalf("b") }),
    compute: ({ a, b }) => [matmul(layout === "TN" ? transpose(a) : a, layout === "NT" ? transpose(b) : b)],
    units: { count: n, checked: 4, name: "rows", inputAxis: { a: layout === "TN" ? 1 : 0 }, outputAxis: [0] },
    // the operands are what they are after rounding: what remains is the sums
    tolerance: 2e-5,
  });
};

const halfNegation: BenchmarkCase = deviceCase({
  kernel: "negate f16",
  shape: `N${elements}`,
  mode: "fwd",
  dtype: "f16",
  missing: withoutHalf,
  flops: elements,
  bytes: 4 * elements,
  rate: "GB/s",
  bars: [],
  inputs: () => ({ x: cast(draw("x", [elements]), "f16") }),
  compute: ({ x }) => [neg(x)],
  units: blocks,
  tolerance: 0,
  copyOf: elements,
});

const scanAlong = { B: 8, L: 2048, D: 2048 };
const scanSize = scanAlong.B * scanAlong.L * scanAlong.D;
const complexAlong = { L: 65536, D: 1024 };
const complexSize = complexAlong.L * complexAlong.D;

const scans: readonly BenchmarkCase[] = [
  deviceCase({
    kernel: "cumsum",
    shape: "64x65536",
    mode: "fwd",
    flops: 2 ** 22,
    bytes: 8 * 2 ** 22,
    rate: "GB/s",
    bars: [atMost(0.11)],
    reference: "H100: torch 0.109 ms",
    inputs: () => ({ x: draw("x", [64, 65536]) }),
    compute: ({ x }) => [cumsum(x, -1)],
    units: { count: 64, checked: 8, name: "rows", inputAxis: { x: 0 }, outputAxis: [0] },
    tolerance: 1e-4,
  }),
  deviceCase({
    kernel: "linearScan",
    shape: "B8 L2048 D2048",
    mode: "fwd",
    flops: 2 * scanSize,
    bytes: 12 * scanSize,
    rate: "GB/s",
    bars: [atMost(0.4)],
    reference: "H100: jax.lax.associative_scan 0.67 ms",
    inputs: () => ({
      a: uniform(foldIn(k, "a"), [scanAlong.B, scanAlong.L, scanAlong.D], 0.5, 1),
      b: draw("b", [scanAlong.B, scanAlong.L, scanAlong.D]),
    }),
    compute: ({ a, b }) => [linearScan({ a, b, axis: 1 })],
    units: { count: scanAlong.D, checked: 4, name: "channels", inputAxis: { a: 2, b: 2 }, outputAxis: [2] },
    tolerance: 1e-5,
  }),
  deviceCase({
    kernel: "complex linearScan",
    shape: "B1 L65536 D1024",
    mode: "fwd",
    flops: 8 * complexSize,
    bytes: 24 * complexSize,
    rate: "GB/s",
    bars: [atMost(1.3)],
    reference: "H100: jax.lax.associative_scan 2.53 ms",
    inputs: () => {
      const shape = [1, complexAlong.L, complexAlong.D];
      const [radius, angle] = [uniform(foldIn(k, "radius"), shape, 0.9, 1), uniform(foldIn(k, "angle"), shape, 0, 6)];
      return {
        aRe: mul(radius, cos(angle)),
        aIm: mul(radius, sin(angle)),
        bRe: draw("bRe", shape),
        bIm: draw("bIm", shape),
      };
    },
    compute({ aRe, aIm, bRe, bIm }) {
      const { re, im } = complexOrRealScan({ a: { re: aRe, im: aIm }, b: { re: bRe, im: bIm }, axis: 1 });
      return [re, im];
    },
    units: {
      count: complexAlong.D,
      checked: 3,
      name: "channels",
      inputAxis: { aRe: 2, aIm: 2, bRe: 2, bIm: 2 },
      outputAxis: [2, 2],
    },
    tolerance: 1e-4,
  }),
];

interface ScanSize {
  readonly B: number;
  readonly L: number;
  readonly D: number;
  readonly N: number;
}

/** As the official CUDA kernel was timed: softplus and skip, no gate. */
function selectiveScanInputs({
  B,
  L,
  D,
  N,
}: ScanSize): Record<"u" | "delta" | "A" | "B" | "C" | "D" | "deltaBias" | "dy", Tensor> {
  return {
    u: draw("u", [B, L, D]),
    delta: uniform(foldIn(k, "delta"), [B, L, D], 0, 0.5),
    A: uniform(foldIn(k, "A"), [D, N], -1, -0.1),
    B: draw("B", [B, L, N]),
    C: draw("C", [B, L, N]),
    D: draw("D", [D]),
    deltaBias: uniform(foldIn(k, "bias"), [D], -4, -2),
    dy: draw("dy", [B, L, D]),
  };
}

const selectiveScanCases = (size: ScanSize, forward: Bar, both: Bar, elsewhere: string): readonly BenchmarkCase[] => {
  const { flops, bytes } = selectiveScanKernel.record.cost({ ...size }, { deltaSoftplus: true });
  const facts = {
    kernel: "selectiveScan",
    shape: `B${size.B} D${size.D} L${size.L} N${size.N}`,
    rate: "GB/s",
    reference: elsewhere,
    inputs: () => selectiveScanInputs(size),
    tolerance: 1e-4,
    smaller: { size: "B2 D40 L300 N16", inputs: () => selectiveScanInputs({ B: 2, D: 40, L: 300, N: 16 }) },
  } as const;
  const channels = {
    count: size.D,
    checked: 2,
    name: "channels",
    inputAxis: { u: 2, delta: 2, A: 0, D: 0, deltaBias: 0, dy: 2 },
  } as const;
  return [
    deviceCase({
      ...facts,
      mode: "fwd",
      flops,
      bytes,
      bars: [forward],
      compute: ({ u, delta, A, B, C, D, deltaBias }) => [
        selectiveScan({ u, delta, A, B, C, D, deltaBias }, { deltaSoftplus: true }).y,
      ],
      units: { ...channels, outputAxis: [2] },
    }),
    deviceCase({
      // The backward pass is counted as twice the forward one.
      ...facts,
      mode: "fwd+bwd",
      flops: 3 * flops,
      bytes: 3 * bytes,
      bars: [both],
      compute({ dy, ...inputs }) {
        const [y, pullBack] = vjp((x: typeof inputs) => selectiveScan(x, { deltaSoftplus: true }).y, inputs);
        const { u, delta, A, B, C, D, deltaBias } = pullBack(dy);
        return [y, u, delta, A, D, deltaBias, B, C];
      },
      // The gradients of B and C sum over the channels.
      units: { ...channels, outputAxis: [2, 2, 2, 0, 0, 0, undefined, undefined] },
    }),
  ];
};

/** Every case of the webgpu device, in the order of the table. */
export const webgpuCases: readonly BenchmarkCase[] = [
  chain("negate", neg, 1),
  chain("elementwiseChain", (x) => add(mul(silu(x), x), 1), 6),
  rowCase("softmax", ({ x }) => softmax(x, -1), 5, "H100: this project's first version 0.66 ms"),
  rowCase("rmsNorm", ({ x, weight }) => rmsNorm({ weight }, x), 4, "H100: this project's first version 0.34 ms"),
  ...(["NN", "NT", "TN"] as const).map((layout) =>
    matmulCase([], 4096, 4096, 4096, layout, {
      bars: [teraFlops(65)],
      tf32Bars: [teraFlops(200)],
      reference: "H200: cuBLAS f32 50.8, tf32 354 TFLOP/s",
    }),
  ),
  matmulCase([64], 1024, 1024, 64, "NT", { bars: [atMost(0.272)], reference: "H200: PyTorch f32 0.272 ms" }),
  matmulCase([64], 1024, 64, 1024, "NN", { bars: [atMost(0.212)], reference: "H200: PyTorch f32 0.212 ms" }),
  matmulCase([], 8192, 2048, 512, "NT", { bars: [atMost(0.366)], reference: "H200: PyTorch f32 0.366 ms" }),
  // Of a Mamba language model's training step: projections forward, gradients of weights, the head.
  matmulCase([], 8192, 3072, 768, "NT"),
  matmulCase([], 8192, 768, 1536, "NT"),
  matmulCase([], 8192, 80, 1536, "NT"),
  matmulCase([], 8192, 768, 3072, "NN"),
  matmulCase([], 3072, 768, 8192, "TN"),
  matmulCase([], 768, 1536, 8192, "TN"),
  matmulCase([], 8192, 50280, 768, "NT"),
  ...(["NN", "NT", "TN"] as const).map((layout) => halfMatmulCase(4096, layout)),
  halfNegation,
  ...scans,
  ...selectiveScanCases(
    { B: 8, D: 2048, L: 2048, N: 16 },
    atMost(0.45),
    atMostWithin(2, 644),
    "H100: the official CUDA kernel 1.107 ms forward, 3.92 ms and 644 MiB with backward",
  ),
  ...selectiveScanCases(
    { B: 1, D: 2048, L: 65536, N: 16 },
    atMost(1.9),
    atMostWithin(8.7, 1808),
    "H100: the official CUDA kernel 5.38 ms forward, 17.5 ms and 1,808 MiB with backward",
  ),
  ...selectiveScanCases(
    { B: 1, D: 256, L: 1048576, N: 16 },
    atMost(8),
    atMostWithin(22, 3472),
    "H100: the official CUDA kernel 11.45 ms forward, 40.4 ms and 3,472 MiB with backward",
  ),
  // The same work as the last at shorter lengths: the time of a position should not depend on the length.
  ...[4096, 65536].flatMap((L) =>
    selectiveScanCases(
      { B: 2 ** 20 / L, D: 256, L, N: 16 },
      atMost(8),
      atMost(22),
      "the same positions as one sequence of 1,048,576",
    ),
  ),
  ...webgpuConvolutions,
  ...stateSpaceKernels({ H: 512, N: 64, L: 16384 }, { H: 2, N: 3, L: 100 }),
  stateSpaceLayer({ B: 8, L: 2048, D: 1024 }, { B: 2, L: 70, D: 3 }),
  ...structuredAgainstDense(128, ["published: 9.32 ms, 222 MB", "published: 4.77 ms, 5.3 MB"]),
  ...structuredAgainstDense(256, ["published: 20.6 ms, 1,685 MB", "published: 3.07 ms, 12.6 MB"]),
  ...structuredAgainstDense(512, ["published: 140.7 ms, 13,140 MB", "published: 4.75 ms, 33.5 MB"]),
  ...matrixStateCases,
  ...attentionCases,
  ...wholeModels,
];
