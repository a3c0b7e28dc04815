import { describe, expect, test } from "vitest";
import {
  argmax,
  cast,
  cpu,
  expm1OverX,
  gelu,
  geluTanh,
  grad,
  logSoftmax,
  logSumExp,
  power,
  realize,
  reference,
  silu,
  softmax,
  sum,
  tensor,
  type Tensor,
} from "../index.js";

describe.each([
  ["reference", reference()],
  ["cpu", cpu()],
] as const)("on %s", (_, device) => {
  const values = async (x: Tensor): Promise<number[]> => [...(await (await realize(x, { device })).data())];

  test("argmax: the first NaN is the largest, as in numpy; the first of equals", async () => {
    expect(await values(argmax(tensor([1, NaN, 2]), 0))).toEqual([1]);
    expect(await values(argmax(tensor([NaN, NaN]), 0))).toEqual([0]);
    expect(await values(argmax(tensor([-Infinity, -Infinity]), 0))).toEqual([0]);
    expect(await values(argmax(tensor([1, Infinity, Infinity]), 0))).toEqual([1]);
    expect(await values(argmax(tensor([3, 3, 1]), 0))).toEqual([0]);
    expect(await values(argmax(tensor([[5], [NaN]]), 1))).toEqual([0, 0]);
    expect(await values(argmax(cast(tensor([1, NaN, 2]), "f16"), 0))).toEqual([1]);
    expect(await values(argmax(tensor([-3, 7, 7], undefined, "i32"), 0))).toEqual([1]);
    expect(await values(argmax(tensor([-(2 ** 31), -(2 ** 31)], undefined, "i32"), 0))).toEqual([0]);
  });

  test("logSumExp of infinities", async () => {
    const { NEGATIVE_INFINITY: low, POSITIVE_INFINITY: high } = Number;
    expect(await values(logSumExp(tensor([low, low]), 0))).toEqual([low]);
    expect(await values(logSumExp(tensor([high, 0]), 0))).toEqual([high]);
    expect(await values(logSumExp(tensor([high, low]), 0))).toEqual([high]);
    expect(await values(logSumExp(tensor([low, 0]), 0))).toEqual([0]);
    expect(await values(logSumExp(tensor([high, NaN]), 0))).toEqual([NaN]);
    expect(await values(logSumExp(tensor([[], []], [2, 0]), 1))).toEqual([low, low]);
    // as torch.logsumexp: nothing, or the share of the infinite ones
    expect(await values(grad((x: Tensor) => logSumExp(x, 0))(tensor([low, low])))).toEqual([0, 0]);
    expect(await values(grad((x: Tensor) => logSumExp(x, 0))(tensor([low, 0])))).toEqual([0, 1]);
  });

  test("softmax and its logarithm with infinities: what is -infinity weighs nothing", async () => {
    expect(await values(softmax(tensor([-Infinity, 0, 0])))).toEqual([0, 0.5, 0.5]);
    expect(await values(logSoftmax(tensor([-Infinity, 0])))).toEqual([-Infinity, 0]);
    // as numpy and PyTorch have it: nothing to share
    expect(await values(softmax(tensor([-Infinity, -Infinity])))).toEqual([NaN, NaN]);
    expect(await values(softmax(tensor([NaN, 0])))).toEqual([NaN, NaN]);
  });

  test("activations of large numbers: their slopes are 0 or 1, also where a square is beyond the largest f16 or f32 number", async () => {
    const slopes = (f: (x: Tensor) => Tensor, x: Tensor): Promise<number[]> =>
      values(grad((y: Tensor) => sum(cast(f(y), "f32")))(x));
    for (const f of [gelu, geluTanh, silu]) {
      const half = tensor([300, -300, 60000], [3], "f16");
      expect((await slopes(f, half)).map((x) => x + 0)).toEqual([1, 0, 1]);
      expect(await values(f(half))).toEqual([300, expect.closeTo(0), 60000]);
      expect((await slopes(f, tensor([1e20, -1e20, 3e38]))).map((x) => x + 0)).toEqual([1, 0, 1]);
    }
    // what is left of Phi is less than f16 has beside 1
    expect((await values(gelu(tensor([-3], [1], "f16"))))[0]).toBeCloseTo(-0.00405, 5);
    expect((await values(power(tensor([30000], [1], "f16"), 0.3)))[0]).toBeCloseTo(22.03, 1);
  });

  test("the gradient of expm1OverX does not cancel near 0", async () => {
    const exact = (x: number): number => {
      let [term, total] = [0.5, 0];
      // sum over n of (n + 1) x^n / (n + 2)!
      for (let n = 0; n < 60; n++) {
        total += term;
        term *= (x * (n + 2)) / ((n + 1) * (n + 3));
      }
      return total;
    };
    for (const x of [-1e-6, 1e-6, -1e-3, 1e-2, 0.3, -0.49, 0.51, -0.7, 1, -2, 5, 1e-30, 0, -0]) {
      const [g] = await values(grad((y: Tensor) => sum(expm1OverX(y)))(tensor([x])));
      expect(Math.abs(g! / exact(x) - 1), `at ${x}`).toBeLessThan(2e-6);
    }
    expect(await values(expm1OverX(tensor([-Infinity, Infinity, 0, NaN])))).toEqual([0, Infinity, 1, NaN]);
    expect(await values(grad((y: Tensor) => sum(expm1OverX(y)))(tensor([-200, NaN])))).toEqual([
      expect.closeTo(1 / 200 ** 2, 8),
      NaN,
    ]);
  });
});
