import { afterAll, describe, expect, it } from "vitest";
import { DeviceMemory } from "../memory/memory.js";
import { ThreadPool } from "../threads/pool.js";
import type { CpuProgram } from "../program.js";
import { cumsumProgram, scanProgram, type CumsumSpec, type ScanSpec } from "./program.js";

const memory = new DeviceMemory();
const pools = [1, 2].map((threads) => new ThreadPool(memory, { threads }));
afterAll(() => pools.forEach((pool) => pool.close()));

function generator(seed: number): () => number {
  let state = seed;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}
const random = generator(5);
const numbers = (size: number, low: number, high: number): Float32Array =>
  Float32Array.from({ length: size }, () => low + (high - low) * random());

/** The result on one thread, after the comparison with two threads bit by bit. */
function run(program: CpuProgram, inputs: readonly Float32Array[], size: number): Float32Array {
  const all = [...inputs, new Float32Array(size)];
  // NaN around every buffer: over-reads must not show.
  const addresses = all.map((array) => {
    const address = memory.allocate(4 * array.length + 128) + 64;
    memory.f32.fill(NaN, address / 4 - 16, address / 4 + array.length + 16);
    memory.f32.set(array, address / 4);
    return address;
  });
  const out = (addresses.at(-1) as number) / 4;
  const results = pools.map((pool) => {
    memory.f32.fill(NaN, out, out + size);
    pool.run(pool.prepare(program), addresses);
    expect(memory.f32[out - 1], program.name).toBeNaN();
    expect(memory.f32[out + size], program.name).toBeNaN();
    return memory.f32.slice(out, out + size);
  });
  for (const address of addresses) memory.free(address - 64);
  const [one, two] = results as [Float32Array, Float32Array];
  expect(Buffer.compare(Buffer.from(one.buffer), Buffer.from(two.buffer)), program.name).toBe(0);
  return one;
}

interface Reference {
  readonly outer: number;
  readonly length: number;
  readonly inner: number;
  readonly reverse?: boolean;
  readonly exclusive?: boolean;
}

/** float64 loops; `bound` is the same recurrence of absolute values. */
function reference(
  spec: Reference,
  a: (at: number, state: number) => number,
  b: Float32Array,
  initial?: Float32Array,
): { value: Float64Array; bound: Float64Array } {
  const { outer, length, inner } = spec;
  const value = new Float64Array(outer * length * inner);
  const bound = value.slice();
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < inner; i++) {
      let h = initial?.[o * inner + i] ?? 0;
      let size = Math.abs(h);
      for (let step = 0; step < length; step++) {
        const t = spec.reverse === true ? length - 1 - step : step;
        const at = (o * length + t) * inner + i;
        if (spec.exclusive === true) [value[at], bound[at]] = [h, size];
        const decay = a(at, o * inner + i);
        h = decay * h + (b[at] ?? NaN);
        size = Math.abs(decay) * size + Math.abs(b[at] ?? NaN);
        if (spec.exclusive !== true) [value[at], bound[at]] = [h, size];
      }
    }
  return { value, bound };
}

function expectClose(
  name: string,
  result: Float32Array,
  { value, bound }: { value: Float64Array; bound: Float64Array },
  tolerance: number,
): void {
  let worst = 0;
  result.forEach((x, i) => {
    const error = Math.abs(x - (value[i] ?? NaN)) / ((bound[i] ?? NaN) + 1e-30);
    worst = error <= worst ? worst : error;
  });
  expect(worst, name).toBeLessThan(tolerance);
}

const shapes: [number, number, number][] = [];
for (const outer of [3])
  for (const length of [1, 2, 3, 5, 8, 15, 17, 37])
    for (const inner of [1, 2, 3, 4, 31, 32, 70]) shapes.push([outer, length, inner]);
