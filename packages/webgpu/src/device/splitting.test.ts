// Tensors larger than one binding: a device that pretends bindings of 16 KiB computes what the whole one does.
import {
  add,
  arange,
  broadcastTo,
  cast,
  concat,
  cumsum,
  dispose,
  exp,
  explain,
  flip,
  gather,
  grad,
  key,
  leavesOf,
  less,
  LimitError,
  linearScan,
  matmul,
  max,
  mul,
  pad,
  realize,
  reshape,
  sequentialScan,
  sigmoid,
  sliceAxis,
  softmax,
  sum,
  tensor,
  transpose,
  uniform,
  where,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "../testing/test-device.js";

const BINDING = 16384;
const whole = await testDevice();
const small = await testDevice({ poison: true, limits: { maxStorageBufferBindingSize: BINDING } });
afterAll(() => Promise.all([whole.close(), small.close()]));

let seed = 0;
/** Numbers from -1 to 1 without a pattern. */
const values = (...shape: number[]): Tensor =>
  tensor(
    Float32Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      () => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 30 - 1,
    ),
    shape,
  );
const indices = (count: number, below: number): Tensor =>
  tensor(Int32Array.from({ length: count }, (_, k) => (k * 7919) % below));

const x = values(100, 90); // 9000 elements, 2.2 bindings; rows of 90 start at no multiple of 256 bytes
const wide = values(3, 5000); // a row is larger than a binding

const graphs: Record<string, () => Tree> = {
  elementwise: () => [add(mul(x, 2), exp(x)), less(wide, 0), cast(mul(wide, 10), "i32")],
  "broadcast of rows and columns": () => [
    add(x, values(90)),
    mul(x, values(100, 1)),
    broadcastTo(values(1, 70), [80, 70]),
  ],
  "little of much": () => [add(sliceAxis(x, 0, 95, 100), 1), sum(sliceAxis(x, 0, 90, 100))],
  "transposed and flipped": () => [add(transpose(x), mul(transpose(x), 2)), flip(wide, [0, 1])],
  "concat and pad": () => [
    concat([x, flip(x, 0), mul(x, 3)], 0),
    pad(wide, [1, 2], [0, 3]),
    sliceAxis(pad(x, [3, 0], [0, 0]), 0, 0, 100),
  ],
  "positions and random bits": () => [
    where(less(reshape(arange(9000), [100, 90]), 7000), x, 0),
    uniform(key(5), [9001]),
  ],
  "sums along rows, columns and all": () => [sum(x, 1), sum(x, 0), sum(x), max(wide, 1), sum(values(30_000))],
  "a reduction with a large result": () => sum(values(50, 3, 120), 1),
  "softmax along rows and columns": () => [softmax(x, 1), softmax(x, 0), softmax(wide, 1)],
  gather: () => [gather(x, indices(60, 100), 0), gather(transpose(x), indices(300, 100), 1)],
  "matmul along rows, batches and the shared axis": () => [
    matmul(values(200, 30), values(30, 33)),
    matmul(values(6, 64, 12), values(6, 12, 16)),
    matmul(values(6, 64, 12), values(12, 16)),
    matmul(transpose(values(300, 16)), values(300, 32)),
  ],
  "matmul with weights [O I] that are larger than a binding": () => [
    // sums of 300 products: smaller numbers, as their rounding is compared with 1
    matmul(mul(values(2, 300), 0.1), transpose(values(130, 300))),
    matmul(mul(values(2, 300), 0.1), values(300, 200)),
    matmul(mul(values(1, 300), 0.1), transpose(values(97, 300))),
    matmul(values(3, 70), transpose(values(301, 70))),
    matmul(values(2, 3, 30), transpose(values(2, 201, 30))),
    matmul(values(2, 5), values(5, 9000)),
    matmul(values(1, 5), values(5, 9000)),
  ],
  "a tied head and its gradient": () => {
    const tokens = tensor(Int32Array.of(3, 0, 402, 3), [4]);
    const loss = (table: Tensor): Tensor => {
      const x = gather(table, tokens, 0);
      return sum(mul(softmax(matmul(x, transpose(table)), 1), values(4, 403)));
    };
    return grad(loss)(values(403, 21));
  },
  "cumsum and scan between rows": () => [
    cumsum(x, 1),
    cumsum(values(1200, 5), 1, { reverse: true }),
    linearScan({ a: sigmoid(values(256, 10, 2)), b: values(256, 10, 2), h0: values(256, 2), axis: 1 }),
    linearScan({ a: sigmoid(values(9, 77, 11)), b: values(9, 77, 11), h0: values(9, 11), axis: 1, reverse: true }),
  ],
  "cumsum and scan of rows that are larger than a binding": () => [
    cumsum(mul(values(9001), 0.1), 0),
    cumsum(mul(wide, 0.1), 1, { reverse: true }),
    linearScan({ a: sigmoid(values(2, 500, 19)), b: values(2, 500, 19), axis: 1 }),
    linearScan({ a: sigmoid(values(300, 17)), b: values(300, 17), h0: values(17), axis: 0, reverse: true }),
    linearScan({ a: sigmoid(values(2, 3, 4999)), b: values(2, 3, 4999), h0: values(2, 4999), axis: 1 }),
  ],
  "a step repeated over more than a binding, and its gradient": () => {
    const step = (h: Tensor, x: Tensor, w: Tensor): readonly [Tensor, Tensor] => {
      const next = sigmoid(add(matmul(h, w), x));
      return [next, mul(next, x)];
    };
    return grad(([x, initial, constants]: readonly [Tensor, Tensor, Tensor]): Tensor => {
      const { state, outputs } = sequentialScan({ step, initial, inputs: x, constants });
      return add(sum(mul(outputs, outputs)), sum(state));
    })([values(9, 50, 11), values(50, 11), values(11, 11)]);
  },
  "recurrences with what is computed into and out of them, and their gradients": () => [
    // cut along the batch, then, where there is one sequence, along the channels
    selective(6, 40, 30, 4),
    selective(1, 90, 64, 4),
    selective(3, 24, 200, 2),
  ],
  "operands in another order than the results": () => [
    add(transpose(values(90, 200)), mul(values(200, 90), transpose(flip(values(90, 200), 0)))),
    sum(mul(transpose(values(40, 30, 20), [2, 1, 0]), values(20, 30, 40)), 2),
    sum(mul(transpose(values(70, 300)), values(300, 70)), 1),
    matmul(transpose(values(16, 20, 40), [2, 0, 1]), transpose(values(20, 12, 40), [2, 0, 1])),
  ],
  gradients: () => {
    const [w, y] = [values(90, 64), values(100, 64)];
    return grad((w: Tensor): Tensor => sum(mul(softmax(matmul(x, w), 1), y)))(w);
  },
};

