import { checkKernel } from "@seqmix/testing";
import { cpu } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { alibiSlope } from "./options.js";
import { scaledDotProductAttention } from "./scaled-dot-product.js";

describe("scaledDotProductAttention", () => {
  test("the cpu program is the definition, in values and gradients", async () => {
    const report = await checkKernel(scaledDotProductAttention, cpu(), {
      variant: "wasm simd",
      lengths: [1, 2, 31, 33, 100],
    });
    expect(report.cases).toBeGreaterThan(30);
  });
});

test("slopes of ALiBi are the authors', for any number of heads", () => {
  const ofHeads = (H: number): number[] =>
    Array.from({ length: H }, (_, h) => Math.round(1e9 * Math.log2(alibiSlope(h, H))) / 1e9);
  expect(ofHeads(8)).toEqual([-1, -2, -3, -4, -5, -6, -7, -8]);
  // Press et al., attention_with_linear_biases, get_slopes(12): those of 8 heads, then every other one of 16.
  expect(ofHeads(12)).toEqual([-1, -2, -3, -4, -5, -6, -7, -8, -0.5, -1.5, -2.5, -3.5]);
  expect(ofHeads(3)).toEqual([-4, -8, -2]);
  expect(ofHeads(1)).toEqual([-8]);
});
