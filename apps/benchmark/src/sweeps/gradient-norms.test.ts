import { full, linearScan, reference, type Tensor } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { gradientNorms, vanillaRnn, type GradientSubject } from "./gradient-norms.js";
import { gradientNormsPage } from "../report/gradient-norms-page.js";

const measured = (subject: GradientSubject, length: number) =>
  gradientNorms(subject, { batch: 2, length, channels: 64, seed: 1, device: reference() });

describe("gradient norms by distance", () => {
  test("of a linear recurrence are powers of its decay", async () => {
    const decay: GradientSubject = {
      name: "decay",
      map: (x: Tensor) => linearScan({ a: full(x.shape, 0.75), b: x, axis: 1 }),
    };
    const norms = await measured(decay, 20);
    norms.forEach((norm, k) => expect(norm).toBeCloseTo(0.75 ** k, 12));
  });

  test("of an ordinary RNN vanish with a small recurrent weight and explode with a large one", async () => {
    const [small, large] = [await measured(vanillaRnn(0.5), 48), await measured(vanillaRnn(8), 48)];
    expect(small[40]).toBeLessThan(1e-6);
    expect(large[40]).toBeGreaterThan(1e6);
  });

  test("the page draws every curve, also one that reaches zero or infinity", () => {
    const page = gradientNormsPage(
      [
        { name: "a<b", norms: [1, 0, 0] },
        { name: "c", norms: [1, 1e30, Infinity] },
      ],
      { batch: 1, length: 3, channels: 1, seed: 0 },
    );
    expect(page).toContain("a&lt;b");
    expect(page.match(/<path d="M[^"]+"/g)?.length).toBeGreaterThanOrEqual(2);
    expect(page).not.toContain("NaN");
  });
});