/** The gradients of sum_n c h with h_t = e^(-delta a) h_(t-1) + delta x b: those of a [D N] are sums over all positions. */
function selective(B: number, L: number, D: number, N: number): Tree {
  const y = (a: Tensor, x: Tensor, delta: Tensor, b: Tensor, c: Tensor): Tensor => {
    const of = (t: Tensor, shape: readonly number[]): Tensor => broadcastTo(reshape(t, shape), [B, L, D, N]);
    const step = of(delta, [B, L, D, 1]);
    const h = linearScan({
      a: exp(mul(mul(step, of(a, [1, 1, D, N])), -1)),
      b: mul(mul(step, of(x, [B, L, D, 1])), of(b, [B, L, 1, N])),
      axis: 1,
    });
    return sum(mul(h, of(c, [B, L, 1, N])), 3);
  };
  const given = [sigmoid(values(D, N)), values(B, L, D), sigmoid(values(B, L, D)), values(B, L, N), values(B, L, N)];
  return grad(([a, x, delta, b, c]: readonly Tensor[]): Tensor =>
    sum(mul(y(a!, x!, delta!, b!, c!), mul(values(B, L, D), 0.1))),
  )(given);
}

test.each(Object.entries(graphs))("%s", async (_, build) => {
  seed = 1;
  const expected = leavesOf(await realize(build(), { device: whole }));
  for (const fuse of [true, false]) {
    seed = 1;
    const actual = leavesOf(await realize(build(), { device: small, fuse }));
    for (const [k, y] of actual.entries()) await agree(y, expected[k]!);
    dispose(actual);
  }
});

test("a recurrence beyond a binding stays fused, part by part, along the outermost axis that has enough points", async () => {
  expect(await explain(selective(6, 40, 30, 4), { device: small })).toMatch(/gradient, .* cut along 0 in 6 parts/);
  expect(await explain(selective(1, 90, 64, 4), { device: small })).toMatch(/gradient, .* cut along 2 in \d+ parts/);
});

test("sums down many columns, read a binding at a time", async () => {
  const device = await testDevice({ limits: { maxStorageBufferBindingSize: 1 << 20 } });
  const table = (): Tensor => values(64, 17_000);
  seed = 1;
  const expected = await realize(sum(table(), 0), { device: whole });
  seed = 1;
  await agree(await realize(sum(table(), 0), { device }), expected);
  expect(await explain(sum(table(), 0), { device })).toMatch(
    /sum: loop \[17000\] sum \[64\] 1 load 1 store, [6-9] passes/,
  );
  await device.close();
});

test("what cannot be cut is an error with the bytes asked and allowed, and the device goes on", async () => {
  const table = gather(values(200_000), indices(2, 9), 0);
  await expect(realize(table, { device: small })).rejects.toThrow(LimitError);
  const { buffers, collected } = small.memory();
  await expect(realize(table, { device: small })).rejects.toThrow(
    /expected a kernel to read at most \d+ bytes at once .*got \d+ in \d+ bindings/,
  );
  expect([...(await (await realize(add(tensor([1]), 1), { device: small })).data())]).toEqual([2]);
  // the sum and its operand, whatever garbage of earlier tests is collected by now
  const after = small.memory();
  expect(after.buffers + after.collected).toBe(buffers + collected + 2);
});

async function agree(actual: Tensor, expected: Tensor): Promise<void> {
  expect(actual.shape).toEqual(expected.shape);
  const [a, e] = [await actual.data(), await expected.data()];
  let worst = 0;
  for (let i = 0; i < a.length; i++)
    if (a[i] !== e[i])
      worst = Math.max(worst, Number.isNaN(a[i]! - e[i]!) ? Infinity : Math.abs(a[i]! - e[i]!) / (1 + Math.abs(e[i]!)));
  expect(worst).toBeLessThanOrEqual(2e-6);
}
