import {
  chunkedParts,
  interpretScan,
  product,
  randomSemiseparable,
  semiseparable,
  type ScanKernel,
} from "@seqmix/tensor/backend";
import { afterAll, expect, test } from "vitest";
import type { GpuLimits } from "@seqmix/tensor/wgsl";
import { emulatedFragments } from "@seqmix/testing";
import { runProgram } from "../../testing/run-program.js";
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
/** On matrix units, with tiles that a software adapter compiles sooner. */
const onUnits = (terms: 1 | 3): Sizes => ({
  chunk: 64,
  scores: tile(32, 32, terms),
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
