import { setFlagsFromString } from "node:v8";
import { afterAll, expect, test } from "vitest";
import {
  abs,
  cpu,
  erf,
  exp,
  key,
  log,
  matmul,
  normal,
  realize,
  reference,
  sin,
  tanh,
  tensor,
  type Tensor,
} from "../../../index.js";
import { hasRelaxedSimd } from "./multiply-add.js";

// Node 20 has relaxed SIMD behind a switch; nothing in this process has asked for it yet.
setFlagsFromString("--experimental-wasm-relaxed-simd");

const one = cpu({ threads: 1 });
const two = cpu({ threads: 2 });
const oracle = reference();
afterAll(async () => {
  await one.close();
  await two.close();
});

const shapes = [[1001], [67, 129], [129, 45], [1, 300], [300, 70], [3, 40, 33], [33, 5]] as const;
/** The same f32 numbers for every device. */
const inputs = await Promise.all(
  shapes.map(async (shape, k) => tensor(Float32Array.from(await normal(key(k), shape).data()), shape)),
);

const [x, ...factors] = inputs as [Tensor, ...Tensor[]];
/** Products of several forms, and functions made of polynomials. */
const graph = (f: (x: Tensor) => Tensor = (operand) => operand): Tensor[] => [
  ...[0, 2, 4].map((k) => matmul(f(factors[k]!), f(factors[k + 1]!))),
  ...[exp(x), sin(x), erf(x), tanh(x), log(abs(x))].map(f),
];
/** Terms of each sum; of a function, what its last bits are allowed to be off. */
const TERMS = [129, 300, 33, 8, 8, 8, 8, 8];

const valuesOn = async (device: typeof one, fuse = true): Promise<number[][]> => {
  const results = await realize(graph(), { device, fuse });
  return Promise.all(results.map(async (x) => [...(await x.data())]));
};

test("with relaxed SIMD results are as exact as without, and the same at every run, fused or not, on any number of threads", async () => {
  expect(hasRelaxedSimd()).toBe(true);
  const seen = await valuesOn(one);
  const expected = await valuesOn(oracle);
  const sizes = await Promise.all(graph(abs).map(async (size) => (await realize(size, { device: oracle })).data()));
  // A sum of n products is off by n roundings of the sum of their sizes at most.
  seen.forEach((values, k) =>
    values.forEach((value, at) =>
      expect(Math.abs(value - expected[k]![at]!), `${k}, ${at}`).toBeLessThanOrEqual(
        TERMS[k]! * 2 ** -24 * (sizes[k]![at]! + 0.01),
      ),
    ),
  );
  expect(await valuesOn(one)).toEqual(seen);
  expect(await valuesOn(two)).toEqual(seen);
  expect(await valuesOn(one, false)).toEqual(seen);
});
