import { add, exp, log, mul, sigmoid, silu, tanh, type Tensor } from "@seqmix/tensor";
import { fasterThan, peerNames } from "../bars.js";
import type { BenchmarkCase } from "../contestant.js";
import { forwardCase, type ForwardCase } from "../forward-case.js";
import { uniformValues } from "../host-values.js";

const N = 2 ** 22;
const BLOCK = 4096;
/** A unit is a block of elements; 128 blocks are half a million elements. */
const blocks = { units: N / BLOCK, checkedUnits: 128, unitName: `blocks of ${BLOCK} elements` };
const shape = (count: number): readonly number[] => [count * BLOCK];

/** silu(x) * y + z, one kernel if it is fused. */
export const elementwiseChain: BenchmarkCase = forwardCase({
  kernel: "elementwiseChain",
  shape: `N${N}`,
  mode: "fwd",
  // exp, sum, quotient and product of silu; product; sum.
  flops: 6 * N,
  bytes: 4 * 4 * N,
  rate: "GB/s",
  bars: [fasterThan(3, [peerNames.tensorflow, peerNames.onnx1, peerNames.onnx2], 2)],
  ...blocks,
  tolerance: { tolerance: 1e-6, unit: "relative" },
  inputs: () => ({
    x: { values: uniformValues(N, 1, -8, 8), shape },
    y: { values: uniformValues(N, 2), shape },
    z: { values: uniformValues(N, 3), shape },
  }),
  compute: ({ x, y, z }) => [add(mul(silu(x), y), z)],
  onnx: {
    opset: 17,
    nodes: [
      { op: "Sigmoid", inputs: ["x"], outputs: ["s"] },
      { op: "Mul", inputs: ["x", "s"], outputs: ["silu"] },
      { op: "Mul", inputs: ["silu", "y"], outputs: ["product"] },
      { op: "Add", inputs: ["product", "z"], outputs: ["out"] },
    ],
    out: [N],
  },
  tensorflow: (tf, x, y, z) => tf.add(tf.mul(tf.mul(x!, tf.sigmoid(x!)), y!), z!),
  jax: ({ nn }, x, y, z) => nn.silu(x!).mul(y!).add(z!),
  loop: {
    size: N,
    run({ x, y, z }, out) {
      for (let i = 0; i < N; i++) out[i] = (x[i]! / (1 + Math.exp(-x[i]!))) * y[i]! + z[i]!;
    },
  },
});

interface Unary extends Pick<ForwardCase<"x">, "tensorflow" | "jax"> {
  readonly kernel: string;
  readonly onnxOp: string;
  readonly values: () => Float32Array;
  readonly compute: (x: Tensor) => Tensor;
  /** A loop of its own for each function: one that calls a function it is given would not be inlined. */
  readonly loop: (x: Float32Array, out: Float32Array) => void;
}

const functions: readonly Unary[] = [
  {
    kernel: "exp",
    onnxOp: "Exp",
    values: () => uniformValues(N, 1, -87, 88),
    compute: exp,
    tensorflow: (tf, x) => tf.exp(x!),
    jax: ({ numpy }, x) => numpy.exp(x!),
    loop(x, out) {
      for (let i = 0; i < N; i++) out[i] = Math.exp(x[i]!);
    },
  },
  {
    kernel: "tanh",
    onnxOp: "Tanh",
    values: () => uniformValues(N, 1, -8, 8),
    compute: tanh,
    tensorflow: (tf, x) => tf.tanh(x!),
    jax: ({ numpy }, x) => numpy.tanh(x!),
    loop(x, out) {
      for (let i = 0; i < N; i++) out[i] = Math.tanh(x[i]!);
    },
  },
  {
    kernel: "sigmoid",
    onnxOp: "Sigmoid",
    values: () => uniformValues(N, 1, -20, 20),
    compute: sigmoid,
    tensorflow: (tf, x) => tf.sigmoid(x!),
    jax: ({ nn }, x) => nn.sigmoid(x!),
    loop(x, out) {
      for (let i = 0; i < N; i++) out[i] = 1 / (1 + Math.exp(-x[i]!));
    },
  },
  {
    kernel: "log",
    onnxOp: "Log",
    // From 2^-60 to 2^60, every power alike, so that values near 1 are among them.
    values: () => uniformValues(N, 1, -60, 60).map((exponent) => 2 ** exponent),
    compute: log,
    tensorflow: (tf, x) => tf.log(x!),
    jax: ({ numpy }, x) => numpy.log(x!),
    loop(x, out) {
      for (let i = 0; i < N; i++) out[i] = Math.log(x[i]!);
    },
  },
];

/** Functions of one value, judged by their error in units of the last place. */
export const unaryCases: readonly BenchmarkCase[] = functions.map(
  ({ kernel, onnxOp, values, compute, loop, tensorflow, jax }) =>
    forwardCase({
      kernel,
      shape: `N${N}`,
      mode: "fwd",
      flops: N,
      bytes: 2 * 4 * N,
      rate: "GB/s",
      bars: [fasterThan(6, [peerNames.loop], 1)],
      ...blocks,
      tolerance: { tolerance: 3, unit: "ulp" },
      inputs: () => ({ x: { values: values(), shape } }),
      compute: ({ x }) => [compute(x)],
      onnx: { opset: 17, nodes: [{ op: onnxOp, inputs: ["x"], outputs: ["out"] }], out: [N] },
      ...(tensorflow && { tensorflow }),
      ...(jax && { jax }),
      loop: { size: N, run: ({ x }, out) => loop(x, out) },
    }),
);
