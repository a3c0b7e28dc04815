// Sums by index: many result rows and few, skewed and even, the same at every run.
import {
  add,
  grad,
  gather,
  key,
  mul,
  normal,
  realize,
  reference,
  scatterAdd,
  sum,
  tensor,
  type Tensor,
} from "@seqmix/tensor";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "../testing/test-device.js";

const device = await testDevice({ poison: true });
const [half, small] = await Promise.all(
  [1 << 17, 1 << 14].map((bytes) => testDevice({ poison: true, limits: { maxStorageBufferBindingSize: bytes } })),
);
afterAll(() => Promise.all([device, half!, small!].map((each) => each.close())));

const indices = (count: number, of: (k: number) => number): (() => Tensor) => {
  const list = Int32Array.from({ length: count }, (_, k) => of(k));
  return () => tensor(list.slice());
};

test.each<[string, () => Tensor, number, number]>([
  ["8,000 into 8,000", indices(8000, (k) => (k * 7919) % 8000), 3, 8000],
  ["9,000 in three tiles, half of them one index", indices(9000, (k) => (k % 2 ? 0 : (k * 31) % 700)), 2, 700],
  ["all one index", indices(600, () => 299), 5, 300],
  ["outside, clamped", indices(300, (k) => k * 97 - 9000), 4, 400],
  ["one row", indices(1, () => 4), 70, 9],
  ["rows of one number", indices(2000, (k) => (k * k) % 513), 1, 513],
  ["few result rows", indices(5000, (k) => k % 3), 4, 3],
  ["rows of 300 numbers, more than a binding", indices(200, (k) => (k * 11) % 50), 300, 50],
])("%s", async (_, of, inner, size) => {
  const count = of().size;
  const run = (): Tensor => scatterAdd(normal(key(1), [count, inner]), of(), size);
  const expected = await (await realize(run(), { device: reference() })).data();
  const first = await (await realize(run(), { device })).data();
  const scale = Math.max(1, ...Array.from(expected, Math.abs));
  expected.forEach((value, k) => expect(Math.abs(first[k]! - value)).toBeLessThan(1e-5 * scale));
  for (const again of [device, half!]) expect(await (await realize(run(), { device: again })).data()).toEqual(first);
});

test("the gradient of a table larger than a binding", async () => {
  const tokens = indices(40, (k) => (k * 37) % 90);
  const loss = (table: Tensor): Tensor => sum(mul(gather(table, tokens(), 0), add(normal(key(2), [40, 100]), 1)));
  const run = (): Tensor => grad(loss)(normal(key(3), [90, 100]));
  const expected = await (await realize(run(), { device })).data();
  expect(await (await realize(run(), { device: small! })).data()).toEqual(expected);
});
