import { describe, expect, test } from "vitest";
import {
  add,
  arange,
  broadcastTo,
  cast,
  cpu,
  div,
  exp,
  explain,
  grad,
  key,
  less,
  logSoftmax,
  logSumExp,
  max,
  mean,
  mul,
  normal,
  pick,
  realize,
  reference,
  reshape,
  silu,
  softmax,
  sqrt,
  sub,
  sum,
  tensor,
  transpose,
  uniform,
  where,
  type Tensor,
} from "../index.js";

const standardize = (x: Tensor, axes: number | number[] = -1): Tensor => {
  const centered = sub(x, mean(x, axes, { keepDims: true }));
  return div(centered, sqrt(add(mean(mul(centered, centered), axes, { keepDims: true }), 1e-5)));
};
const rms = (x: Tensor): Tensor => div(x, sqrt(add(mean(mul(x, x), -1, { keepDims: true }), 1e-5)));
/** Values from the host: what makes them is no part of the plan. */
const given = (shape: readonly number[], seed = 1): Tensor => {
  const size = shape.reduce((a, b) => a * b, 1);
  return tensor(
    Float32Array.from({ length: size }, (_, k) => Math.sin(seed * (k + 1)) * 3),
    shape,
  );
};
const gradient = (f: (x: Tensor) => Tensor, shape: readonly number[]) => (): Tensor =>
  grad((x: Tensor) => sum(mul(f(x), given(f(x).shape, 2))))(given(shape));

/** Each is one kernel. */
const single: Record<string, () => Tensor> = {
  softmax: () => softmax(given([5, 37])),
  "softmax of many rows": () => softmax(given([1300, 20])),
  "softmax over a middle axis": () => softmax(given([3, 7, 5]), 1),
  "softmax of one row": () => softmax(given([37])),
  "masked softmax": () => softmax(where(less(reshape(arange(9), [9, 1]), arange(9)), -Infinity, given([2, 9, 9]))),
  logSoftmax: () => logSoftmax(given([5, 37])),
  logSumExp: () => logSumExp(given([5, 37]), -1, { keepDims: true }),
  "root mean square": () => mul(rms(given([5, 37])), given([37], 3)),
  "root mean square behind a residual": () => rms(add(given([5, 37]), silu(given([5, 37], 2)))),
  standardize: () => standardize(given([5, 37])),
  "standardize over two axes": () => standardize(given([5, 3, 8]), [0, 2]),
  "standardize groups of channels": () =>
    mul(reshape(standardize(reshape(given([3, 24]), [3, 4, 6])), [3, 24]), given([24], 3)),
  "softmax of a transposed tensor": () => softmax(transpose(given([6, 9]))),
  "gradient of softmax": gradient((x) => softmax(x), [5, 37]),
  "gradient of logSoftmax": gradient((x) => logSoftmax(x), [5, 37]),
  "gradient of logSumExp": gradient((x) => logSumExp(x, -1), [5, 37]),
  "gradient of the root mean square": gradient(rms, [5, 37]),
  "gradient of standardize": gradient((x) => standardize(x), [5, 37]),
  "gradient of cross entropy": () =>
    grad((x: Tensor) => mul(sum(pick(logSoftmax(x), cast(mul(given([6], 2), 0), "i32"))), -1))(given([6, 11])),
};

describe.each(Object.entries(single))("%s", (_, build) => {
  test("is one kernel, and agrees with one kernel per op and with float64", async () => {
    expect((await explain(build(), { device: cpu() })).split("\n")).toHaveLength(1);
    await agree(build);
  });
});

/** Row kernels with something beside them. */
const several: Record<string, () => Tensor> = {
  "reductions of rows and of columns": () => add(softmax(given([6, 5]), 0), softmax(softmax(given([6, 5]), 1), 0)),
  "a normalization of a normalization": () => standardize(rms(softmax(given([6, 50])))),
  "a row that needs its neighbour's sum": () => {
    const s = sum(given([4, 6]), 1, { keepDims: true });
    return sub(given([4, 6]), broadcastTo(reshape(transpose(reshape(s, [2, 2])), [4, 1]), [4, 6]));
  },
  "a square matrix divided by its rows' sums along its columns": () =>
    div(exp(given([8, 8])), sum(exp(given([8, 8])), 1)),
  "softmax of random bits": () => softmax(normal(key(4), [9, 30])),
  "softmax of long columns": () => softmax(given([300, 7]), 0),
  "softmax of few long rows": () => softmax(given([2, 20_000])),
  "a scale and a maximum": () =>
    mul(div(given([7, 9]), max(given([7, 9]), 1, { keepDims: true })), uniform(key(3), [7, 9])),
};
test.each(Object.entries(several))("%s", async (_, build) => agree(build));

test("a row that is masked whole is NaN as without fusion", async () => {
  const build = (): Tensor => softmax(where(less(reshape(arange(4), [4, 1]), 2), -Infinity, given([4, 6])));
  const [fused, single] = [
    await realize(build(), { device: cpu() }),
    await realize(build(), { device: cpu(), fuse: false }),
  ];
  expect(Array.from(await fused.data(), Number.isNaN)).toEqual(Array.from(await single.data(), Number.isNaN));
});

async function agree(build: () => Tensor): Promise<void> {
  const expected = await (await realize(build(), { device: reference() })).data();
  for (const fuse of [true, false]) {
    const actual = await (await realize(build(), { device: cpu(), fuse })).data();
    expect(actual.length).toBe(expected.length);
    let scale = 0;
    let worst = 0;
    for (const e of expected) scale = Math.max(scale, Math.abs(e));
    for (const [k, v] of actual.entries()) worst = Math.max(worst, Math.abs(v - expected[k]!));
    expect(worst / scale).toBeLessThan(1e-5);
  }
}
