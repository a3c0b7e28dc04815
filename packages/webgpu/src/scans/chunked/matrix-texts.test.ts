// What runs on matrix units is compiled for real ones: the software adapter, which runs the same texts emulated, has none.
import { chunkedParts, randomSemiseparable, semiseparable, whenLoaded } from "@seqmix/tensor/backend";
import { withExtensions } from "@seqmix/tensor/wgsl";
import { afterAll, expect, test } from "vitest";
import { webgpu } from "../../index.js";
import type { GpuLimits } from "@seqmix/tensor/wgsl";
import { chunkedProgram } from "./program.js";
import { sizesFor } from "./sizes.js";

const device = await webgpu({ halfPrecision: true, dawn: ["backend=null"] });
afterAll(() => device.close());

const limits = (products: "f32" | "tf32"): GpuLimits => ({
  buffers: 16,
  bytes: 2 ** 31,
  threads: 1024,
  workgroupBytes: 49152,
  matrixUnits: true,
  products,
});

test.each([
  ["f32", "none"],
  ["f32", "scalar"],
  ["f32", "vector"],
  ["tf32", "scalar"],
] as const)("products of %s with %s decay, whole and in slices", async (products, decay) => {
  let sliced = 0;
  for (const seed of [0, 1, 3, 5]) {
    const { kernel } = randomSemiseparable(seed, {
      decay,
      gradient: seed > 0,
      steps: [130, 256],
      widths: [32, 64, 128],
      timesDecay: true,
    });
    const form = semiseparable(kernel, true);
    if (typeof form === "string") throw new Error(form);
    const parts = chunkedParts(form, 4);
    if (typeof parts === "string") throw new Error(parts);
    const [outermost] = form.heads;
    const extent = outermost === undefined ? 1 : kernel.extents[outermost]!;
    const summed = form.sums.some((sum) => sum.role === "read" && sum.group?.axis === outermost);
    for (const slices of extent > 1 && !summed ? [1, extent] : [1]) {
      sliced += Number(slices > 1);
      const program = await whenLoaded(() =>
        chunkedProgram(parts, limits(products), { ...sizesFor(parts, limits(products)), slices }),
      );
      expect(program.name).toContain("on matrix units");
      for (const { code } of program.passes) {
        device.gpu.pushErrorScope("validation");
        device.gpu.createShaderModule({ code: withExtensions(code) });
        expect((await device.gpu.popErrorScope())?.message).toBeUndefined();
      }
    }
  }
  expect(sliced).toBeGreaterThan(0);
});
