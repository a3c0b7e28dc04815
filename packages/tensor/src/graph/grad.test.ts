import { expect, test } from "vitest";
import {
  add,
  checkpoint,
  cpu,
  explain,
  full,
  grad,
  key,
  matmul,
  max,
  maximum,
  minimum,
  mul,
  normal,
  realize,
  reference,
  sin,
  square,
  stopGradient,
  sum,
  tensor,
  valueAndGrad,
  valueAndGradAux,
  vjp,
  type Tensor,
} from "../index.js";

const values = async (x: Tensor): Promise<number[]> => [...(await x.data())];

test("only the argument's path counts: a tensor used outside is a constant", async () => {
  const x = tensor([2]);
  expect(await values(grad((y: Tensor) => sum(mul(y, x)))(x))).toEqual([2]);
});

test("parameters made of each other are independent", async () => {
  const p = tensor([3]);
  const q = mul(p, 2);
  const { a, b } = grad(({ a, b }: { a: Tensor; b: Tensor }) => sum(mul(a, b)))({ a: p, b: q });
  expect([await values(a), await values(b)]).toEqual([[6], [3]]);
});

test("second derivatives are gradients of gradients", async () => {
  const f = (x: Tensor): Tensor => sum(sin(x));
  const g = grad((x: Tensor) => sum(mul(grad(f)(x), grad(f)(x))))(tensor([0.3]));
  expect((await values(g))[0]).toBeCloseTo(-2 * Math.cos(0.3) * Math.sin(0.3), 6);
});

test("what the value does not depend on has a zero gradient, integers too", async () => {
  const { x, i } = grad(({ x }: { x: Tensor; i: Tensor }) => sum(stopGradient(square(x))))({
    x: tensor([1, 2]),
    i: tensor(new Int32Array(2)),
  });
  expect([await values(x), await values(i)]).toEqual([
    [0, 0],
    [0, 0],
  ]);
});

test("at a tie the cotangent is shared: halves for minimum and maximum, equal parts for max", async () => {
  const x = tensor([1, 3, 3, 0]);
  expect(await values(grad((y: Tensor) => max(y))(x))).toEqual([0, 0.5, 0.5, 0]);
  expect(await values(grad((y: Tensor) => sum(maximum(y, tensor([1, 2, 4, 0]))))(x))).toEqual([0.5, 1, 0, 0.5]);
  expect(await values(grad((y: Tensor) => sum(minimum(y, 3)))(x))).toEqual([1, 0.5, 0.5, 1]);
});

test("vjp pulls cotangents back, aux comes along", async () => {
  const [y, pull] = vjp((x: Tensor) => ({ square: square(x) }), tensor([1, 2, 3]));
  expect(await values(y.square)).toEqual([1, 4, 9]);
  expect(await values(pull({ square: tensor([1, 10, 100]) }))).toEqual([2, 40, 600]);
  const [value, gradient, aux] = valueAndGradAux((x: Tensor) => [sum(x), { twice: mul(x, 2) }] as const)(
    tensor([1, 2]),
  );
  expect([await value.item(), await values(gradient), await values(aux.twice)]).toEqual([3, [1, 1], [2, 4]]);
});

test("a checkpoint keeps fewer values for the backward pass and gives the same gradient", async () => {
  const device = cpu({ threads: 1 });
  const W = await realize(normal(key(2), [8, 8], 0, 0.3), { device });
  const layer = (x: Tensor): Tensor => sin(matmul(sin(x), W));
  const deep =
    (wrap: (f: (x: Tensor) => Tensor) => (x: Tensor) => Tensor) =>
    (x: Tensor): Tensor =>
      sum([1, 2, 3, 4].reduce((y) => wrap(layer)(y), x));
  const x = await realize(normal(key(1), [8, 8]), { device });
  const plain = valueAndGrad(deep((f) => f))(x);
  const saved = valueAndGrad(deep(checkpoint))(x);
  const products = async (tree: readonly Tensor[]): Promise<number> =>
    (await explain(tree)).split("\n").filter((line) => line.startsWith("matmul")).length;
  expect([await products(plain), await products(saved)]).toEqual([8, 12]);
  await realize([...plain, ...saved]);
  const [a, b] = [await values(plain[1]), await values(saved[1])];
  a.forEach((value, k) => expect(b[k]).toBeCloseTo(value, 5));
  expect(await saved[0].item()).toBeCloseTo(await plain[0].item(), 4);
  await device.close();
});

test("a checkpoint with several results runs on every device where a result needs only some of the arguments", async () => {
  const twice = checkpoint(({ x, y }: { x: Tensor; y: Tensor }) => ({ a: mul(x, 2), b: mul(x, y) }));
  const f = (x: Tensor): Tensor => {
    const { a } = twice({ x, y: add(x, 1) });
    return sum(mul(a, twice({ x: a, y: x }).b));
  };
  for (const device of [reference(), cpu()]) {
    const g = grad(f)(tensor([3]));
    await realize(g, { device });
    expect([...(await g.data())]).toEqual([12 * 9]);
  }
});

test("a deep chain is no deep recursion", async () => {
  let y: Tensor = tensor([1]);
  const x = y;
  const g = grad((start: Tensor) => {
    y = start;
    for (let k = 0; k < 20_000; k++) y = add(y, full([1], 0));
    return sum(y);
  })(x);
  expect(await values(g)).toEqual([1]);
});
