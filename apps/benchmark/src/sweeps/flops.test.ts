import { exp, key, linearScan, matmul, mul, normal, reshape, sequentialScan, sum, tensor, zeros } from "@seqmix/tensor";
import { fftConvKernel } from "@seqmix/fft";
import { expect, test } from "vitest";
import { flopsOf } from "./flops.js";

const x = zeros([4, 6]);

test("products, sums, functions and recurrences count as written; moves and random numbers do not", () => {
  expect(flopsOf([matmul(x, zeros([6, 5]))])).toBe(2 * 4 * 6 * 5);
  expect(flopsOf([sum(x, 1)])).toBe(24);
  expect(flopsOf([exp(x)])).toBe(24);
  expect(flopsOf([reshape(x, [24])])).toBe(0);
  expect(flopsOf([linearScan({ a: x, b: x, axis: 1 })])).toBe(48);
  expect(flopsOf([tensor([1, 2])])).toBe(0);
});

test("a recurrence that runs step by step counts its step for each position", () => {
  const [B, L, H] = [2, 7, 3];
  const { outputs } = sequentialScan({
    initial: zeros([B, H]),
    inputs: zeros([L, B, H]),
    constants: zeros([H, H]),
    step(h, input, weights) {
      const next = exp(mul(matmul(h, weights), input));
      return [next, next];
    },
  });
  expect(flopsOf([outputs])).toBe(L * (2 * B * H * H + 2 * B * H));
});

test("a call that is used twice counts once, and what made a given tensor does not", () => {
  const y = exp(x);
  expect(flopsOf([mul(y, y)])).toBe(48);
  const weights = mul(normal(key(0), [6, 5]), 2);
  expect(flopsOf([matmul(x, weights)], [weights])).toBe(2 * 4 * 6 * 5);
});

test("a kernel record counts what it declares, for the inputs that are given", () => {
  const [B, D, L] = [2, 3, 8];
  const u = zeros([B, D, L]);
  const k = zeros([D, L]);
  const { flops } = fftConvKernel.record.cost({ B, D, L, K: L }, undefined, new Set(["u", "k"]));
  expect(flops).toBeGreaterThan(0);
  expect(flopsOf([fftConvKernel({ u, k }, undefined).y])).toBe(flops);
});
