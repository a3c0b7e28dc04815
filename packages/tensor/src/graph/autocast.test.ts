import { describe, expect, test } from "vitest";
import {
  autocast,
  cast,
  checkpoint,
  cpu,
  explain,
  gather,
  key,
  leavesOf,
  matmul,
  mul,
  normal,
  realize,
  reference,
  softmax,
  sum,
  tanh,
  tensor,
  transpose,
  valueAndGrad,
  type Tensor,
  type Tree,
} from "../index.js";
import { graphOf } from "../plan/signature.js";

type Layer = { readonly w: Tensor; readonly v: Tensor };
const params = (): Layer => ({ w: normal(key(1), [6, 8]), v: normal(key(2), [8, 5]) });
const data = (): Tensor => normal(key(3), [7, 6]);
const loss = ({ w, v }: Layer, x: Tensor): Tensor => sum(mul(softmax(matmul(tanh(matmul(x, w)), v), -1), 0.5 * 3.7));

/** The same with every copy written out, gradients by hand. */
const values = async (tree: Tree): Promise<number[]> => {
  await realize(tree, { device: reference() });
  return (await Promise.all(leavesOf(tree).map((x) => x.data()))).flatMap((each) => [...each]);
};
const products = (tree: Tree): string[] =>
  graphOf(leavesOf(tree))
    .key.split("\n")
    .filter((line) => line.startsWith("matmul"));

describe("autocast", () => {
  test("products are those of f16 copies, and nothing else is", async () => {
    const half = (x: Tensor): Tensor => cast(x, "f16");
    const { w, v } = params();
    const byHand = sum(mul(softmax(matmul(half(tanh(matmul(half(data()), half(w)))), half(v)), -1), 0.5 * 3.7));
    expect(await values(autocast(loss)(params(), data()))).toEqual(await values(byHand));
  });

  test("gradients are those of f16 copies of operands and cotangents, in f32", async () => {
    const [x, w] = [data(), normal(key(4), [6, 5])];
    const g = normal(key(5), [7, 5]);
    const [, dw] = valueAndGrad(autocast((p: Tensor, y: Tensor) => sum(mul(matmul(y, p), g))))(w, x);
    expect(dw.dtype).toBe("f32");
    const half = (y: Tensor): Tensor => cast(y, "f16");
    expect(await values(dw)).toEqual(await values(matmul(transpose(half(data())), half(normal(key(5), [7, 5])))));
  });

  test("a checkpoint's second forward pass is in f16 too", async () => {
    const plain = valueAndGrad(autocast((p: Layer, x: Tensor) => loss(p, x)))(params(), data());
    const again = valueAndGrad(autocast((p: Layer, x: Tensor) => checkpoint((q: Layer) => loss(q, x))(p)))(
      params(),
      data(),
    );
    expect(products(again).length).toBeGreaterThan(products(plain).length);
    for (const line of products(again)) expect(line).toContain("cotangents:f16");
    expect(await values(again)).toEqual(await values(plain));
  });

  test("weights kept in f16 are read as they are", async () => {
    const device = cpu();
    const stored = await realize(cast(normal(key(1), [6, 8]), "f16"), { device });
    const x = await realize(normal(key(3), [7, 6]), { device });
    const text = await explain(autocast((w: Tensor, y: Tensor) => matmul(y, cast(w, "f32")))(stored, x), { device });
    // The copy of x, and the product.
    expect(text.split("\n")).toHaveLength(2);
    await device.close();
  });

  test("rows and transposed copies of weights kept in f16 are read as they are", async () => {
    const device = cpu();
    const stored = await realize(cast(normal(key(1), [6, 8]), "f16"), { device });
    const rows = await realize(tensor(Int32Array.from([3, 0])), { device });
    const tied = (w: Tensor, which: Tensor): Tensor => {
      const table = cast(w, "f32");
      return matmul(mul(gather(table, which, 0), 0.5), transpose(table));
    };
    const text = await explain(autocast(tied)(stored, rows), { device });
    // The rows, and the product.
    expect(text.split("\n")).toHaveLength(2);
    const half = (y: Tensor): Tensor => cast(y, "f16");
    const byHand = matmul(half(mul(cast(gather(stored, rows, 0), "f32"), 0.5)), transpose(stored));
    const found = await realize([autocast(tied)(stored, rows), byHand], { device });
    expect([...(await found[0]!.data())]).toEqual([...(await found[1]!.data())]);
    await device.close();
  });
});
