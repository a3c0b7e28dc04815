import { expect, test } from "vitest";
import type { LoopKernel, Scalar } from "./loop.js";
import { simplifyLoop } from "./simplify.js";

const load: Scalar = { op: "load", dtype: "f32", input: 0, index: { offset: -1, coefficients: [1, 4] } };
const guarded = (extents: readonly [number, number], lo: number): LoopKernel => ({
  extents,
  reduceExtents: [],
  inputs: [{ dtype: "f32", size: 4 }],
  reductions: [],
  outputs: [
    {
      dtype: "f32",
      value: { op: "guard", dtype: "f32", conditions: [{ index: load.index, lo, hi: 4 }], value: load, fill: 7 },
    },
  ],
});

test("a condition on axes of one position alone is decided: what never happens is not read", () => {
  const [never] = simplifyLoop(guarded([1, 1], 0)).outputs;
  expect(never!.value).toEqual({ op: "constant", dtype: "f32", value: 7 });
  const [always] = simplifyLoop(guarded([1, 1], -1)).outputs;
  expect(always!.value).toEqual({ op: "load", dtype: "f32", input: 0, index: { offset: -1, coefficients: [] } });
  const [sometimes] = simplifyLoop(guarded([2, 1], 0)).outputs;
  expect(sometimes!.value).toMatchObject({ op: "guard", conditions: [{ index: { coefficients: [1] } }] });
});
