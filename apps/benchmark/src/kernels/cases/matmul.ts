import { matmul } from "@seqmix/tensor";
import { fasterThan, peerNames, type Bar } from "../bars.js";
import type { BenchmarkCase } from "../contestant.js";
import { forwardCase } from "../forward-case.js";
import { uniformValues } from "../host-values.js";

const bars: readonly Bar[] = [fasterThan(1.2, [peerNames.tensorflow], 1), fasterThan(2.2, [peerNames.tensorflow], 2)];

/** Products of square matrices; a unit is a row of the product. */
export const matmulCases: readonly BenchmarkCase[] = [256, 512, 1024].map((n) =>
  forwardCase({
    kernel: "matmul",
    shape: `${n}x${n}x${n}`,
    mode: "fwd",
    flops: 2 * n ** 3,
    bytes: 3 * 4 * n ** 2,
    rate: "GFLOP/s",
    ...(n === 1024 && { bars }),
    units: n,
    checkedUnits: 32,
    unitName: "rows",
    tolerance: { tolerance: 1e-5, unit: "relative" },
    inputs: () => ({
      a: { values: uniformValues(n * n, 1), shape: (rows) => [rows, n] },
      b: { values: uniformValues(n * n, 2), shape: () => [n, n], shared: true },
    }),
    compute: ({ a, b }) => [matmul(a, b)],
    onnx: { opset: 17, nodes: [{ op: "MatMul", inputs: ["a", "b"], outputs: ["out"] }], out: [n, n] },
    tensorflow: (tf, a, b) => tf.matMul(a!, b!),
    jax: ({ numpy }, a, b) => numpy.matmul(a!, b!),
  }),
);
