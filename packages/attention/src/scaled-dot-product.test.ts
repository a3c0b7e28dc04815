import { checkKernel } from "@seqmix/testing";
import { cpu, reference } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { scaledDotProductAttention } from "./scaled-dot-product.js";

describe("scaledDotProductAttention", () => {
  test("the cpu program is the definition, in values and gradients", async () => {
    const report = await checkKernel(scaledDotProductAttention, cpu(), {
      variant: "wasm simd",
      lengths: [1, 2, 31, 33, 100],
    });
    expect(report.cases).toBeGreaterThan(30);
  });
  void reference;
});