shapes.push(
  [1, 20_000, 1],
  [2, 8192, 1],
  [3, 12_289, 1],
  [1, 40_001, 2],
  [1, 1024, 40],
  [2, 1025, 33],
  [1, 3000, 64],
  [9, 9000, 1],
  [64, 1000, 1],
  [1, 20_003, 5],
  [1, 600, 256],
);

describe("cumsumProgram", () => {
  it("sums forward, in reverse, inclusive and exclusive", () => {
    for (const [outer, length, inner] of shapes) {
      const x = numbers(outer * length * inner, -1, 1);
      for (const reverse of [false, true])
        for (const exclusive of [false, true]) {
          const spec: CumsumSpec = { outer, length, inner, reverse, exclusive };
          const program = cumsumProgram(spec, memory);
          expectClose(
            `${program.name} ${JSON.stringify(spec)}`,
            run(program, [x], x.length),
            reference(spec, () => 1, x),
            3e-6,
          );
        }
    }
  });

  it("is no less exact than a sequential loop in f32", () => {
    const [outer, length] = [16, 16_384];
    const x = numbers(outer * length, 0, 1);
    const result = run(cumsumProgram({ outer, length, inner: 1 }, memory), [x], x.length);
    let [worst, sequentialWorst] = [0, 0];
    for (let o = 0; o < outer; o++) {
      let [exact, sequential] = [0, 0];
      for (let t = o * length; t < (o + 1) * length; t++) {
        exact += x[t] ?? NaN;
        sequential = Math.fround(sequential + (x[t] ?? NaN));
        worst = Math.max(worst, Math.abs((result[t] ?? NaN) - exact));
        sequentialWorst = Math.max(sequentialWorst, Math.abs(sequential - exact));
      }
    }
    expect(worst).toBeLessThanOrEqual(sequentialWorst);
  });

  it("does nothing for empty arrays", () => {
    expect(run(cumsumProgram({ outer: 0, length: 5, inner: 2 }, memory), [new Float32Array()], 0).length).toBe(0);
    expect(run(cumsumProgram({ outer: 2, length: 0, inner: 2 }, memory), [new Float32Array()], 0).length).toBe(0);
  });
});

describe("scanProgram", () => {
  it("follows the recurrence in all variants", () => {
    for (const [outer, length, inner] of shapes) {
      const size = outer * length * inner;
      const b = numbers(size, -1, 1);
      const initial = numbers(outer * inner, -1, 1);
      for (const constantDecay of [false, true]) {
        const a = numbers(constantDecay ? outer * inner : size, -0.2, 1);
        for (const reverse of [false, true])
          for (const withInitial of [false, true]) {
            const spec: ScanSpec = { outer, length, inner, reverse, constantDecay, initial: withInitial };
            const program = scanProgram(spec, memory);
            const expected = reference(
              spec,
              (at, state) => a[constantDecay ? state : at] ?? NaN,
              b,
              withInitial ? initial : undefined,
            );
            expectClose(
              `${program.name} ${JSON.stringify(spec)}`,
              run(program, withInitial ? [a, b, initial] : [a, b], size),
              expected,
              2e-6,
            );
          }
      }
    }
  });

  it("keeps exact zeros, decays of 0 and growing states", () => {
    for (const inner of [1, 4]) {
      const length = 200;
      const size = length * inner;
      const scan = (a: Float32Array, b: Float32Array) =>
        run(scanProgram({ outer: 1, length, inner }, memory), [a, b], size);
      expect(scan(new Float32Array(size).fill(2), new Float32Array(size)).every((x) => x === 0)).toBe(true);
      const b = numbers(size, -1, 1);
      expect(scan(new Float32Array(size), b)).toEqual(b);
      const pulse = new Float32Array(size).fill(1, 0, inner);
      expect(scan(new Float32Array(size).fill(0.5), pulse)[20 * inner]).toBe(2 ** -20);
      expect(scan(new Float32Array(size).fill(0.5), pulse)[190 * inner]).toBe(0);
    }
  });
});
