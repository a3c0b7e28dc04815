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
