import { expect, test } from "vitest";
import {
  add,
  cpu,
  cumsum,
  grad,
  matmul,
  mul,
  normal,
  key,
  reference,
  realize,
  sum,
  tensor,
  to,
  softmax,
} from "../index.js";

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

test("what a console shows: shape, type, where the values are, and those at hand", async () => {
  const shown = (x: object): string =>
    (x as unknown as Record<symbol, () => string>)[Symbol.for("nodejs.util.inspect.custom")]!();
  const x = tensor([
    [1, 2.5],
    [3, 1 / 3],
  ]);
  expect(shown(x)).toBe("Tensor f32 [2,2] of host data: [[1, 2.5], [3, 0.33333]]");
  const y = add(x, 1);
  expect(shown(y)).toBe("Tensor f32 [2,2], not computed yet: add of [2,2] and [2,2]");
  await realize(y, { device: reference() });
  expect(shown(y)).toBe("Tensor f32 [2,2] on reference: [[2, 3.5], [4, 1.3333]]");
  expect(shown(tensor(new Float32Array(100)))).toBe("Tensor f32 [100] of host data: [0, 0, 0, ..., 0, 0, 0]");
  y.dispose();
  expect(shown(y)).toBe("Tensor f32 [2,2], disposed");
});

test("to another device and back, the same values; on it already, the same tensor", async () => {
  const [a, b] = [cpu({ threads: 1 }), reference()];
  const tree = { x: await realize(tensor([1, 2]), { device: a }), n: tensor([3], undefined, "i32") };
  const there = await to(tree, b);
  expect([[...(await there.x.data())], [...(await there.n.data())]]).toEqual([[1, 2], [3]]);
  expect(await (await realize(mul(there.x, 2), { device: b })).data()).toEqual(Float64Array.of(2, 4));
  expect((await to(tree, a)).x).toBe(tree.x);
  expect([...(await (await to(mul(tree.x, 3), b)).data())]).toEqual([3, 6]);
  await a.close();
});

test("values read have the methods of arrays, whatever their class", async () => {
  const data = await tensor([3, 1, 2]).data();
  expect(data.reduce((a, b) => a + b, 0)).toBe(6);
  expect(data.map((x) => 2 * x).join()).toBe("6,2,4");
  expect(Array.from(data.slice(1))).toEqual([1, 2]);
});
