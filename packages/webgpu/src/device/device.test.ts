import {
  add,
  arange,
  broadcastTo,
  cast,
  concat,
  cpu,
  cumsum,
  DeviceError,
  DisposedError,
  dispose,
  div,
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
  scatterAdd,
  sigmoid,
  silu,
  slice,
  sliceAxis,
  softmax,
  split,
  sqrt,
  sub,
  sum,
  tensor,
  transpose,
  uniform,
  where,
  type Device,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { testDevice } from "../testing/test-device.js";
import { isSoftware } from "./adapter.js";

const device = await testDevice({ poison: true });
afterAll(() => device.close());

test("says whether a program stands for the hardware", () => {
  expect(device.software ?? false).toBe(isSoftware(device.gpu.adapterInfo));
  if (device.description.includes("SwiftShader")) expect(device.software).toBe(true);
});

const norm = (x: Tensor): Tensor => mul(x, div(1, sqrt(add(mean(mul(x, x), -1, { keepDims: true }), 1e-5))));

const ramp = (size: number): Float32Array =>
  Float32Array.from({ length: size }, (_, k) => ((k * 7919) % 1000) / 500 - 1);

/** Graphs and sizes that take each form of kernel: several passes, divided reductions, chunks, tiles of both sizes, ragged ends. */
const graphs: Record<string, () => Tree> = {
  "softmax and norm along rows": () => softmax(norm(normal(key(1), [3, 260])), -1),
  "softmax over a middle axis": () => softmax(normal(key(1), [3, 70, 7]), 1),
  "split heads and back": () => {
    const heads = transpose(reshape(normal(key(6), [2, 5, 12]), [2, 5, 3, 4]), [0, 2, 1, 3]);
    return reshape(transpose(mul(heads, 2), [0, 2, 1, 3]), [2, 5, 12]);
  },
  "causal shift": () => {
    const x = silu(normal(key(7), [2, 6, 8]));
    return add(sliceAxis(pad(x, [0, 2, 0], [0, 0, 0]), 1, 0, 6), mul(x, x));
  },
  "several results from one product": () => {
    const y = sigmoid(normal(key(8), [4, 8]));
    return [mul(y, 2), sub(1, y), sum(y, 0), sum(mul(y, y), 1), max(y, 1)];
  },
  "same root twice and a leaf": () => {
    const x = tensor([1, 2, 3]);
    const y = exp(x);
    return [y, reshape(y, [3, 1]), x, reshape(x, [1, 3])];
  },
  "flip of a concat": () => flip(concat([arange(3), arange(2)], 0), 0),
  "cross entropy": () =>
    mean(mul(pick(logSoftmax(normal(key(14), [2, 5, 7])), cast(mul(uniform(key(15), [2, 5]), 7), "i32")), -1)),
  attention: () => {
    const [q, k, v] = split(normal(key(16), [2, 6, 24]), [8, 8, 8]).map((x) =>
      transpose(reshape(x, [2, 6, 2, 4]), [0, 2, 1, 3]),
    ) as [Tensor, Tensor, Tensor];
    const causal = less(reshape(arange(6), [6, 1]), arange(6));
    return reshape(
      transpose(matmul(softmax(where(causal, -1e9, matmul(q, transpose(k)))), v), [0, 2, 1, 3]),
      [2, 6, 8],
    );
  },
  "empty axis": () => sum(exp(normal(key(25), [3, 0])), 1),
  "random bits": () => uniform(key(28), [1001]),
  "one random number": () => uniform(key(28), [1]),
  "a sum to one number in two passes": () => sum(uniform(key(30), [50_003])),
  "a maximum to one number, NaN and all": () => {
    const x = uniform(key(30), [9000]);
    return [max(x), max(where(less(x, 0.999), x, NaN))];
  },
  "sums down long columns": () => sum(uniform(key(31), [5000, 6]), 0),
  "more operands than a kernel may bind": () =>
    Array.from({ length: 40 }, (_, k) => tensor([k / 40, -k / 40, 0.5])).reduce((a, b) => add(mul(a, 0.75), exp(b))),
  "concat of more parts than a kernel may bind, summed": () =>
    sum(
      mul(
        concat(
          Array.from({ length: 30 }, (_, k) => tensor(new Float32Array(7).fill(k), [7])),
          0,
        ),
        2,
      ),
    ),
  "matmul in parts along k": () => matmul(normal(key(32), [5, 700]), normal(key(33), [700, 9])),
  "matmul of large tiles": () => matmul(normal(key(34), [2100, 3]), normal(key(35), [3, 2110])),
  "cumsum along long rows": () => cumsum(mul(normal(key(36), [2, 2500]), 0.1), 1, { reverse: true }),
  "scan along long rows": () =>
    linearScan({
      a: sigmoid(normal(key(37), [2, 2500])),
      b: normal(key(38), [2, 2500]),
      h0: normal(key(39), [2]),
      axis: 1,
    }),
  "scan of rows beside each other": () =>
    linearScan({
      a: sigmoid(normal(key(37), [2, 130, 20])),
      b: normal(key(38), [2, 130, 20]),
      h0: normal(key(39), [2, 20]),
      axis: 1,
      reverse: true,
    }),
  "scatterAdd in parts": () =>
    scatterAdd(normal(key(50), [3000, 70]), cast(mul(uniform(key(51), [3000]), 5), "i32"), 5),
  "four points a thread: flat, ragged": () => {
    const x = normal(key(60), [4099]);
    return [mul(x, 2), less(x, 0), cast(x, "i32")];
  },
  "four points a thread: views of rows": () => {
    const [x, y] = [tensor(ramp(66 * 72), [66, 72]), tensor(ramp(72 * 64), [72, 64])];
    const inner = slice(x, [1, 4], [65, 68]); // [64, 64], vectors at a distance of 72
    const others = [
      slice(x, [1, 3], [65, 67]),
      transpose(slice(y, [0, 0], [64, 64])),
      flip(inner, [1]),
      sliceAxis(pad(inner, [0, 4], [0, 0]), 1, 0, 64),
      broadcastTo(sliceAxis(inner, 1, 0, 1), [64, 64]),
      broadcastTo(sliceAxis(inner, 0, 3, 4), [64, 64]),
    ];
    return [inner, ...others].map((z) => add(mul(z, inner), exp(mul(z, 0.1))));
  },
  "four points a thread: concat, gather and where": () => {
    const x = tensor(ramp(4096), [64, 64]);
    const rows = gather(x, tensor(Int32Array.from({ length: 40 }, (_, k) => (k * 37) % 64)), 0);
    const both = concat([x, rows], 0);
    return [
      mul(both, 2),
      where(less(both, 0.5), concat([rows, x], 0), both),
      gather(x, tensor(Int32Array.from({ length: 64 }, (_, k) => 63 - k)), 1),
    ];
  },
  "four points a thread: reductions along rows": () => {
    const x = tensor(ramp(24 * 260), [24, 260]);
    return [sum(x, 1), max(mul(x, x), 1), sum(slice(x, [0, 4], [24, 256]), 1), sum(slice(x, [0, 3], [24, 255]), 1)];
  },
  embedding: () => sum(gather(normal(key(12), [7, 4]), cast(mul(uniform(key(13), [2, 5]), 7), "i32"), 0), 1),
};

describe("fused = one kernel per op = float64", () => {
  test.each(Object.entries(graphs))("%s", async (_, build) => {
    const expected = leavesOf(await realize(build(), { device: reference() }));
    for (const fuse of [true, false]) {
      const actual = leavesOf(await realize(build(), { device, fuse }));
      for (const [k, x] of actual.entries()) await close(x, expected[k]!);
      dispose(actual);
    }
  });
});

test("gradients agree with float64", async () => {
  const f = (x: Tensor): Tensor => {
    const heads = transpose(reshape(x, [2, 5, 3, 4]), [0, 2, 1, 3]);
    const y = reshape(
      transpose(matmul(softmax(matmul(heads, transpose(heads))), silu(heads)), [0, 2, 1, 3]),
      [2, 5, 12],
    );
    const shifted = sliceAxis(pad(y, [0, 1, 0], [0, 0, 0]), 1, 0, 5);
    const h = linearScan({ a: sigmoid(shifted), b: flip(y, 1), axis: 1 });
    return [h, cumsum(y, 2), max(y, 1), concat([y, h], 1)]
      .map((z, k) => sum(mul(z, normal(key(100 + k), z.shape))))
      .reduce(add);
  };
  const expected = await realize(grad(f)(normal(key(6), [2, 5, 12])), { device: reference() });
  for (const fuse of [true, false])
    await close(await realize(grad(f)(normal(key(6), [2, 5, 12])), { device, fuse }), expected);
});

test("a result is written over donated memory, and read by the same kernel", async () => {
  const own = await testDevice();
  let x = await realize(tensor(Float32Array.from({ length: 1003 }, (_, i) => i)), { device: own });
  for (let step = 0; step < 5; step++) {
    const next = add(mul(x, 2), 1);
    await realize(next, { donate: [x] });
    expect(() => sum(x)).toThrow(DisposedError);
    x = next;
  }
  expect([...(await x.data())]).toEqual(Array.from({ length: 1003 }, (_, i) => 32 * i + 31));
  expect(own.memory()).toMatchObject({ buffers: 1, bytes: 4012, collected: 0 });
  expect(own.memory().peakBytes).toBeLessThan(2 * 4012);
  await own.close();
});

test("memory read at other elements than those written is not taken over", async () => {
  const x = await realize(
    tensor([
      [1, 2],
      [3, 4],
    ]),
    { device },
  );
  const y = await realize(flip(x, [0, 1]), { donate: [x] });
  expect([...(await y.data())]).toEqual([4, 3, 2, 1]);
});

test("two devices work in one process, and neither takes the other's tensors", async () => {
  const own = await testDevice();
  const x = await realize(tensor([1, 2, 3]), { device: own });
  const y = await realize(tensor([4, 5, 6]), { device });
  expect([...(await add(x, 1).data())]).toEqual([2, 3, 4]);
  expect([...(await add(y, 1).data())]).toEqual([5, 6, 7]);
  await expect(realize(add(x, y), { device })).rejects.toThrow(DeviceError);
  await expect(realize(add(x, 1), { device: cpu() })).rejects.toThrow(
    /expected a tensor on device cpu, got f32 \[3\] on another device \(webgpu\)/,
  );
  await own.close();
});

test("values survive the trip: infinities, NaN, signed zeros, whole numbers and bools", async () => {
  const floats = await realize(mul(tensor([Infinity, -Infinity, NaN, -0, 1e-40, 3.4e38]), 1), { device });
  const [a, b, c, d] = await floats.data();
  expect([a, b, c]).toEqual([Infinity, -Infinity, NaN]);
  expect(Object.is(d, -0)).toBe(true);
  expect(await read(add(tensor(Int32Array.of(-5, 2 ** 31 - 1)), 1), device)).toEqual([-4, -(2 ** 31)]);
  expect(await read(less(tensor([1, 3]), 2), device)).toEqual([1, 0]);
});

test("explain names each kernel and its variant, and prints the code on request", async () => {
  const build = (): Tensor =>
    matmul(silu(tensor(new Float32Array(128), [16, 8])), tensor(new Float32Array(64), [8, 8]));
  expect((await explain(build(), { device })).split("\n")).toEqual([
    "mul: loop [16,8] 1 load 1 store",
    "matmul: matmul 16x8x8, 64x64x16 tiles",
  ]);
  const own = await testDevice({ explainCode: true });
  expect(await explain(build(), { device: own })).toContain("fn sigmoid_(x: f32) -> f32");
  await own.close();
});

async function close(actual: Tensor, expected: Tensor): Promise<void> {
  expect(actual.shape).toEqual(expected.shape);
  const [a, e] = [await actual.data(), await expected.data()];
  let scale = 1;
  for (const value of e) if (Number.isFinite(value)) scale = Math.max(scale, Math.abs(value));
  let worst = 0;
  for (let i = 0; i < a.length; i++)
    if (!Object.is(a[i], e[i]))
      worst = Math.max(worst, Number.isNaN(a[i]! - e[i]!) ? Infinity : Math.abs(a[i]! - e[i]!));
  expect(worst).toBeLessThanOrEqual(2e-5 * scale);
}

async function read(x: Tensor, on: Device): Promise<number[]> {
  await realize(x, { device: on });
  return [...(await x.data())];
}
