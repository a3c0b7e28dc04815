import { product, interpretScan, whenLoaded, type ScanKernel } from "@seqmix/tensor/backend";
import { afterAll, expect, test } from "vitest";
import { fusedScanProgram } from "./program.js";
import { TUNING, type LanesTuning, type Tuning } from "./tuning.js";
import { runProgram } from "../../testing/run-program.js";
import { mambaBackward, mambaForward } from "../../testing/scan-kernels.js";
import { testDevice } from "../../testing/test-device.js";

const device = await testDevice();
afterAll(() => device.close());

const tuningOf = (lanes: Partial<LanesTuning>): Tuning => ({
  ...TUNING,
  threads: 2 ** 20,
  subgroup: device.gpu.adapterInfo.subgroupMinSize,
  lanes: { ...TUNING.lanes, least: 1, ...lanes },
});

/** Largest error relative to the largest value of each output. */
async function errorOf(kernel: ScanKernel, tuning: Tuning): Promise<number> {
  let seed = 1;
  const next = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1;
  const inputs = kernel.inputs.map(({ size }) => Float32Array.from({ length: size }, next));
  const program = await whenLoaded(() => fusedScanProgram(kernel, 16, tuning));
  expect(program.name).toContain("threads a channel");
  const sizes = kernel.outputs.map(({ keeps }) => product(keeps.map((axis) => kernel.extents[axis]!)));
  const actual = await runProgram(device.gpu, program, inputs, sizes);
  return Math.max(
    ...interpretScan(kernel, inputs).map((want, k) => {
      const largest = want.reduce((m, x) => Math.max(m, Math.abs(x)), 1e-3);
      return want.reduce((m, x, i) => {
        const e = Math.abs(actual[k]![i]! - x) / largest;
        return Number.isNaN(e) ? Infinity : Math.max(m, e);
      }, 0);
    }),
  );
}

// Threads of a channel, channels of a subgroup of four and of a workgroup, steps: of each one and several.
test.each([
  { extents: [2, 16, 37, 16], lanes: { own: 8, chunkOwn: 8, workgroup: 16, chunkWorkgroup: 16, round: 4 } },
  { extents: [1, 16, 40, 16], lanes: { own: 8, chunkOwn: 4, workgroup: 32, chunkWorkgroup: 16, round: 8 } },
  { extents: [3, 16, 16, 8], lanes: { own: 4, chunkOwn: 8, workgroup: 8, chunkWorkgroup: 8, round: 16, chunk: 8 } },
] as const)("a recurrence and its gradient are those of the interpreter, $extents", async ({ extents, lanes }) => {
  const tuning = tuningOf(lanes);
  expect(await errorOf(mambaForward(extents), tuning)).toBeLessThan(1e-5);
  expect(await errorOf(mambaBackward(extents), tuning)).toBeLessThan(1e-5);
});
