import { exp, key, normal, realize, reference, uniform, type Tensor } from "@seqmix/tensor";
import { expect, test } from "vitest";
import { windowedLinearScan } from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize({ x }, { device: oracle });
  return [...(await x.data())];
};

test.each([1, 3, 9, 20])("a state with a window of %d is that of the last elements alone", async (window) => {
  const [L, N] = [9, 2];
  const [logDecay, b] = [uniform(key(1), [L, N], -1, 0), normal(key(2), [L, N])];
  const actual = await values(windowedLinearScan({ logDecay, b, axis: 0, window }));
  const [a, drive] = [await values(exp(logDecay)), await values(b)];
  for (let t = 0; t < L; t++)
    for (let n = 0; n < N; n++) {
      let h = 0;
      for (let s = Math.max(0, t - window + 1); s <= t; s++) h = a[s * N + n]! * h + drive[s * N + n]!;
      expect(actual[t * N + n], `element ${t}, ${n}`).toBeCloseTo(h, 10);
    }
});

test("a window of nothing is refused", () => {
  expect(() =>
    windowedLinearScan({ logDecay: normal(key(1), [2]), b: normal(key(2), [2]), axis: 0, window: 0 }),
  ).toThrow(/at least 1, got 0/);
});
