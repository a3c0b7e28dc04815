// Functions every array library has, against numbers of numpy's documentation and of hand.
import { describe, expect, test } from "vitest";
import {
  all,
  any,
  argsort,
  bernoulli,
  cast,
  categorical,
  ceil,
  cpu,
  einsum,
  eye,
  grad,
  key,
  keyTensor,
  min,
  mul,
  normal,
  prod,
  randint,
  randomBits,
  realize,
  reference,
  repeat,
  round,
  sign,
  sort,
  squeeze,
  sum,
  tensor,
  tile,
  topk,
  tril,
  triu,
  uniform,
  ShapeError,
  type Tensor,
} from "../index.js";

describe.each([
  ["reference", reference()],
  ["cpu", cpu()],
] as const)("on %s", (_, device) => {
  const values = async (x: Tensor): Promise<number[]> => [...(await (await realize(mul1(x), { device })).data())];
  // a view, or a leaf, becomes a tensor of its own
  const mul1 = (x: Tensor): Tensor => (x.dtype === "bool" ? x : mul(x, 1));
  const m = (): Tensor =>
    tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
  const i32 = (...list: number[]): Tensor => tensor(Int32Array.from(list));

  test("min, prod, any and all, of nothing too", async () => {
    expect(await values(min(m(), 0))).toEqual([1, 2, 3]);
    expect(await values(min(tensor([1, NaN])))).toEqual([NaN]);
    expect(await values(min(i32(5, -(2 ** 31), 2 ** 31 - 1)))).toEqual([-(2 ** 31)]);
    expect(await values(min(tensor([], [2, 0]), 1))).toEqual([Infinity, Infinity]);
    expect(await values(prod(m(), 1))).toEqual([6, 120]);
    expect(await values(prod(m()))).toEqual([720]);
    expect(await values(prod(tensor([], [2, 0]), 1, { keepDims: true }))).toEqual([1, 1]);
    expect(await values(prod(i32(3, -4, 5)))).toEqual([-60]);
    expect(await values(grad((x: Tensor) => prod(x))(tensor([2, 0, 3, 4, 5])))).toEqual([0, 120, 0, 0, 0]);
    expect(
      await values(
        any(
          tensor([
            [0, 0],
            [0, 2],
          ]),
          1,
        ),
      ),
    ).toEqual([0, 1]);
    expect(
      await values(
        all(
          tensor([
            [0, 1],
            [3, 2],
          ]),
          1,
        ),
      ),
    ).toEqual([0, 1]);
    expect(await values(any(tensor([], [1, 0]), 1))).toEqual([0]);
    expect(await values(all(tensor([], [1, 0]), 1))).toEqual([1]);
  });

  test("squeeze, tile and repeat", async () => {
    expect(squeeze(tensor([[[1], [2]]])).shape).toEqual([2]);
    expect(squeeze(tensor([[[1], [2]]]), 0).shape).toEqual([2, 1]);
    expect(() => squeeze(m(), 0)).toThrow(ShapeError);
    expect(
      await values(
        tile(
          tensor([
            [1, 2],
            [3, 4],
          ]),
          [1, 2],
        ),
      ),
    ).toEqual([1, 2, 1, 2, 3, 4, 3, 4]);
    expect(await values(tile(tensor([1, 2]), [3]))).toEqual([1, 2, 1, 2, 1, 2]);
    expect(tile(m(), [0, 1]).shape).toEqual([0, 3]);
    expect(
      await values(
        repeat(
          tensor([
            [1, 2],
            [3, 4],
          ]),
          2,
          0,
        ),
      ),
    ).toEqual([1, 2, 1, 2, 3, 4, 3, 4]);
    expect(
      await values(
        repeat(
          tensor([
            [1, 2],
            [3, 4],
          ]),
          2,
          1,
        ),
      ),
    ).toEqual([1, 1, 2, 2, 3, 3, 4, 4]);
    expect(await values(grad((x: Tensor) => sum(mul(repeat(x, 2, 0), tensor([1, 2, 3, 4]))))(tensor([0, 0])))).toEqual([
      3, 7,
    ]);
  });

  test("round goes to the even of two, ceil up, sign to -1, 0 or 1", async () => {
    expect(await values(round(tensor([0.5, 1.5, 2.5, -0.5, -1.5, 0.49999997, 8388609, 1e30, Infinity, NaN])))).toEqual(
      [0, 2, 2, 0, -2, 0, 8388609, expect.closeTo(1e30, -24), Infinity, NaN].map((x) =>
        x === 0 ? expect.closeTo(0) : x,
      ),
    );
    expect(await values(ceil(tensor([1.2, -1.2, 3, Infinity, NaN])))).toEqual([2, -1, 3, Infinity, NaN]);
    expect(await values(sign(tensor([-3, 0, 7, -Infinity, NaN])))).toEqual([-1, 0, 1, -1, NaN]);
    expect(await values(sign(i32(-3, 0, 7)))).toEqual([-1, 0, 1]);
  });

  test("eye, tril and triu", async () => {
    expect(await values(eye(2, 3))).toEqual([1, 0, 0, 0, 1, 0]);
    const ones = tensor([
      [1, 2, 3],
      [4, 5, 6],
      [7, 8, 9],
    ]);
    expect(await values(tril(ones))).toEqual([1, 0, 0, 4, 5, 0, 7, 8, 9]);
    expect(await values(tril(ones, -1))).toEqual([0, 0, 0, 4, 0, 0, 7, 8, 0]);
    expect(await values(triu(ones, 1))).toEqual([0, 2, 3, 0, 0, 6, 0, 0, 0]);
  });

  test("sort, argsort and topk: stable, NaN last, either way", async () => {
    const x = (): Tensor => tensor([3, 1, NaN, 2, 1, -Infinity]);
    expect(await values(sort(x()))).toEqual([-Infinity, 1, 1, 2, 3, NaN]);
    expect(await values(argsort(x()))).toEqual([5, 1, 4, 3, 0, 2]);
    expect(await values(sort(x(), 0, { descending: true }))).toEqual([NaN, 3, 2, 1, 1, -Infinity]);
    expect(await values(argsort(x(), 0, { descending: true }))).toEqual([2, 0, 3, 1, 4, 5]);
    expect(
      await values(
        sort(
          tensor([
            [3, 1],
            [2, 5],
          ]),
          0,
        ),
      ),
    ).toEqual([2, 1, 3, 5]);
    expect(await values(sort(i32(5, -(2 ** 31), 2)))).toEqual([-(2 ** 31), 2, 5]);
    const { values: largest, indices } = topk(
      tensor([
        [1, 9, 3],
        [4, 4, 0],
      ]),
      2,
    );
    expect([await values(largest), await values(indices)]).toEqual([
      [9, 3, 4, 4],
      [1, 2, 0, 1],
    ]);
    expect(() => topk(m(), 4)).toThrow(/k from 0 to 3/);
    expect(await values(grad((y: Tensor) => sum(mul(sort(y), tensor([1, 10, 100]))))(tensor([5, 7, 6])))).toEqual([
      1, 100, 10,
    ]);
    expect(sort(tensor([], [2, 0])).shape).toEqual([2, 0]);
  });

  test("einsum with a letter an axis", async () => {
    const y = (): Tensor =>
      tensor([
        [1, 0],
        [0, 1],
        [2, 2],
      ]);
    expect(await values(einsum("ij,jk->ik", m(), y()))).toEqual([7, 8, 16, 17]);
    expect(await values(einsum("ij -> ji", m()))).toEqual([1, 4, 2, 5, 3, 6]);
    expect(await values(einsum("i,i->", tensor([1, 2]), tensor([3, 4])))).toEqual([11]);
    expect(await values(einsum("row column, column out -> row out", m(), y()))).toEqual([7, 8, 16, 17]);
    expect(await values(einsum("ab, ab -> ab", tensor([1, 2]), tensor([3, 4])))).toEqual([3, 8]);
    expect(() => einsum("ijk,jk->i", m(), y())).toThrow(ShapeError);
  });

  test("random numbers: whole ones, truth values, classes", async () => {
    const drawn = await values(randint(key(1), [4000], -2, 3));
    for (const k of [-2, -1, 0, 1, 2]) expect(drawn.filter((x) => x === k).length / 4000).toBeCloseTo(0.2, 1);
    expect(Math.min(...drawn)).toBe(-2);
    expect(Math.max(...drawn)).toBe(2);
    expect(() => randint(key(1), [2], 3, 3)).toThrow(RangeError);
    const truth = await values(bernoulli(key(2), 0.25, [4000]));
    expect(truth.reduce((a, b) => a + b) / 4000).toBeCloseTo(0.25, 1);
    const logits = tensor([0, Math.log(3), -Infinity]);
    const classes = await values(
      categorical(key(3), tensor(Array.from({ length: 2000 }, () => [0, Math.log(3), -Infinity]))),
    );
    expect(classes.filter((c) => c === 1).length / 2000).toBeCloseTo(0.75, 1);
    expect(classes).not.toContain(2);
    expect(await values(categorical(key(3), logits))).toHaveLength(1);
  });

  test("a key in a tensor gives the numbers of the key", async () => {
    for (const make of [
      (k: never) => randomBits(k, [7]),
      (k: never) => uniform(k, [2, 3]),
      (k: never) => normal(k, [5]),
      (k: never) => randint(k, [5], 0, 9),
    ])
      expect(await values(make(keyTensor(key(5)) as never))).toEqual(await values(make(key(5) as never)));
    expect(await values(cast(bernoulli(keyTensor(key(1)), 0.5, [4]), "f32"))).toEqual(
      await values(cast(bernoulli(key(1), 0.5, [4]), "f32")),
    );
  });
});
