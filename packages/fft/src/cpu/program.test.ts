import { afterAll, describe, expect, it } from "vitest";
import { convolutionProgram, correlationProgram, type ConvolutionSpec } from "./program.js";
import { rootsOf } from "./roots.js";
import { DeviceMemory, ThreadPool, type CpuProgram } from "@seqmix/tensor/wasm";

const memory = new DeviceMemory();
const pools = [1, 2].map((threads) => new ThreadPool(memory, { threads }));
afterAll(() => pools.forEach((pool) => pool.close()));

function generator(seed: number): () => number {
  let state = seed;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}
const random = generator(11);
const numbers = (size: number): Float32Array => Float32Array.from({ length: size }, () => 2 * random() - 1);

/** The result on one thread, after the comparison with two threads bit by bit. */
function run(program: CpuProgram, length: number, inputs: readonly Float32Array[], size: number): Float32Array {
  const all = [...inputs, rootsOf(length), new Float32Array(size)];
  const addresses = all.map((array) => {
    const address = memory.allocate(4 * array.length + 128) + 64;
    memory.f32.fill(NaN, address / 4 - 16, address / 4 + array.length + 16);
    memory.f32.set(array, address / 4);
    return address;
  });
  const out = addresses.at(-1)! / 4;
  const [one, two] = pools.map((pool) => {
    memory.f32.fill(NaN, out, out + size);
    pool.run(pool.prepare(program), addresses);
    expect(memory.f32[out - 1], program.name).toBeNaN();
    expect(memory.f32[out + size], program.name).toBeNaN();
    return memory.f32.slice(out, out + size);
  }) as [Float32Array, Float32Array];
  for (const address of addresses) memory.free(address - 64);
  expect(Buffer.compare(Buffer.from(one.buffer), Buffer.from(two.buffer)), program.name).toBe(0);
  return one;
}

function expectClose(label: string, result: Float32Array, expected: Float64Array): void {
  let [worst, scale] = [0, 1];
  result.forEach((x, i) => {
    scale = Math.max(scale, Math.abs(expected[i] ?? NaN));
    const error = Math.abs(x - (expected[i] ?? NaN));
    worst = error <= worst ? worst : error;
  });
  expect(worst / scale, label).toBeLessThan(2e-6);
}

describe("programs of the convolution", () => {
  const shapes: [number, number, number, number][] = [
    [2, 3, 1, 1],
    [1, 4, 2, 1],
    [2, 5, 7, 7],
    [1, 1, 16, 16],
    [2, 4, 17, 9],
    [3, 6, 32, 32],
    [1, 8, 64, 64],
    [2, 4, 100, 33],
    [1, 4, 128, 128],
    [1, 3, 255, 255],
    [2, 4, 512, 512],
    [1, 5, 1000, 300],
    [1, 4, 1024, 1024],
    [1, 2, 2048, 2048],
    [1, 2, 3000, 3000],
    [1, 4, 4096, 100],
  ];

  const given: [string, Partial<ConvolutionSpec>][] = [
    ["back", {}],
    ["ahead", { taps: undefined }],
    ["both ways", {}],
    ["with skip and gate", { skip: true, gate: true }],
  ];
  it.each(given)("convolves, taps %s", (name, more) => {
    for (const [batch, channels, length, taps] of shapes) {
      const ahead = name === "back" ? undefined : Math.max(1, taps - 3);
      const spec: ConvolutionSpec = { batch, channels, length, taps, tapsAhead: ahead, ...more };
      const u = numbers(batch * channels * length);
      const k = numbers(channels * taps);
      const kReverse = numbers(channels * (ahead ?? 0));
      const skip = numbers(channels);
      const gate = numbers(u.length);
      const expected = new Float64Array(u.length);
      for (let row = 0; row < batch * channels; row++)
        for (let t = 0; t < length; t++) {
          const d = row % channels;
          let total = spec.skip ? skip[d]! * u[row * length + t]! : 0;
          for (let s = 0; s < (spec.taps ?? 0) && s <= t; s++) total += k[d * taps + s]! * u[row * length + t - s]!;
          for (let s = 0; s < (ahead ?? 0) && t + s < length; s++)
            total += kReverse[d * ahead! + s]! * u[row * length + t + s]!;
          expected[row * length + t] = total * (spec.gate ? gate[row * length + t]! : 1);
        }
      const inputs = [
        u,
        ...(spec.taps === undefined ? [] : [k]),
        ...(ahead === undefined ? [] : [kReverse]),
        ...(spec.skip ? [skip] : []),
        ...(spec.gate ? [gate] : []),
      ];
      const found = run(convolutionProgram(spec, memory), length, inputs, u.length);
      expectClose(`${batch} ${channels} ${length} ${taps}`, found, expected);
    }
  });

  it("correlates, summed over the batch", () => {
    for (const [batch, channels, length, lags] of shapes) {
      const a = numbers(batch * channels * length);
      const b = numbers(a.length);
      const expected = new Float64Array(channels * lags);
      for (let row = 0; row < batch * channels; row++)
        for (let s = 0; s < lags; s++)
          for (let t = 0; t + s < length; t++)
            expected[(row % channels) * lags + s]! += a[row * length + t + s]! * b[row * length + t]!;
      const found = run(correlationProgram({ batch, channels, length, lags }, memory), length, [a, b], expected.length);
      expectClose(`${batch} ${channels} ${length} ${lags}`, found, expected);
    }
  });
});
