import { expect, test } from "vitest";
import { add, checkpoint, grad, leavesOf, mul, namedLeaves, sub, sum, tensor, vjp, type Tensor } from "../index.js";

const values = async (x: Tensor): Promise<number[]> => [...(await x.data())];

test("leaves come in the order the tree is walked, whatever the keys look like", async () => {
  const tree = { b: tensor([1]), 2: { x: tensor([2]) }, list: [{ x: tensor([3]) }, tensor([4]), [tensor([5])]] };
  expect(await Promise.all(leavesOf([{ x: tensor([1]) }, tensor([2])]).map((x) => x.item()))).toEqual([1, 2]);
  expect(await Promise.all(leavesOf(tree).map((x) => x.item()))).toEqual([2, 1, 3, 4, 5]);
});

test("keys with dots are no paths: no leaf is lost, and names that would be equal are refused", async () => {
  const tree = { "a.b": tensor([1]), a: { b: tensor([2]) } };
  expect(await Promise.all(leavesOf(tree).map((x) => x.item()))).toEqual([1, 2]);
  const g = grad(({ "a.b": x, a: { b: y } }: typeof tree) => add(sum(mul(x, 2)), sum(mul(y, 3))))(tree);
  expect([await values(g["a.b"]), await values(g.a.b)]).toEqual([[2], [3]]);
  expect(() => namedLeaves(tree)).toThrow(/"a\.b"/);
});

test("gradients of a tree of an object and a tensor are each its own", async () => {
  type Pair = readonly [{ readonly x: Tensor }, Tensor];
  const f = ([p, q]: Pair): Tensor => add(sum(mul(p.x, 2)), sum(mul(q, 3)));
  const [p, q] = grad(f)([{ x: tensor([1, 1]) }, tensor([1, 1])]);
  expect([await values(p.x), await values(q)]).toEqual([
    [2, 2],
    [3, 3],
  ]);
  const [, pull] = vjp(([a, b]: Pair) => [{ y: mul(a.x, 2) }, mul(b, 3)] as const, [{ x: tensor([1]) }, tensor([1])]);
  const back = pull([{ y: tensor([1]) }, tensor([1])]);
  expect([await values(back[0].x), await values(back[1])]).toEqual([[2], [3]]);
});

test("a checkpoint takes its arguments in their places", async () => {
  const difference = checkpoint(([p, q]: readonly [{ readonly x: Tensor }, Tensor]) => sub(p.x, q));
  expect(await values(difference([{ x: tensor([5]) }, tensor([1])]))).toEqual([4]);
});

test("vjp matches cotangents by name, whatever order their keys have", async () => {
  const [, pull] = vjp((x: Tensor) => ({ twice: mul(x, 2), thrice: mul(x, 3) }), tensor([1]));
  expect(await values(pull({ thrice: tensor([10]), twice: tensor([1]) }))).toEqual([32]);
  expect(() => pull({ thrice: tensor([10]), twice: tensor([1, 2]) })).toThrow(/"twice"/);
});
