import { cos, cumsum, linearScan, mul, sin, vjp } from "@seqmix/tensor";
import { linearScan as diagonalScan } from "@seqmix/scan";
import { selectiveScan, selectiveScanKernel } from "@seqmix/selective-scan";
import { fasterThan, peerNames } from "../bars.js";
import type { BenchmarkCase } from "../contestant.js";
import { forwardCase, type Input } from "../forward-case.js";
import { uniformValues } from "../host-values.js";

const rows = 64;
const columns = 16384;

/** Running sums along rows. */
export const cumsumCase: BenchmarkCase = forwardCase({
  kernel: "cumsum",
  shape: `${rows}x${columns}`,
  mode: "fwd",
  flops: rows * columns,
  bytes: 2 * 4 * rows * columns,
  rate: "GB/s",
  bars: [fasterThan(12, [peerNames.onnx1, peerNames.onnx2], 2)],
  units: rows,
  checkedUnits: rows,
  unitName: "rows",
  // 16,384 roundings, each of a sum of up to 200, added up at random.
  tolerance: { tolerance: 2e-5, unit: "relative" },
  inputs: () => ({ x: { values: uniformValues(rows * columns, 1), shape: (count) => [count, columns] } }),
  compute: ({ x }) => [cumsum(x, -1)],
  onnx: {
    opset: 17,
    nodes: [{ op: "CumSum", inputs: ["x", "axis"], outputs: ["out"] }],
    constants: { axis: 1 },
    out: [rows, columns],
  },
  tensorflow: (tf, x) => tf.cumsum(x!, 1),
  jax: ({ numpy }, x) => numpy.cumsum(x!, 1),
  loop: {
    size: rows * columns,
    run({ x }, out) {
      for (let row = 0; row < rows; row++) {
        let total = 0;
        for (let i = row * columns; i < (row + 1) * columns; i++) out[i] = total += x[i]!;
      }
    },
  },
});

const scan = { B: 8, L: 256, D: 2048 };
const scanSize = scan.B * scan.L * scan.D;

/** h_t = a_t h_(t-1) + b_t along the middle axis. */
export const linearScanCase: BenchmarkCase = forwardCase({
  kernel: "linearScan",
  shape: `B${scan.B} L${scan.L} D${scan.D}`,
  mode: "fwd",
  flops: 2 * scanSize,
  bytes: 3 * 4 * scanSize,
  rate: "GB/s",
  units: scan.B,
  checkedUnits: 2,
  unitName: "sequences",
  tolerance: { tolerance: 1e-5, unit: "relative" },
  inputs: () => ({
    a: { values: uniformValues(scanSize, 1, 0.5, 1), shape: (B) => [B, scan.L, scan.D] },
    b: { values: uniformValues(scanSize, 2), shape: (B) => [B, scan.L, scan.D] },
  }),
  compute: ({ a, b }) => [linearScan({ a, b, axis: 1 })],
  loop: {
    size: scanSize,
    run({ a, b }, out) {
      const { B, L, D } = scan;
      for (let row = 0; row < B; row++) {
        const first = row * L * D;
        for (let d = 0; d < D; d++) out[first + d] = b[first + d]!;
        for (let i = first + D; i < first + L * D; i++) out[i] = a[i]! * out[i - D]! + b[i]!;
      }
    },
  },
});

const diagonal = { B: 8, L: 2048, N: 256 };
const diagonalSize = diagonal.B * diagonal.L * diagonal.N;

/** The complex diagonal recurrence of S5, LRU and GateLoop: a decay for each state, lambda_n, and all states kept. */
export const complexScanCase: BenchmarkCase = forwardCase({
  kernel: "complexScan",
  shape: `B${diagonal.B} L${diagonal.L} N${diagonal.N}`,
  mode: "fwd",
  flops: 8 * diagonalSize,
  bytes: 4 * 4 * diagonalSize,
  rate: "GB/s",
  bars: [
    {
      threads: 2,
      asked: "≥ 400 M complex updates/s",
      judge: ({ ms }) => ({
        reached: `${Math.round(diagonalSize / ms / 1e3)} M/s`,
        met: diagonalSize / ms / 1e3 >= 400,
      }),
    },
  ],
  units: diagonal.B,
  checkedUnits: 2,
  unitName: "sequences",
  // Decays of 0.999 magnify the rounding of a decay a thousandfold.
  tolerance: { tolerance: 1e-4, unit: "relative" },
  inputs: () => ({
    radius: { values: uniformValues(diagonal.N, 1, 0.9, 0.999), shape: () => [diagonal.N], shared: true },
    angle: { values: uniformValues(diagonal.N, 2, 0, 6.28), shape: () => [diagonal.N], shared: true },
    re: { values: uniformValues(diagonalSize, 3), shape: (B) => [B, diagonal.L, diagonal.N] },
    im: { values: uniformValues(diagonalSize, 4), shape: (B) => [B, diagonal.L, diagonal.N] },
  }),
  compute({ radius, angle, re, im }) {
    const h = diagonalScan({ a: { re: mul(radius, cos(angle)), im: mul(radius, sin(angle)) }, b: { re, im }, axis: 1 });
    return [h.re, h.im];
  },
});

