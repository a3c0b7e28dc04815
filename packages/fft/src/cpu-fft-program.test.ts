import { afterAll, describe, expect, it } from "vitest";
import { fftConvProgram, fftConvTable, type FftConvSpec } from "./cpu-fft-program.js";
import { DeviceMemory, ThreadPool } from "@seqmix/tensor/wasm";

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
function convolve(spec: FftConvSpec, input: Float32Array, kernel: Float32Array): Float32Array {
  const program = fftConvProgram(spec, memory);
  const size = (spec.sumBatch === true ? 1 : spec.batch) * spec.channels * (spec.outputLength ?? spec.length);
  const all = [input, kernel, fftConvTable(spec.length), new Float32Array(size)];
  const addresses = all.map((array) => {
    const address = memory.allocate(4 * array.length + 128) + 64;
    memory.f32.fill(NaN, address / 4 - 16, address / 4 + array.length + 16);
    memory.f32.set(array, address / 4);
    return address;
  });
  const out = (addresses[3] as number) / 4;
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

describe("fftConvProgram", () => {
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

  it("convolves causally", () => {
    for (const [batch, channels, length, kernelLength] of shapes) {
      const input = numbers(batch * channels * length);
      const kernel = numbers(channels * kernelLength);
      const expected = new Float64Array(input.length);
      for (let r = 0; r < batch * channels; r++)
        for (let t = 0; t < length; t++) {
          for (let j = 0; j <= Math.min(t, kernelLength - 1); j++) {
            expected[r * length + t] =
              (expected[r * length + t] ?? 0) +
              (kernel[(r % channels) * kernelLength + j] ?? NaN) * (input[r * length + t - j] ?? NaN);
          }
        }
      expectClose(
        `${batch} ${channels} ${length} ${kernelLength}`,
        convolve({ batch, channels, length, kernelLength }, input, kernel),
        expected,
      );
    }
  });

  it("gives the gradients of input and kernel", () => {
    for (const [batch, channels, length, kernelLength] of shapes) {
      const input = numbers(batch * channels * length);
      const gradient = numbers(input.length);
      const kernel = numbers(channels * kernelLength);
      const ofInput = new Float64Array(input.length);
      const ofKernel = new Float64Array(kernel.length);
      for (let r = 0; r < batch * channels; r++)
        for (let t = 0; t < length; t++)
          for (let j = 0; j <= Math.min(t, kernelLength - 1); j++) {
            const [at, from, of] = [r * length + t, r * length + t - j, (r % channels) * kernelLength + j];
            ofInput[from] = (ofInput[from] ?? 0) + (kernel[of] ?? NaN) * (gradient[at] ?? NaN);
            ofKernel[of] = (ofKernel[of] ?? 0) + (input[from] ?? NaN) * (gradient[at] ?? NaN);
          }
      const label = `${batch} ${channels} ${length} ${kernelLength}`;
      const reversed = { batch, channels, length, reverseInput: true, reverseOutput: true };
      expectClose(`input ${label}`, convolve({ ...reversed, kernelLength }, gradient, kernel), ofInput);
      expectClose(
        `kernel ${label}`,
        convolve(
          { ...reversed, kernelLength: length, batchedKernel: true, sumBatch: true, outputLength: kernelLength },
          gradient,
          input,
        ),
        ofKernel,
      );
    }
  });

  it("gives zeros for an empty kernel", () => {
    expect(
      convolve({ batch: 1, channels: 2, length: 5, kernelLength: 0 }, numbers(10), new Float32Array()).every(
        (x) => x === 0,
      ),
    ).toBe(true);
  });
});
