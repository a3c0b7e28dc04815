// Row kernels, reductions with what is computed from them along the rows, against float64 and the same graph unfused.
import {
  add,
  div,
  exp,
  explain,
  grad,
  key,
  less,
  log,
  logSoftmax,
  logSumExp,
  max,
  mean,
  mul,
  normal,
  realize,
  reference,
  reshape,
  softmax,
  sqrt,
  sub,
  sum,
  tensor,
  transpose,
  uniform,
  where,
  type Tensor,
} from "@seqmix/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { testDevice } from "../testing/test-device.js";

const device = await testDevice({ poison: true });
afterAll(() => device.close());

const standardize = (x: Tensor, axes: number | number[] = -1): Tensor => {
  const centered = sub(x, mean(x, axes, { keepDims: true }));
  return div(centered, sqrt(add(mean(mul(centered, centered), axes, { keepDims: true }), 1e-5)));
};

const cases: Record<string, () => Tensor> = {
  "softmax of one column": () => softmax(normal(key(1), [5, 1])),
  "softmax of 3 columns, more rows than a workgroup": () => softmax(normal(key(1), [201, 3])),
  "softmax of 4 columns": () => softmax(normal(key(1), [65, 4])),
  "softmax of 4096 columns": () => softmax(normal(key(1), [3, 4096])),
  "softmax of 5000 columns": () => softmax(normal(key(1), [2, 5000])),
  "softmax of 10001 columns": () => softmax(normal(key(1), [2, 10_001])),
  "softmax of 12288 columns": () => softmax(normal(key(1), [2, 12_288])),
  "softmax down 70 rows": () => softmax(normal(key(1), [70, 33]), 0),
  "softmax down 5000 rows": () => softmax(normal(key(1), [5000, 9]), 0),
  "softmax over a middle axis": () => softmax(normal(key(1), [3, 70, 12]), 1),
  logSoftmax: () => logSoftmax(normal(key(1), [7, 260])),
  logSumExp: () => logSumExp(normal(key(1), [7, 260]), -1),
  "over two axes apart": () => standardize(normal(key(2), [6, 5, 16]), [0, 2]),
  "over two axes together": () => standardize(normal(key(2), [5, 6, 8]), [1, 2]),
  "in groups of channels": () =>
    mul(reshape(standardize(reshape(normal(key(2), [3, 5, 32]), [3, 5, 4, 8])), [3, 5, 32]), normal(key(3), [32])),
  "rows of a transposed tensor": () => softmax(transpose(normal(key(2), [40, 24]))),
  "a masked row": () => softmax(where(less(uniform(key(4), [9, 64]), 0.5), normal(key(2), [9, 64]), -Infinity)),
  "gradient of softmax": () =>
    grad((x: Tensor) => sum(mul(softmax(x), normal(key(3), [5, 132]))))(normal(key(2), [5, 132])),
  "gradient of a norm along 5000": () =>
    grad((x: Tensor) => sum(mul(standardize(x), normal(key(3), [2, 5000]))))(normal(key(2), [2, 5000])),
  "gradient of a norm": () =>
    grad((x: Tensor) => sum(mul(standardize(x), normal(key(3), [6, 68]))))(normal(key(2), [6, 68])),
  "gradient of a norm down columns": () =>
    grad((x: Tensor) => sum(mul(standardize(x, 0), normal(key(3), [68, 12]))))(normal(key(2), [68, 12])),
};

describe.each(Object.entries(cases))("%s", (_, build) => {
  test("fused = one kernel per op = float64", async () => {
    const expected = await realize(build(), { device: reference() });
    for (const fuse of [true, false]) await close(await realize(build(), { device, fuse }), expected);
  });
});

async function close(actual: Tensor, expected: Tensor): Promise<void> {
  const [a, e] = [await actual.data(), await expected.data()];
  expect(a.length).toBe(e.length);
  let scale = 0;
  let worst = 0;
  for (const v of e) scale = Math.max(scale, Math.abs(v));
  for (const [k, v] of a.entries()) worst = Math.max(worst, Math.abs(v - e[k]!));
  expect(worst / scale).toBeLessThan(2e-5);
}

test("a row without any element left is NaN, others are not touched", async () => {
  const x = where(less(reshape(uniform(key(4), [4]), [4, 1]), 2), normal(key(2), [4, 8]), 0);
  const y = await realize(softmax(where(less(reshape(normal(key(9), [4]), [4, 1]), 0), -Infinity, x)), { device });
  const expected = await realize(softmax(where(less(reshape(normal(key(9), [4]), [4, 1]), 0), -Infinity, x)), {
    device: reference(),
  });
  expect(Array.from(await y.data(), Number.isNaN)).toEqual(Array.from(await expected.data(), Number.isNaN));
});

test("several results of one row kernel, a value a row and a value a point", async () => {
  const build = (): Tensor[] => {
    const x = add(normal(key(5), [6, 48]), mul(normal(key(6), [6, 48]), 0.5));
    const m = max(x, -1, { keepDims: true });
    const s = sum(exp(sub(x, m)), -1, { keepDims: true });
    return [x, add(log(s), m), div(exp(sub(x, m)), s)];
  };
  const expected = await realize(build(), { device: reference() });
  const actual = await realize(build(), { device });
  for (const [k, y] of actual.entries()) await close(y, expected[k]!);
});

test("the gradient of a norm is one kernel of one pass", async () => {
  const x = tensor(new Float32Array(256), [8, 32]);
  const steps = (await explain(grad((y: Tensor) => sum(mul(standardize(y), y)))(x), { device })).split("\n");
  expect(steps).toHaveLength(1);
  expect(steps[0]).not.toContain("passes");
});
