import { expandDims, key, normal, realize, reference, sliceAxis, tensor, zeros, type Tensor } from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { companionKernel } from "@seqmix/lti";
import { closedLoop, normalized, openLoop, RELEASED, sharedCompanion, type ClosedLoopParameters } from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};
const close = (actual: readonly number[], expected: readonly number[], digits: number): void => {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, digits));
};
const draw = (name: number, K = 2, N = 3): Tensor => normal(key(name), [K, N]);
const models = { a: normalized(draw(1), 1), b: draw(2), c: draw(3) };

describe("companion models", () => {
  test("a model for several channels is as many models of one", async () => {
    const shared = sharedCompanion(models, 6);
    const kernel = await values(shared.kernel(5));
    const one = await values(companionKernel({ ...models, c: expandDims(models.c, 0) }, 5));
    close(
      kernel,
      [0, 0, 0, 1, 1, 1].flatMap((k) => one.slice(5 * k, 5 * k + 5)),
      9,
    );
    const [y] = shared.step(normal(key(4), [1, 6]), normal(key(5), [1, 6, 3]));
    expect(y.shape).toEqual([1, 1, 6]);
    expect(() => sharedCompanion(models, 5)).toThrow("divide the 5 channels");
  });

  test("a kernel is autoregressive with the last column (Cayley and Hamilton)", async () => {
    const kernel = await values(sharedCompanion(models, 2).kernel(12));
    const a = await values(models.a);
    for (let row = 0; row < 2; row++)
      for (let l = 0; l + 3 < 12; l++) {
        const predicted = [0, 1, 2].reduce((sum, i) => sum + a[row * 3 + i]! * kernel[row * 12 + l + i]!, 0);
        expect(kernel[row * 12 + l + 3]).toBeCloseTo(predicted, 9);
      }
  });

  test("with a column of norm 1 no tap exceeds |b|_1 |c|_max, also after 3000 positions", async () => {
    const [a, b, c] = [normalized(draw(6, 1, 16), 1), draw(7, 1, 16), draw(8, 1, 16)];
    const kernel = await values(sharedCompanion({ a, b, c }, 1).kernel(3000));
    const bound =
      (await values(b)).reduce((sum, value) => sum + Math.abs(value), 0) * Math.max(...(await values(c)).map(Math.abs));
    expect(Math.max(...kernel.map(Math.abs))).toBeLessThan(bound);
  });

  test("norms of order 1, 2 and 3; columns near zero stay", async () => {
    const x = tensor([3, -4, 0, 0, 1, -1], [2, 3]);
    close(await values(normalized(x, 1)), [3 / 7, -4 / 7, 0, 0, 0.5, -0.5], 9);
    close(await values(normalized(x, 2)), [0.6, -0.8, 0, 0, Math.SQRT1_2, -Math.SQRT1_2], 9);
    const cube = Math.cbrt(91);
    close((await values(normalized(x, 3))).slice(0, 2), [3 / cube, -4 / cube], 7);
    const small = tensor([1e-5, 0, 0, 0, 1e-5, 0], [2, 3]);
    close(await values(normalized(small, 1)), await values(small), 12);
    expect(() => normalized(x, 0.5)).toThrow("whole order");
  });
});

describe("the closed loop", () => {
  const params: ClosedLoopParameters = { a: draw(1), b: draw(2), c: draw(3), k: draw(4) };
  const u = normal(key(9), [1, 6, 4]);

  test.each([0, 1])("is the open loop on its own predictions, norm of order %i", async (normOrder) => {
    let fed = u;
    const { y, nextInputs } = closedLoop(params, u, 4, { normOrder });
    for (let step = 0; step < 4; step++) {
      const open = openLoop(params, fed, { normOrder });
      const last = (x: Tensor): Tensor => sliceAxis(x, 1, 5 + step, 6 + step);
      close(await values(sliceAxis(y, 1, step, step + 1)), await values(last(open.y)), 7);
      const next = await values(last(open.nextInputs));
      close(await values(sliceAxis(nextInputs, 1, step, step + 1)), next, 7);
      fed = tensor([...(await values(fed)), ...next], [1, 7 + step, 4]);
    }
  });

  test("as released it is not: the state is driven by another input map", async () => {
    const first = await values(sliceAxis(closedLoop(params, u, 1, RELEASED).y, 1, 0, 1));
    const last = await values(sliceAxis(openLoop(params, u, RELEASED).y, 1, 5, 6));
    expect(Math.max(...first.map((value, i) => Math.abs(value - last[i]!)))).toBeGreaterThan(1e-2);
  });

  test("refuses a horizon of nothing and channels that do not fit", () => {
    expect(() => closedLoop(params, u, 0)).toThrow("horizon of at least 1");
    expect(() => closedLoop(params, zeros([1, 6, 3]), 1)).toThrow("divide the 3 channels");
  });
});
