import {
  chunkedParts,
  interpretScan,
  product,
  randomSemiseparable,
  semiseparable,
  type Scalar,
  type ScanKernel,
} from "@seqmix/tensor/backend";
import { afterAll, expect, test } from "vitest";
import type { GpuLimits } from "@seqmix/tensor/wgsl";
import { foldIn, key } from "@seqmix/tensor";
import { emulatedFragments, randomValues } from "@seqmix/testing";
import { runProgram } from "../../testing/run-program.js";
import { adjoint, builder, current, mul, op, previous, reduced } from "../../testing/scan-kernels.js";
import { testDevice } from "../../testing/test-device.js";
import type { Sizes } from "./layout.js";
import { chunkedProgram } from "./program.js";
import { PORTABLE } from "./sizes.js";
import type { MatrixTile } from "./tile.js";

const device = await testDevice();
afterAll(() => device.close());

/** What every adapter allows. */
const PORTABLE_LIMITS: GpuLimits = { buffers: 8, bytes: 2 ** 27, threads: 256, workgroupBytes: 16384 };

const tile = (rows: number, columns: number, terms: 1 | 3): MatrixTile => ({
  rows,
  columns,
  depth: 16,
  block: { rows: 32, columns: 32 },
  terms,
});
/** Several blocks of each operand. */
const inBlocks = (terms: 1 | 3): MatrixTile => ({
  ...tile(32, 32, terms),
  block: { rows: 16, columns: 16 },
  inBlocks: true,
});
/** On matrix units, with tiles that a software adapter compiles sooner. */
const onUnits = (terms: 1 | 3): Sizes => ({
  chunk: 64,
  scores: inBlocks(terms),
  apart: inBlocks(terms),
  states: tile(32, 32, terms),
  narrow: tile(32, 32, terms),
  wide: tile(32, 32, terms),
});
const unitLimits: GpuLimits = {
  matrixUnits: true,
  fragments: emulatedFragments,
  buffers: 10,
  bytes: 2 ** 27,
  threads: device.gpu.limits.maxComputeInvocationsPerWorkgroup,
  workgroupBytes: device.gpu.limits.maxComputeWorkgroupStorageSize,
};

/** Largest error of each output, relative to its largest value. */
async function errors(
  kernel: ScanKernel,
  arrays: readonly Float32Array[],
  limits: GpuLimits = PORTABLE_LIMITS,
  sizes?: Sizes,
  /** What errors are relative to at least. */
  least = 1e-3,
): Promise<number[]> {
  const form = semiseparable(kernel, true);
  if (typeof form === "string") throw new Error(form);
  const parts = chunkedParts(form, 4);
  if (typeof parts === "string") throw new Error(parts);
  const program = chunkedProgram(parts, limits, sizes);
  expect(Math.max(...program.passes.map(({ buffers }) => buffers.length))).toBeLessThanOrEqual(limits.buffers);
  const found = await runProgram(
    device.gpu,
    program,
    arrays,
    kernel.outputs.map(({ keeps }) => product(keeps.map((axis) => kernel.extents[axis]!))),
  );
  return interpretScan(kernel, arrays).map((expected, k) => {
    const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), least);
    return expected.reduce((worst, x, i) => {
      const error = Math.abs(found[k]![i]! - x) / largest;
      return error <= worst ? worst : Number.isNaN(error) ? Infinity : error;
    }, 0);
  });
}

test.each(["none", "constant", "scalar", "vector"] as const)(
  "random recurrences with %s decay are those of the scan, and so are their gradients",
  async (decay) => {
    for (let seed = 0; seed < (decay === "scalar" || decay === "vector" ? 4 : 2); seed++) {
      const { kernel, arrays } = randomSemiseparable(seed, {
        decay,
        gradient: seed % 2 === 1,
        steps: [33, 64, 130],
        widths: [3, 8, 13, 20],
        timesDecay: true,
      });
      for (const [k, error] of (await errors(kernel, arrays)).entries())
        expect(error, `seed ${seed}, output ${k} of [${kernel.extents.join()}]`).toBeLessThan(1e-5);
    }
  },
  // many kernels are compiled
  120_000,
);

test("on matrix units, operands that grow by 1e12 or begin with zeros keep their digits, which takes a second attempt", async () => {
  for (const change of [
    (x: number, at: number, size: number): number => x * 1e15 * 10 ** ((12 * at) / size),
    (x: number, at: number, size: number): number => (at < 0.6 * size ? 0 : x * 1e-12),
  ]) {
    const { kernel, arrays } = randomSemiseparable(0, { decay: "scalar", gradient: false, steps: [64], widths: [16] });
    const changed = arrays.map((data, k) => (k === 0 ? data.map((x, at) => change(x, at, data.length)) : data));
    for (const [terms, tolerance] of [
      [3, 1e-5],
      [1, 3e-3],
    ] as const)
      for (const [k, error] of (await errors(kernel, changed, unitLimits, onUnits(terms), 0)).entries())
        expect(error, `${terms} products, output ${k} of [${kernel.extents.join()}]`).toBeLessThan(tolerance);
  }
}, 60_000);

