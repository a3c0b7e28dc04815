// Reductions across, shared by threads: sums over the positions of a batch, and what is read four at a time.
import {
  add,
  cast,
  explain,
  key,
  matmul,
  max,
  mul,
  normal,
  pad,
  realize,
  reference,
  reshape,
  sigmoid,
  sliceAxis,
  sum,
  transpose,
  type Tensor,
} from "@seqmix/tensor";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "../testing/test-device.js";

const device = await testDevice({ poison: true, explainCode: true });
const oracle = reference();
afterAll(async () => {
  await device.close();
  await oracle.close();
});

const draw = (seed: number, shape: readonly number[]): Tensor => normal(key(seed), shape);

/** The largest difference as a share of the largest number. */
async function errorOf(make: () => Tensor): Promise<number> {
  const [found, expected] = [make(), make()];
  await realize(found, { device });
  await realize(expected, { device: oracle });
  const [mine, theirs] = [await found.data(), await expected.data()];
  const largest = theirs.reduce((most: number, value: number) => Math.max(most, Math.abs(value)), 0);
  return (
    theirs.reduce((worst: number, value: number, k: number) => Math.max(worst, Math.abs(value - mine[k]!)), 0) / largest
  );
}

const inParts = /part = thread/;

test.each([
  ["fewer outputs than a workgroup has", () => sum(draw(1, [7, 40, 20]), [0, 1])],
  ["in parts, of a length that they do not divide", () => sum(mul(draw(1, [3, 1001, 70]), 0.5), [0, 1])],
  ["the largest", () => max(draw(1, [500, 100]), 0)],
  ["in the middle of two axes", () => sum(draw(1, [5, 67, 36]), 1)],
  ["of f16", () => sum(cast(cast(draw(1, [130, 33]), "f16"), "f32"), 0)],
] as const)("sums across: %s", async (_, make) => {
  const given = make();
  expect(await explain(given, { device })).toMatch(inParts);
  expect(await errorOf(make)).toBeLessThan(2e-6);
});

/** A causal convolution of each channel of x [B L D] with its own four taps [D 4]. */
function filtered(taps: Tensor, x: Tensor): Tensor {
  const [, L, D] = x.shape as [number, number, number];
  const padded = pad(x, [0, 3, 0], [0, 0, 0]);
  return [0, 1, 2, 3]
    .map((w) => mul(sliceAxis(padded, 1, w, w + L), reshape(sliceAxis(taps, 1, w, w + 1), [D])))
    .reduce((y, term) => add(y, term));
}
const convolved = (x: Tensor): Tensor => filtered(draw(8, [x.shape[2]!, 4]), x);

test("the taps of a filter are read four at a time", async () => {
  const [taps, x] = await realize([draw(8, [48, 4]), draw(1, [2, 70, 48])] as const, { device });
  const text = await explain(filtered(taps, x), { device });
  expect(text).toMatch(/x\d+\[i2\]\[3\]/);
  expect(await errorOf(() => convolved(draw(1, [2, 70, 48])))).toBeLessThan(1e-6);
  expect(await errorOf(() => convolved(draw(1, [1, 9, 6])))).toBeLessThan(1e-6);
});

test("behind a product too, where four neighbours are stored at once", async () => {
  const make = (D: number) => (): Tensor => {
    const [weight, x] = [draw(4, [12, D]), draw(5, [2, 30, D])];
    return mul(matmul(draw(3, [2, 30, 12]), weight), sigmoid(convolved(x)));
  };
  expect(await errorOf(make(16))).toBeLessThan(1e-6);
  expect(await errorOf(make(18))).toBeLessThan(1e-6);
  // What lies across is read element by element.
  expect(
    await errorOf(() => mul(matmul(draw(3, [16, 12]), draw(4, [12, 16])), transpose(draw(5, [16, 16])))),
  ).toBeLessThan(1e-6);
});