const s6 = { B: 8, L: 256, D: 128, N: 16 };
const s6Shape = "B8 L256 D128 N16";

/** Inputs as in a Mamba block: A from -1 to -N, steps through softplus, a skip. */
function selectiveScanInputs(): Record<"u" | "delta" | "A" | "B" | "C" | "D" | "deltaBias", Input> {
  const { B, L, D, N } = s6;
  const channels = (batch: number): readonly number[] => [batch, L, D];
  const states = (batch: number): readonly number[] => [batch, L, N];
  return {
    u: { values: uniformValues(B * L * D, 1), shape: channels },
    delta: { values: uniformValues(B * L * D, 2), shape: channels },
    A: { values: Float32Array.from({ length: D * N }, (_, k) => -1 - (k % N)), shape: () => [D, N], shared: true },
    B: { values: uniformValues(B * L * N, 3), shape: states },
    C: { values: uniformValues(B * L * N, 4), shape: states },
    D: { values: uniformValues(D, 5), shape: () => [D], shared: true },
    deltaBias: { values: uniformValues(D, 6, -4, -2), shape: () => [D], shared: true },
  };
}

const { flops, bytes } = selectiveScanKernel.record.cost(s6, { deltaSoftplus: true });

/** The selective scan of Mamba. */
export const selectiveScanForward: BenchmarkCase = forwardCase({
  kernel: "selectiveScan",
  shape: s6Shape,
  mode: "fwd",
  flops,
  bytes,
  rate: "GFLOP/s",
  units: s6.B,
  checkedUnits: 2,
  unitName: "sequences",
  tolerance: { tolerance: 1e-5, unit: "relative" },
  inputs: selectiveScanInputs,
  compute(inputs) {
    const { y, hT } = selectiveScan(inputs, { deltaSoftplus: true });
    return [y, hT];
  },
  loop: {
    size: s6.B * s6.L * s6.D,
    run({ u, delta, A, B, C, D, deltaBias }, out) {
      const { L, D: channels, N } = s6;
      const h = new Float32Array(channels * N);
      for (let batch = 0; batch < s6.B; batch++) {
        h.fill(0);
        for (let t = batch * L; t < (batch + 1) * L; t++) {
          for (let d = 0; d < channels; d++) {
            const at = t * channels + d;
            const step = Math.log1p(Math.exp(delta[at]! + deltaBias[d]!));
            const drive = step * u[at]!;
            let y = D[d]! * u[at]!;
            for (let n = 0; n < N; n++) {
              const k = d * N + n;
              const next = Math.exp(step * A[k]!) * h[k]! + drive * B[t * N + n]!;
              h[k] = next;
              y += next * C[t * N + n]!;
            }
            out[at] = y;
          }
        }
      }
    },
  },
});

/** Value and gradients of all inputs, from a given cotangent of y. */
export const selectiveScanBackward: BenchmarkCase = forwardCase({
  kernel: "selectiveScan",
  shape: s6Shape,
  mode: "fwd+bwd",
  // The backward pass is counted as twice the forward one; it reads the inputs and dy again and writes a gradient per input.
  flops: 3 * flops,
  bytes: 3 * bytes,
  rate: "GFLOP/s",
  units: s6.B,
  checkedUnits: 2,
  unitName: "sequences",
  sumsOverUnits: true,
  tolerance: { tolerance: 1e-4, unit: "relative" },
  inputs: () => ({
    ...selectiveScanInputs(),
    dy: { values: uniformValues(s6.B * s6.L * s6.D, 7), shape: (batch) => [batch, s6.L, s6.D] },
  }),
  compute({ dy, ...inputs }) {
    const [y, pullBack] = vjp((x: typeof inputs) => selectiveScan(x, { deltaSoftplus: true }).y, inputs);
    return [y, ...Object.values(pullBack(dy))];
  },
});
