import { expect, test } from "vitest";
import {
  add,
  cpu,
  defineKernel,
  explain,
  grad,
  linearScan,
  mul,
  realize,
  reference,
  sum,
  tensor,
  type Tensor,
} from "../index.js";

const product = defineKernel({
  name: "product",
  inputs: { x: "N", y: "N" },
  outputs: { z: "N" },
  reference: ({ x, y }: { readonly x: Tensor; readonly y: Tensor }) => ({ z: mul(x, mul(y, y)) }),
  cost: ({ N }) => ({ flops: 2 * N!, bytes: 12 * N! }),
  variants: [
    {
      device: "cpu",
      name: "never",
      supports: () => "expected a reason, got none",
      forward: () => {
        throw new Error("unreachable");
      },
    },
  ],
  samples: [],
});

test("without a variant the reference takes the call's place, values, gradients and second derivatives", async () => {
  for (const device of [reference(), cpu()]) {
    const [x, y] = [tensor([1, 2]), tensor([3, 4])];
    expect([...(await (await realize(product({ x, y }, undefined).z, { device })).data())]).toEqual([9, 32]);
    const f = (v: Tensor): Tensor => sum(product({ x, y: v }, undefined).z);
    expect([...(await (await realize(grad(f)(y), { device })).data())]).toEqual([6, 16]);
    expect([...(await (await realize(grad((v: Tensor) => sum(grad(f)(v)))(y), { device })).data())]).toEqual([2, 4]);
  }
});

test("one tensor given for two inputs counts as two", async () => {
  const g = grad((x: Tensor) => sum(product({ x, y: x }, undefined).z))(tensor([1, 2]));
  expect([...(await g.data())]).toEqual([3, 12]);
  const second = grad((x: Tensor) => sum(grad((v: Tensor) => sum(product({ x: v, y: v }, undefined).z))(x)))(
    tensor([1, 2]),
  );
  expect([...(await second.data())]).toEqual([6, 12]);
});

test("a table reaches variants, not the reference, and is made once an extent", async () => {
  let made = 0;
  const scaled = defineKernel({
    name: "scaled",
    inputs: { x: "N" },
    outputs: { y: "N" },
    variants: [],
    samples: [],
    constants: { table: { axes: "N", values: ({ N }) => (made++, new Float32Array(N!)) } },
    reference: (inputs: { readonly x: Tensor }) => {
      expect(Object.keys(inputs)).toEqual(["x"]);
      return { y: add(inputs.x, 1) };
    },
    cost: () => ({ flops: 0, bytes: 0 }),
  });
  for (const values of [
    [1, 2],
    [3, 4],
    [5, 6, 7],
  ])
    expect([...(await scaled({ x: tensor(values) }, undefined).y.data())]).toEqual(values.map((v) => v + 1));
  expect(made).toBe(2);
  expect(await explain(scaled({ x: tensor([1]) }, undefined).y)).toContain("add");
});

test("NaN in a scan stays NaN to the end", async () => {
  const b = new Float32Array(40 * 5);
  b[2] = NaN;
  const h = await linearScan({
    a: tensor(new Float32Array(200).fill(0.5), [40, 5]),
    b: tensor(b, [40, 5]),
    axis: 0,
  }).data();
  expect([h[39 * 5 + 1], h[39 * 5 + 2]]).toEqual([0, NaN]);
});
