import { expect, test } from "vitest";
import {
  add,
  arange,
  broadcastTo,
  cast,
  checkpoint,
  concat,
  cpu,
  cumsum,
  div,
  einsum,
  exp,
  explain,
  flip,
  gather,
  grad,
  key,
  leavesOf,
  less,
  linearScan,
  logSoftmax,
  matmul,
  max,
  mean,
  mul,
  normal,
  pad,
  pick,
  realize,
  reference,
  reshape,
  sigmoid,
  silu,
  sliceAxis,
  softmax,
  softplus,
  split,
  sqrt,
  sub,
  sum,
  tensor,
  transpose,
  uniform,
  valueAndGrad,
  where,
  type Tensor,
  type Tree,
} from "../index.js";

/** Graphs that give a planner trouble, from random inputs. */
const graphs: Record<string, () => Tree> = {
  softmax: () => softmax(normal(key(1), [3, 4, 7]), -1),
  "softmax over a middle axis": () => softmax(normal(key(1), [3, 4, 7]), 1),
  "norm with a tail behind the mean": () => {
    const x = normal(key(2), [5, 9]);
    return mul(x, div(1, sqrt(add(mean(mul(x, x), -1, { keepDims: true }), 1e-5))));
  },
  "ratio of two sums": () => div(sum(normal(key(3), [4, 5]), 1), add(sum(mul(normal(key(4), [4, 5]), 2), 1), 10)),
  "reshape of a transposed product": () => reshape(transpose(exp(normal(key(5), [4, 6]))), [3, 8]),
  "split heads and back": () => {
    const x = normal(key(6), [2, 5, 12]);
    const heads = transpose(reshape(x, [2, 5, 3, 4]), [0, 2, 1, 3]);
    return reshape(transpose(mul(heads, 2), [0, 2, 1, 3]), [2, 5, 12]);
  },
  "causal shift": () => {
    const x = silu(normal(key(7), [2, 6, 3]));
    return add(sliceAxis(pad(x, [0, 2, 0], [0, 0, 0]), 1, 0, 6), mul(x, x));
  },
  "several results from one product": () => {
    const x = normal(key(8), [4, 8]);
    const y = sigmoid(x);
    return [mul(y, x), sub(1, y), sum(y, 0), sum(mul(y, y), 1)];
  },
  "same root twice and a leaf": () => {
    const x = tensor([1, 2, 3]);
    const y = exp(x);
    return [y, reshape(y, [3, 1]), x, reshape(x, [1, 3])];
  },
  "concat of products along two axes": () =>
    concat([concat([exp(normal(key(9), [2, 3])), normal(key(10), [2, 1])], 1), normal(key(11), [3, 4])], 0),
  "flip of a concat": () => flip(concat([arange(3), arange(2)], 0), 0),
  embedding: () => sum(gather(normal(key(12), [7, 4]), cast(mul(uniform(key(13), [2, 5]), 7), "i32"), 0), 1),
  "cross entropy": () =>
    mean(mul(pick(logSoftmax(normal(key(14), [2, 5, 7])), cast(mul(uniform(key(15), [2, 5]), 7), "i32")), -1)),
  attention: () => {
    const [q, k, v] = split(normal(key(16), [2, 6, 24]), [8, 8, 8]).map((x) =>
      transpose(reshape(x, [2, 6, 2, 4]), [0, 2, 1, 3]),
    ) as [Tensor, Tensor, Tensor];
    const scores = matmul(q, transpose(k));
    const causal = less(reshape(arange(6), [6, 1]), arange(6));
    return reshape(transpose(matmul(softmax(where(causal, -1e9, scores)), v), [0, 2, 1, 3]), [2, 6, 8]);
  },
  "selective scan": () => {
    const u = normal(key(17), [2, 6, 4]);
    const delta = softplus(normal(key(18), [2, 6, 4]));
    const A = mul(exp(normal(key(19), [4, 3])), -1);
    const [B, C] = [normal(key(20), [2, 6, 3]), normal(key(21), [2, 6, 3])];
    const wide = (x: Tensor): Tensor => broadcastTo(reshape(x, [2, 6, 4, 1]), [2, 6, 4, 3]);
    const h = linearScan({
      a: exp(mul(wide(delta), A)),
      b: mul(wide(mul(delta, u)), reshape(B, [2, 6, 1, 3])),
      axis: 1,
    });
    return sum(mul(h, reshape(C, [2, 6, 1, 3])), -1);
  },
  einsum: () =>
    einsum("B L D, D N, B N -> B L N", normal(key(22), [2, 5, 4]), normal(key(23), [4, 3]), normal(key(24), [2, 3])),
  "empty axis": () => sum(exp(normal(key(25), [3, 0])), 1),
  "max and cumsum": () => cumsum(sub(normal(key(26), [3, 9]), max(normal(key(27), [3, 9]), 1, { keepDims: true })), 1),
  "random bits twice": () => {
    const x = uniform(key(28), [11]);
    return [x, mul(x, x), sum(x)];
  },
};

