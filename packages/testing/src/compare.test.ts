import {
  abs,
  add,
  exp,
  key,
  mul,
  opTable,
  reference,
  stopGradient,
  sum,
  tensor,
  type Device,
  type SampledOp,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { assertClose, checkDerivatives, checkOp, maxError, randomValues, toleranceOfScale } from "./index.js";

describe("maxError", () => {
  test("finds the element with the largest share of its tolerance", () => {
    expect(maxError([1, 101, 0.1], [1, 100, 0], { relative: 0.1, absolute: 0.01 })).toEqual({
      ratio: 10,
      index: 2,
      actual: 0.1,
      expected: 0,
      error: 0.1,
      allowed: 0.01,
    });
    expect(maxError([], []).ratio).toBe(0);
    expect(maxError([3], [3]).ratio).toBe(0);
    expect(maxError([3 + 1e-12], [3]).ratio).toBe(Infinity);
  });

  test("NaN and infinities agree with themselves only", () => {
    expect(maxError([NaN, Infinity, -Infinity], [NaN, Infinity, -Infinity], { relative: 1 }).ratio).toBe(0);
    for (const [a, e] of [
      [NaN, 1],
      [1, NaN],
      [Infinity, 1],
      [1, Infinity],
      [Infinity, -Infinity],
    ] as const)
      expect(maxError([a], [e], { relative: 1, absolute: 1 }).ratio).toBe(Infinity);
  });
});

test("assertClose names the worst element by its position", () => {
  expect(() => assertClose("a law", [1, 2, 3, 4, 5, 7], [1, 2, 3, 4, 5, 6], { absolute: 0.5 }, [2, 3])).toThrow(
    "a law: expected 6 at [1,2] of [2,3], got 7, off by 1.00 where 0.500 is allowed (1 of 6 elements disagree)",
  );
  expect(() => assertClose("a law", [1], [1, 2])).toThrow("a law: expected 2 values, got 1");
  expect(assertClose("a law", [1, 2.25], [1, 2], { absolute: 0.5 }).ratio).toBe(0.5);
  expect(toleranceOfScale([1, -4, Infinity], 0.5)).toEqual({ relative: 0.5, absolute: 2 });
});

describe("finite differences", () => {
  const x = randomValues(key(1), [2, 3]);

  test("agree with right gradients, kinks aside", async () => {
    await expect(
      checkDerivatives({ law: "f", inputs: [x], names: ["x"], loss: ([v]) => sum(mul(exp(v!), abs(v!))) }),
    ).resolves.toBeUndefined();
  });

  test("find a gradient that is wrong at one element", async () => {
    const pick = tensor([
      [0, 0, 0],
      [0, 1, 0],
    ]);
    const loss = ([v]: readonly Tensor[]): Tensor => sum(add(exp(v!), mul(pick, stopGradient(mul(v!, v!)))));
    await expect(checkDerivatives({ law: "f", inputs: [x], names: ["x"], loss })).rejects.toThrow(
      /f: gradient = finite differences: for x \[2,3\].*worst at element 4: expected/,
    );
  });
});

describe("checkOp finds", () => {
  const row = (name: string): SampledOp => opTable.find((op) => op.name === name)!;

  test("a device that is wrong", async () => {
    const right = reference();
    const skewed: Device = {
      ...right,
      name: "skewed",
      download: async (buffer) =>
        (await right.download(buffer)).map((v: number, k: number) => (k === 1 ? v * (1 + 1e-6) : v)),
    };
    await expect(checkOp(row("exp"), skewed)).rejects.toThrow(
      /op exp, sample f32 \[5\]: plain, fused skewed = reference: expected .* at \[1\] of \[5\]/,
    );
  });

  test("a planner that is wrong", async () => {
    const right = reference();
    const zeroed = (buffer: Awaited<ReturnType<Device["run"]>>[number]): typeof buffer =>
      right.upload(new Float64Array(buffer.size), buffer.dtype);
    const device: Device = {
      ...right,
      name: "unfused-only",
      run: async (roots, options) =>
        (await right.run(roots, options)).map((buffer) => (options.fuse ? buffer : zeroed(buffer))),
    };
    await expect(checkOp(row("add"), device)).rejects.toThrow(/unfused unfused-only = reference/);
  });

  test("a gradient rule that is wrong", async () => {
    const wrong: SampledOp = {
      ...row("exp"),
      samples: [{ name: "cut", inputs: [{ shape: [4] }], apply: (v) => add(exp(stopGradient(v!)), v!) }],
    };
    await expect(checkOp(wrong, reference())).rejects.toThrow(
      /op exp, sample cut: gradient = finite differences: for input 0 \[4\]/,
    );
  });
});
