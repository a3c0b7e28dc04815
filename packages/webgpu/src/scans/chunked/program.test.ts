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
import { runProgram } from "../../testing/run-program.js";
import { testDevice } from "../../testing/test-device.js";
import { chunkedProgram } from "./program.js";

const device = await testDevice();
afterAll(() => device.close());

/** What every adapter allows. */
const PORTABLE_LIMITS: GpuLimits = { buffers: 8, bytes: 2 ** 27, threads: 256, workgroupBytes: 16384 };

/** Largest error of each output, relative to its largest value. */
async function errors(kernel: ScanKernel, arrays: readonly Float32Array[]): Promise<number[]> {
  const form = semiseparable(kernel, true);
  if (typeof form === "string") throw new Error(form);
  const parts = chunkedParts(form, 4);
  if (typeof parts === "string") throw new Error(parts);
  const program = chunkedProgram(parts, PORTABLE_LIMITS);
  expect(Math.max(...program.passes.map(({ buffers }) => buffers.length))).toBeLessThanOrEqual(8);
  const found = await runProgram(
    device.gpu,
    program,
    arrays,
    kernel.outputs.map(({ keeps }) => product(keeps.map((axis) => kernel.extents[axis]!))),
  );
  return interpretScan(kernel, arrays).map((expected, k) => {
    const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-3);
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
