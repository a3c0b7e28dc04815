import { afterAll, beforeAll, expect, test } from "vitest";
import { whenLoaded } from "../../../../graph/on-demand.js";
import { chunkedParts, type ChunkedParts } from "../../../../ir/chunked-parts.js";
import { interpretScan } from "../../../../ir/interpreter.js";
import { randomSemiseparable } from "../../../../ir/random-semiseparable.js";
import type { Scalar } from "../../../../ir/loop.js";
import type { ScanKernel } from "../../../../ir/scan-kernel.js";
import { semiseparable, type Semiseparable } from "../../../../ir/semiseparable.js";
import { product } from "../../../../ir/simplify.js";
import { DeviceMemory } from "../../memory/memory.js";
import { ThreadPool } from "../../threads/pool.js";
import { chunkedProgram } from "./program.js";

const memory = new DeviceMemory();
const pool = new ThreadPool(memory, { threads: 2 });
afterAll(() => pool.close());

/** The results, computed between buffers of NaN. */
function run(kernel: ScanKernel, arrays: readonly Float32Array[]): Float32Array[] {
  const form = semiseparable(kernel);
  if (typeof form === "string") throw new Error(form);
  const parts = chunkedParts(form);
  if (typeof parts === "string") throw new Error(parts);
  const program = chunkedProgram(parts, memory);
  const sizes = kernel.outputs.map((o) => product(o.keeps.map((axis) => kernel.extents[axis]!)));
  const all = [...arrays, ...sizes.map((size) => new Float32Array(size).fill(NaN))];
  const addresses = all.map((array) => {
    const address = memory.allocate(4 * array.length + 128) + 64;
    memory.f32.fill(NaN, address / 4 - 16, address / 4 + array.length + 16);
    memory.f32.set(array, address / 4);
    return address;
  });
  pool.run(pool.prepare(program), addresses);
  const results = sizes.map((size, k) => {
    const from = addresses[arrays.length + k]! / 4;
    const around = [...memory.f32.slice(from - 16, from), ...memory.f32.slice(from + size, from + size + 16)];
    if (!around.every(Number.isNaN)) throw new Error(`${program.name}: wrote outside output ${k}`);
    return memory.f32.slice(from, from + size);
  });
  for (const address of addresses) memory.free(address - 64);
  return results;
}

/** Largest error of each output, relative to its largest value. */
function errors(kernel: ScanKernel, arrays: readonly Float32Array[]): number[] {
  const found = run(kernel, arrays);
  return interpretScan(kernel, arrays).map((expected, k) => {
    const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-3);
    return expected.reduce((worst, x, i) => {
      const error = Math.abs(found[k]![i]! - x) / largest;
      return error <= worst ? worst : Number.isNaN(error) ? Infinity : error;
    }, 0);
  });
}

/** Code that programs load when they first need it. */
beforeAll(async () => {
  for (let seed = 0; seed < 8; seed++) {
    const { kernel } = randomSemiseparable(seed, { decay: "vector", gradient: true, steps: [33], widths: [8] });
    const parts = chunkedParts(semiseparable(kernel) as Semiseparable) as ChunkedParts;
    await whenLoaded(() => chunkedProgram(parts, memory));
  }
});

const kinds = ["none", "constant", "scalar", "vector"] as const;

test.each(kinds)("random recurrences with %s decay are those of the scan, and so are their gradients", (decay) => {
  for (let seed = 0; seed < 16; seed++) {
    const { kernel, arrays } = randomSemiseparable(seed, {
      decay,
      gradient: seed % 2 === 1,
      steps: [1, 7, 33, 50],
      widths: [3, 4, 8, 10, 13, 17],
    });
    for (const [k, error] of errors(kernel, arrays).entries())
      expect(error, `seed ${seed}, output ${k} of [${kernel.extents.join()}]`).toBeLessThan(1e-5);
  }
});

test("a decay of 0 forgets the states before it, infinite or not", () => {
  const [L, K, V] = [50, 8, 8];
  const index = (...coefficients: number[]): { offset: number; coefficients: number[] } => ({
    offset: 0,
    coefficients,
  });
  const load = (input: number, ...coefficients: number[]): Scalar => ({
    op: "load",
    dtype: "f32",
    input,
    index: index(...coefficients),
  });
  const arrays = [
    Float32Array.from({ length: L }, (_, t) => (t === 20 || t === 40 ? 0 : 0.9)),
    Float32Array.from({ length: L * K }, (_, i) => (i === 18 * K ? Infinity : Math.sin(i))),
    Float32Array.from({ length: L * V }, (_, i) => Math.cos(i)),
  ];
  const kernel: ScanKernel = {
    extents: [L, K, V],
    along: 0,
    reverse: false,
    forgets: true,
    inputs: arrays.map(({ length }) => ({ dtype: "f32", size: length })),
    decay: [load(0, 1, 0, 0)],
    drive: [{ op: "mul", dtype: "f32", args: [load(1, K, 1, 0), load(2, V, 0, 1)] }],
    sums: [
      {
        value: {
          op: "mul",
          dtype: "f32",
          args: [{ op: "state", dtype: "f32", which: "current", part: "re" }, load(1, K, 1, 0)],
        },
        keeps: [0, 2],
        step: "each",
      },
    ],
    outputs: [{ dtype: "f32", keeps: [0, 2], step: "each", value: { op: "reduced", dtype: "f32", reduction: 0 } }],
  };
  const [found] = run(kernel, arrays);
  const [expected] = interpretScan(kernel, arrays);
  // up to the reset the states are infinite
  expect(found!.slice(18 * V, 20 * V).some(Number.isFinite)).toBe(false);
  for (let i = 20 * V; i < L * V; i++) expect(found![i], `element ${i}`).toBeCloseTo(expected![i]!, 4);
});
