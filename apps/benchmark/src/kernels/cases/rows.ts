import { rmsNorm } from "@seqmix/nn";
import { softmax } from "@seqmix/tensor";
import type { BenchmarkCase } from "../contestant.js";
import { forwardCase } from "../forward-case.js";
import { uniformValues } from "../host-values.js";

const rows = 2048;
const columns = 512;
const size = rows * columns;
const shape = (count: number): readonly number[] => [count, columns];
const units = { units: rows, checkedUnits: 256, unitName: "rows" };
const eps = 1e-5;

/** Softmax along rows. */
export const softmaxCase: BenchmarkCase = forwardCase({
  kernel: "softmax",
  shape: `${rows}x${columns}`,
  mode: "fwd",
  // maximum, difference, exp, sum, quotient
  flops: 5 * size,
  bytes: 2 * 4 * size,
  rate: "GB/s",
  ...units,
  tolerance: { tolerance: 1e-6, unit: "relative" },
  inputs: () => ({ x: { values: uniformValues(size, 1, -5, 5), shape } }),
  compute: ({ x }) => [softmax(x, -1)],
  onnx: {
    opset: 17,
    nodes: [{ op: "Softmax", inputs: ["x"], outputs: ["out"], integers: { axis: -1 } }],
    out: [rows, columns],
  },
  tensorflow: (tf, x) => tf.softmax(x!, -1),
  jax: ({ nn }, x) => nn.softmax(x!, -1),
});

/** Root mean square norm along rows. */
export const rmsNormCase: BenchmarkCase = forwardCase({
  kernel: "rmsNorm",
  shape: `${rows}x${columns}`,
  mode: "fwd",
  // square, sum, two products
  flops: 4 * size,
  bytes: 4 * (2 * size + columns),
  rate: "GB/s",
  ...units,
  tolerance: { tolerance: 1e-6, unit: "relative" },
  inputs: () => ({
    x: { values: uniformValues(size, 1), shape },
    weight: { values: uniformValues(columns, 2), shape: () => [columns], shared: true },
  }),
  compute: ({ x, weight }) => [rmsNorm({ weight }, x, { eps })],
  onnx: {
    opset: 23,
    nodes: [
      {
        op: "RMSNormalization",
        inputs: ["x", "weight"],
        outputs: ["out"],
        integers: { axis: -1 },
        floats: { epsilon: eps },
      },
    ],
    out: [rows, columns],
  },
  tensorflow: (tf, x, weight) => tf.mul(tf.mul(x!, tf.rsqrt(tf.add(tf.mean(tf.square(x!), -1, true), eps))), weight!),
  jax: ({ numpy }, x, weight) =>
    x!.ref
      .mul(numpy.reciprocal(numpy.sqrt(numpy.mean(numpy.square(x!), -1, { keepdims: true }).add(eps))))
      .mul(weight!),
});
