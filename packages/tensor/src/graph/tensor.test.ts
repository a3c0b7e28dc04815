import { expect, test } from "vitest";
import { add, cumsum, grad, matmul, mul, normal, key, reference, realize, sum, tensor, softmax } from "../index.js";

test("a lazy expression is computed when it is read", async () => {
  const y = add(mul(tensor([1, 2, 3]), 2), 1);
  expect([...(await y.data())]).toEqual([3, 5, 7]);
});

test("the gradient of a quadratic form", async () => {
  const A = tensor([
    [2, 1],
    [1, 3],
  ]);
  const x = tensor([[1], [2]]);
  const g = grad((v: typeof x) => sum(mul(v, matmul(A, v))))(x);
  expect([...(await g.data())]).toEqual([8, 14]);
});

test("softmax sums to one and cumsum runs", async () => {
  const device = reference();
  const x = normal(key(1), [3, 5]);
  const total = sum(softmax(x), 1);
  await realize({ total }, { device });
  for (const value of await total.data()) expect(value).toBeCloseTo(1, 12);
  expect([...(await cumsum(tensor([1, 2, 3]), 0).data())]).toEqual([1, 3, 6]);
});

test("data() has one class of array by element type, before and after a tensor is realized", async () => {
  const x = tensor([0.1]);
  const before = await x.data();
  expect(before).toBeInstanceOf(Float32Array);
  expect([...before]).toEqual([Math.fround(0.1)]);
  await realize(x);
  expect(await x.data()).toEqual(before);
  expect(await tensor(Float64Array.of(0.1)).data()).toEqual(Float32Array.of(0.1));
  expect(await tensor([0.1], undefined, "f16").data()).toEqual(Float32Array.of(0.0999755859375));
  expect(await tensor([1], undefined, "i32").data()).toBeInstanceOf(Int32Array);
  expect(await tensor([1], undefined, "bool").data()).toBeInstanceOf(Uint8Array);
  const y = tensor([0.1]);
  await realize(y, { device: reference() });
  expect(await y.data()).toEqual(Float64Array.of(0.1));
});
