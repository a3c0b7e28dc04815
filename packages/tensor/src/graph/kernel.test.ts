import { expect, test } from "vitest";
import {
  cast,
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

test("what a record is composed of takes f16 inputs as f32, and their gradients are f16", async () => {
  const square = defineKernel({
    name: "square",
    inputs: { x: "N" },
    halves: ["x"],
    outputs: { y: "N" },
    variants: [],
    samples: [],
    reference: ({ x }: { readonly x: Tensor }) => {
      expect(x.dtype).toBe("f32");
      return { y: mul(x, x) };
    },
    cost: () => ({ flops: 0, bytes: 0 }),
  });
  const x = cast(tensor([1.5, 2]), "f16");
  const g = grad((v: Tensor) => sum(square({ x: v }, undefined).y))(x);
  expect(g.dtype).toBe("f16");
  expect([...(await g.data())]).toEqual([3, 4]);
  expect(() => product({ x, y: tensor([1, 2]) }, undefined)).toThrow("expected f32 for x, got f16 [2]");
});

test("explain says why a variant does not run", async () => {
  expect(await explain(product({ x: tensor([1]), y: tensor([1]) }, undefined).z, { device: cpu() })).toContain(
    "# product is composed of ops: never: expected a reason, got none",
  );
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