test("heads in slices that take turns with the same scratch give the same", async () => {
  let cut = 0;
  for (let seed = 1; cut < 2; seed++) {
    const { kernel, arrays } = randomSemiseparable(seed, {
      decay: "scalar",
      gradient: cut === 1,
      steps: [70],
      widths: [8, 13],
      timesDecay: true,
    });
    const form = semiseparable(kernel, true);
    if (typeof form === "string") throw new Error(form);
    const [outermost] = form.heads;
    const extent = outermost === undefined ? 1 : kernel.extents[outermost]!;
    const summed = form.sums.some((sum) => sum.role === "read" && sum.group?.axis === outermost);
    if (extent === 1 || summed) continue;
    cut++;
    for (const error of await errors(kernel, arrays, PORTABLE_LIMITS, { ...PORTABLE, slices: extent }))
      expect(error, `seed ${seed} of [${kernel.extents.join()}]`).toBeLessThan(1e-5);
  }
}, 60_000);

// few and small ones: the software adapter takes seconds to compile a text
test.each([
  ["scalar", 0, 3, 1e-5],
  ["scalar", 3, 3, 1e-5],
  ["vector", 1, 3, 1e-5],
  ["scalar", 0, 1, 3e-3],
  ["scalar", 3, 1, 3e-3],
] as const)(
  "on matrix units: %s decay, seed %d, %d products for one of f32",
  async (decay, seed, terms, tolerance) => {
    const { kernel, arrays } = randomSemiseparable(seed, {
      decay,
      gradient: seed > 0,
      steps: [64, 130],
      widths: [16, 32],
      timesDecay: true,
    });
    for (const [k, error] of (await errors(kernel, arrays, unitLimits, onUnits(terms))).entries())
      expect(error, `output ${k} of [${kernel.extents.join()}]`).toBeLessThan(tolerance);
  },
  120_000,
);

/** SSD's gradient of decays alone: keys and queries shared by all heads, step sizes, a decay for each step and head. */
function gradientOfDecays(L: number, H: number, K: number, V: number): ScanKernel {
  const { input, inputs } = builder([L, H, K, V]);
  const [dt, A, k, v, q, dy] = [[0, 1], [1], [0, 2], [0, 1, 3], [0, 2], [0, 1, 3]].map(input) as Scalar[];
  const decay = op("exp", mul(dt!, A!));
  return {
    extents: [L, H, K, V],
    along: 0,
    reverse: false,
    inputs,
    decay: [decay],
    drive: [mul(k!, mul(v!, dt!))],
    adjoint: { seed: [mul(q!, dy!)] },
    sums: [{ value: mul(adjoint, previous, decay), keeps: [0, 1], step: "each" }],
    outputs: [{ dtype: "f32", keeps: [0, 1], step: "each", value: reduced(0) }],
  };
}

test.each([
  // as weak as Mamba-2's are at first, and so strong that a step with itself is nearly all there is
  [-16, -1, 1.5e-3],
  [-60, -20, 1.5e-3],
] as const)(
  "rounded products keep the digits of the gradient of decays from exp(%d dt) to exp(%d dt)",
  async (low, high, tolerance) => {
    const kernel = gradientOfDecays(150, 2, 32, 32);
    const ranges = [
      [0.001, 0.1],
      [low, high],
    ];
    const arrays = kernel.inputs.map(({ size }, k) =>
      Float32Array.from(randomValues(foldIn(key(12), k), [size], "f32", ...(ranges[k] ?? [-2, 2])).data),
    );
    const [error] = await errors(kernel, arrays, unitLimits, { ...onUnits(1), chunk: 128 }, 0);
    expect(error).toBeLessThan(tolerance);
  },
  120_000,
);

/** All of SSD's gradients: of values, of decays, and of keys and queries that all heads share. */
function gradientOfSsd(L: number, H: number, K: number, V: number): ScanKernel {
  const own = gradientOfDecays(L, H, K, V);
  const { inputs } = own;
  const { input } = builder([L, H, K, V]);
  const [dt, , k, v, , dy] = [[0, 1], [1], [0, 2], [0, 1, 3], [0, 2], [0, 1, 3]].map(input) as Scalar[];
  const sums: ScanKernel["sums"] = [
    { value: mul(adjoint, k!), keeps: [0, 1, 3], step: "each" },
    { value: mul(current, dy!), keeps: [0, 2], step: "each" },
    { value: mul(adjoint, mul(v!, dt!)), keeps: [0, 2], step: "each" },
    ...own.sums,
  ];
  return {
    ...own,
    inputs,
    sums,
    outputs: sums.map(({ keeps }, n) => ({ dtype: "f32", keeps, step: "each", value: reduced(n) })),
  };
}

