import { parameterCount } from "@seqmix/mixer";
import { checkMixer } from "@seqmix/testing";
import { cpu, key, realize, reference, type Tensor } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { lru, lruSystem, type LruConfig } from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};
const tiny: LruConfig = { ...lru.config, dModel: 2, dState: 3, rMin: 0.4, rMax: 0.9, chunkSize: 2 };

describe("lru", () => {
  test("keeps the laws of a mixer", async () => {
    expect((await checkMixer(lru, tiny, cpu(), { length: 5 })).modes).toEqual(["parallel", "chunked", "recurrent"]);
  });

  test("eigenvalues start uniform on the ring, with input scales that keep the state's size", async () => {
    const { seq } = lru.init({ ...tiny, dState: 1000, maxPhase: 1 }, key(1));
    const { a } = lruSystem(seq);
    const [re, im, gamma] = [await values(a.re), await values(a.im), await values(seq.gamma_log)];
    const squares = re.map((x, k) => x ** 2 + im[k]! ** 2);
    expect(Math.min(...squares)).toBeGreaterThan(0.4 ** 2 - 1e-6);
    expect(Math.max(...squares)).toBeLessThan(0.9 ** 2 + 1e-6);
    expect(squares.reduce((x, y) => x + y) / 1000).toBeCloseTo((0.4 ** 2 + 0.9 ** 2) / 2, 1);
    squares.forEach((square, k) => expect(Math.exp(2 * gamma[k]!)).toBeCloseTo(1 - square, 5));
    const phases = re.map((x, k) => Math.atan2(im[k]!, x));
    expect(Math.min(...phases)).toBeGreaterThan(0);
    expect(Math.max(...phases)).toBeLessThan(1);
  });

  test("counts its parameters", () => {
    expect(parameterCount(lru.init({ ...lru.config, dModel: 5, dState: 7 }, key(1)))).toBe(3 * 7 + 4 * 35 + 5 + 2 * 30);
    expect(() => lru.init({ ...tiny, rMin: 1, rMax: 0.5 }, key(1))).toThrow("rMin < rMax");
  });
});
