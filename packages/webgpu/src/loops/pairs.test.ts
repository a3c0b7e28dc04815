// Maps whose threads read several vectors before they store the first.
import { interpretLoop, product, type LoopKernel, type Scalar } from "@seqmix/tensor/backend";
import { afterAll, expect, test } from "vitest";
import { runProgram } from "../testing/run-program.js";
import { testDevice } from "../testing/test-device.js";
import { fitsInPairs, loopPass } from "./text.js";

const device = await testDevice();
afterAll(() => device.close());

const buffers = { inputs: [0, 1], outputs: [2] };
const load = (input: number, coefficients: readonly number[]): Scalar => ({
  op: "load",
  dtype: "f32",
  input,
  index: { offset: 0, coefficients },
});
const kernelOf = (extents: readonly number[], values: readonly Scalar[]): LoopKernel => ({
  extents,
  reduceExtents: [],
  reductions: [],
  inputs: [product(extents), extents.at(-1)!].map((size) => ({ dtype: "f32", size })),
  outputs: [{ dtype: "f32", value: { op: "mul", dtype: "f32", args: values as [Scalar, Scalar] } }],
});

test.each([1, 2, 4])("%i vectors a thread compute every point once", async (each) => {
  const [rows, columns] = [64, 128];
  const kernel = kernelOf([rows, columns], [load(0, [columns, 1]), load(1, [0, 1])]);
  const pass = loopPass(kernel, "map", buffers, 64, each);
  expect(pass.groups).toBe((rows * columns) / (4 * 64 * each));
  const inputs = kernel.inputs.map(({ size }, k) => Float32Array.from({ length: size }, (_, i) => i + k));
  const [found] = await runProgram(device.gpu, { name: "pairs", passes: [pass], scratch: [] }, inputs, [
    rows * columns,
  ]);
  expect([...found!]).toEqual([...interpretLoop(kernel, inputs)[0]!]);
});

test("for plain maps of much memory that workgroups share without a rest", () => {
  const flat = (size: number, step = 1): LoopKernel => ({
    ...kernelOf([size], [load(0, [1]), load(1, [step])]),
    inputs: [size, size].map((each) => ({ dtype: "f32", size: each })),
  });
  expect(fitsInPairs(flat(2 ** 24), buffers)).toBe(true);
  expect(fitsInPairs(flat(2 ** 20), buffers)).toBe(false);
  expect(fitsInPairs(flat(2 ** 24 + 4096), buffers)).toBe(false);
  expect(fitsInPairs(flat(2 ** 24, 2), buffers)).toBe(false);
});