test.each([
  [-16, -1, 32],
  // more keys than a tile of states has: scales are found on the way
  [-60, -20, 48],
] as const)(
  "pairs of steps are summed by head on the way to the gradients of shared keys, with decays from exp(%d dt) to exp(%d dt) and %d keys",
  async (low, high, K) => {
    const kernel = gradientOfSsd(150, 2, K, 32);
    const arrays = kernel.inputs.map(({ size }, k) =>
      Float32Array.from(
        randomValues(
          foldIn(key(15), k),
          [size],
          "f32",
          ...([
            [0.001, 0.1],
            [low, high],
          ][k] ?? [-2, 2]),
        ).data,
      ),
    );
    const limits = { ...unitLimits, buffers: device.gpu.limits.maxStorageBuffersPerShaderStage };
    const form = semiseparable(kernel, true);
    const parts = typeof form === "string" ? form : chunkedParts(form, 4);
    if (typeof parts === "string") throw new Error(parts);
    const sizes = { ...onUnits(1), chunk: 128 };
    expect(chunkedProgram(parts, limits, sizes).passes.some(({ code }) => code.includes("stateSums"))).toBe(true);
    for (const [k, error] of (await errors(kernel, arrays, limits, sizes, 0)).entries())
      expect(error, `output ${k}`).toBeLessThan(1.5e-3);
  },
  120_000,
);

test("states in f16 have one scale for all keys of a head, also where a narrow tile has fewer rows", async () => {
  const [L, H, K, V] = [64, 1, 64, 32];
  const { input, inputs } = builder([L, H, K, V]);
  const [a, k, v, q] = [
    [0, 1],
    [0, 2],
    [0, 1, 3],
    [0, 2],
  ].map(input) as Scalar[];
  const kernel: ScanKernel = {
    extents: [L, H, K, V],
    along: 0,
    reverse: false,
    inputs,
    decay: [a!],
    drive: [mul(k!, v!)],
    sums: [{ value: mul(current, q!), keeps: [0, 1, 3], step: "each" }],
    outputs: [{ dtype: "f32", keeps: [0, 1, 3], step: "each", value: reduced(0) }],
  };
  const arrays = inputs.map(({ size }, n) => {
    const data = Float32Array.from(
      randomValues(foldIn(key(13), n), [size], "f32", n === 0 ? 0.5 : -2, n === 0 ? 1 : 2).data,
    );
    // the second half of the keys is far larger
    return n === 1 ? data.map((x, at) => (at % K < K / 2 ? x : 1000 * x)) : data;
  });
  const sizes = { ...onUnits(1), chunk: 32, states: tile(64, 32, 1) };
  const [error] = await errors(kernel, arrays, unitLimits, sizes, 0);
  expect(error).toBeLessThan(3e-3);
}, 60_000);

/** Gated linear attention and its gradients, the decays given as they are. */
function gated(L: number, K: number, V: number): ScanKernel {
  const { input, inputs } = builder([L, K, V]);
  const [a, k, v, q, dy] = [
    [0, 1],
    [0, 1],
    [0, 2],
    [0, 1],
    [0, 2],
  ].map(input) as Scalar[];
  const keys = (value: Scalar): ScanKernel["sums"][0] => ({ value, keeps: [0, 1], step: "each" });
  const each = (keeps: readonly number[], value: Scalar): ScanKernel["outputs"][0] => ({
    dtype: "f32",
    keeps,
    step: "each",
    value,
  });
  return {
    extents: [L, K, V],
    along: 0,
    reverse: false,
    inputs,
    decay: [a!],
    drive: [mul(k!, v!)],
    adjoint: { seed: [mul(q!, dy!)] },
    sums: [
      { value: mul(current, q!), keeps: [0, 2], step: "each" },
      { value: mul(adjoint, k!), keeps: [0, 2], step: "each" },
      keys(mul(current, dy!)),
      keys(mul(adjoint, v!)),
      keys(mul(adjoint, previous)),
    ],
    outputs: [
      each([0, 2], reduced(0)),
      each([0, 2], reduced(1)),
      each([0, 1], reduced(2)),
      each([0, 1], reduced(3)),
      each([0, 1], mul(reduced(4), a!)),
    ],
  };
}

test.each([
  [3, 2e-5],
  [1, 4e-3],
] as const)(
  "decays by key of 0, 1, e^-200 and what grows, with keys and queries of any size, on matrix units (%d products for one of f32)",
  async (terms, tolerance) => {
    const kernel = gated(150, 32, 16);
    const scales = [1, 1e-9, 1, 1e7, 1];
    const arrays = kernel.inputs.map(({ size }, n) => {
      const data = randomValues(foldIn(key(14), n), [size], "f32", n === 0 ? 0 : -2, n === 0 ? 1 : 2).data;
      if (n > 0) return Float32Array.from(data, (x) => x * scales[n]!);
      const decays = [0, 1, Math.exp(-200), 1.02, Math.exp(-4), 0.99, -0.7];
      // most last long; a reset forgets all keys
      return Float32Array.from(data, (x, at) =>
        Math.floor(at / 32) === 70 ? 0 : x < 0.35 ? decays[Math.floor(20 * x)]! : 1 - (1 - x) / 16,
      );
    });
    for (const [k, error] of (await errors(kernel, arrays, unitLimits, onUnits(terms), 0)).entries())
      expect(error, `output ${k}`).toBeLessThan(tolerance);
  },
  120_000,
);