const weighted = (tree: Tree): Tensor =>
  leavesOf(tree)
    .map((x, k) => sum(mul(cast(x, "f32"), normal(key(100 + k), x.shape))))
    .reduce(add);

for (const [name, build] of Object.entries(graphs))
  test(`${name}: fused = one kernel per op = float64`, async () => {
    const expected = leavesOf(await realize(build(), { device: reference() }));
    for (const fuse of [true, false]) {
      const actual = leavesOf(await realize(build(), { device: cpu(), fuse }));
      for (const [k, x] of actual.entries()) await close(x, expected[k]!);
    }
  });

const W = (): { a: Tensor; b: Tensor; c: Tensor } => ({
  a: normal(key(31), [4, 6]),
  b: normal(key(32), [6]),
  c: normal(key(33), [6, 3]),
});
const network = ({ a, b, c }: { a: Tensor; b: Tensor; c: Tensor }): Tensor => {
  const x = normal(key(34), [5, 4]);
  const h = silu(add(matmul(x, a), b));
  return weighted([logSoftmax(matmul(h, c)), softmax(h, 0)]);
};

test("gradients: fused = one kernel per op = float64, and a checkpoint changes nothing", async () => {
  const [value, expected] = valueAndGrad(network)(W());
  await realize([value, expected], { device: reference() });
  for (const fuse of [true, false])
    for (const f of [network, checkpoint(network)]) {
      const [v, g] = valueAndGrad(f)(W());
      await realize([v, g], { device: cpu(), fuse });
      await close(v, value);
      for (const [k, x] of leavesOf(g).entries()) await close(x, leavesOf(expected)[k]!);
    }
});

test("the gradient of every graph agrees with float64", async () => {
  const f = (x: Tensor): Tensor => {
    const heads = transpose(reshape(x, [2, 5, 3, 4]), [0, 2, 1, 3]);
    const p = softmax(matmul(heads, transpose(heads)));
    const y = reshape(transpose(matmul(p, silu(heads)), [0, 2, 1, 3]), [2, 5, 12]);
    const shifted = sliceAxis(pad(y, [0, 1, 0], [0, 0, 0]), 1, 0, 5);
    const h = linearScan({ a: sigmoid(shifted), b: flip(y, 1), axis: 1 });
    return weighted([h, cumsum(y, 2), max(y, 1), concat([y, h], 1)]);
  };
  const expected = grad(f)(normal(key(6), [2, 5, 12]));
  await realize(expected, { device: reference() });
  for (const fuse of [true, false]) {
    const actual = grad(f)(normal(key(6), [2, 5, 12]));
    await realize(actual, { device: cpu(), fuse });
    await close(actual, expected);
  }
});

test("an elementwise chain is one kernel", async () => {
  const [x, y, z] = [tensor(new Float32Array(8)), tensor(new Float32Array(8)), tensor(new Float32Array(8))];
  expect((await explain(add(mul(silu(x), y), z))).split("\n")).toHaveLength(1);
});

async function close(actual: Tensor, expected: Tensor): Promise<void> {
  expect(actual.shape).toEqual(expected.shape);
  const [a, e] = [await actual.data(), await expected.data()];
  const scale = Math.max(1, ...Array.from(e, Math.abs));
  for (let i = 0; i < a.length; i++) expect(Math.abs(a[i]! - e[i]!)).toBeLessThanOrEqual(2e-5 * scale);
}
