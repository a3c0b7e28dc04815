import { expect, test } from "vitest";
import {
  add,
  broadcastTo,
  cast,
  concat,
  cpu,
  cumsum,
  defineKernel,
  DeviceError,
  DisposedError,
  dispose,
  DTypeError,
  einsum,
  full,
  gather,
  grad,
  linearScan,
  log,
  logSumExp,
  matmul,
  mul,
  NumericError,
  realize,
  reference,
  reshape,
  setDebug,
  ShapeError,
  slice,
  softmax,
  split,
  sub,
  sum,
  tensor,
  transpose,
  where,
} from "../index.js";

const a = () => tensor(new Float32Array(6), [2, 3]);
const b = () => tensor(new Float32Array(8), [2, 4]);

/** Each mistake, its class, and what its one sentence has to name: op, axis, both values, remedy. */
const mistakes: [name: string, run: () => unknown, error: new (message: string) => Error, words: RegExp][] = [
  [
    "operands that do not broadcast",
    () => add(a(), b()),
    ShapeError,
    /^add: axis 1 is 3 in \[2,3\] but 4 in \[2,4\]; make them equal/,
  ],
  [
    "types that differ",
    () => mul(a(), cast(a(), "i32")),
    DTypeError,
    /^mul: expected operands of one type, got f32 .* and i32 .*cast/,
  ],
  [
    "a fraction beside integers",
    () => add(cast(a(), "i32"), 0.5),
    DTypeError,
    /^add: expected an integer beside an i32 tensor, got 0.5/,
  ],
  [
    "inner axes of a product",
    () => matmul(a(), b()),
    ShapeError,
    /^matmul: axis 1 is 3 in a \[2,3\] but axis 0 is 2 in b \[2,4\]; transpose/,
  ],
  ["a product of vectors", () => matmul(sum(a(), 0), b()), ShapeError, /^matmul: expected at least rank 2, got \[3\]/],
  [
    "a reshape of another size",
    () => reshape(a(), [4, 2]),
    ShapeError,
    /^reshape: expected a shape of 6 elements for \[2,3\], got \[4,2\]/,
  ],
  [
    "an axis out of range",
    () => sum(a(), 2),
    ShapeError,
    /^sum: expected an axis from -2 to 1 for a tensor of rank 2, got 2/,
  ],
  ["an axis twice", () => sum(a(), [1, -1]), ShapeError, /^sum: expected distinct axes, got axis 1 twice/],
  [
    "a slice beyond the end",
    () => slice(a(), [0, 1], [2, 5]),
    ShapeError,
    /^slice: axis 1 has extent 3 but elements 1 to 4 were asked/,
  ],
  [
    "parts that do not add up",
    () => split(a(), [1, 1]),
    ShapeError,
    /^split: axis 1 of \[2,3\] is 3 but the parts \[1,1\] add up to 2/,
  ],
  [
    "a stretched axis that is not 1",
    () => broadcastTo(a(), [2, 6]),
    ShapeError,
    /^broadcastTo: axis 1 is 3 in \[2,3\] but 6 in \[2,6\]/,
  ],
  [
    "joining along the wrong axis",
    () => concat([a(), b()], 0),
    ShapeError,
    /^concat: axis 1 is 3 in \[2,3\] but 4 in \[2,4\]; only axis 0 may differ/,
  ],
  ["indices that are no integers", () => gather(a(), a(), 0), DTypeError, /^gather: expected i32 indices, got f32/],
  ["a condition that is no bool", () => where(a(), a(), a()), DTypeError, /^where: expected a bool condition, got f32/],
  [
    "an einsum axis with two extents",
    () => einsum("A B, A B -> A", a(), b()),
    ShapeError,
    /^einsum: axis B is 3 before but 4 in operand 1/,
  ],
  [
    "a scan whose decay has another shape",
    () => linearScan({ a: a(), b: b(), axis: 0 }),
    ShapeError,
    /^linearScan: expected a and b of one shape, got \[2,3\] and \[2,4\]/,
  ],
  ["a running sum of integers", () => cumsum(cast(a(), "i32"), 0), DTypeError, /^cumsum: expected f32, got i32/],
  ["too few values", () => tensor([1, 2, 3], [2, 2]), ShapeError, /^tensor: shape \[2,2\] needs 4 values but 3 came/],
  [
    "ragged nesting",
    () => tensor([[1, 2], [3]]),
    ShapeError,
    /^tensor: expected arrays of length 2 at depth 1, got length 1/,
  ],
  [
    "a negative extent",
    () => full([2, -1], 0),
    ShapeError,
    /^full: expected extents that are integers of at least 0, got shape \[2,-1\]/,
  ],
  [
    "a transpose that repeats an axis",
    () => transpose(a(), [0, 0]),
    ShapeError,
    /^transpose: expected each of the 2 axes once/,
  ],
  [
    "the gradient of a vector",
    () => grad((x: ReturnType<typeof a>) => sum(x, 0))(a()),
    ShapeError,
    /^grad: expected a function whose value has one element, got shape \[3\]/,
  ],
];

for (const [name, run, error, words] of mistakes)
  test(`${name}: one sentence at the call`, () => {
    expect(run).toThrow(error);
    expect(run).toThrow(words);
  });

test("a kernel names the axis, both inputs and both extents", () => {
  const outer = defineKernel({
    name: "outer",
    inputs: { u: "B D", A: "D N" },
    outputs: { y: "B N" },
    variants: [],
    samples: [],
    reference: ({ u, A }: { u: ReturnType<typeof a>; A: ReturnType<typeof a> }) => ({ y: matmul(u, A) }),
    cost: () => ({ flops: 0, bytes: 0 }),
  });
  expect(() => outer({ u: a(), A: b() }, undefined)).toThrow(
    "outer: axis D is 3 in u [B D] but 2 in A [D N]; make them equal",
  );
  expect(() => outer({ u: a() }, undefined)).toThrow("outer: expected input A [D N], got none");
});

test("a disposed tensor cannot be used, and disposing twice is harmless", async () => {
  const x = await realize(a());
  const y = add(x, 1);
  x.dispose();
  x.dispose();
  expect(() => add(x, 1)).toThrow(DisposedError);
  expect(() => add(x, 1)).toThrow(/^add: expected a live tensor, got one of shape \[2,3\] that was disposed/);
  await expect(realize(y)).rejects.toThrow(DisposedError);
});

test("a tensor of one device handed to another is an error, host data is not", async () => {
  const [one, other] = [reference(), cpu({ threads: 1 })];
  const host = tensor([1, 2]);
  const x = await realize(mul(host, 2), { device: one });
  await expect(realize(add(x, 1), { device: other })).rejects.toThrow(DeviceError);
  await expect(realize(add(x, 1), { device: other })).rejects.toThrow(
    /expected a tensor on device cpu, got f32 \[2\] on another device \(reference\); read it with data\(\)/,
  );
  expect([...(await (await realize(add(host, 1), { device: other })).data())]).toEqual([2, 3]);
  expect([...(await x.data())]).toEqual([2, 4]);
  await other.close();
});

test("a failed run loses nothing: the device computes on", async () => {
  const device = cpu({ threads: 1 });
  const x = await realize(tensor([1, 2]), { device });
  const gone = await realize(tensor([1, 2]), { device });
  const y = add(x, gone);
  gone.dispose();
  await expect(realize(y)).rejects.toThrow(DisposedError);
  expect([...(await add(x, 1).data())]).toEqual([2, 3]);
  dispose(x);
  await device.close();
});

test("debug mode lets infinite constants be: masks, and functions that compare with infinity", async () => {
  const before = setDebug(true);
  try {
    const masked = where(tensor([1, 0], undefined, "bool"), tensor([3, 4]), -Infinity);
    const y = await realize([softmax(masked), logSumExp(masked, 0), logSumExp(tensor([1, 1]), 0)]);
    expect([...(await y[0]!.data())]).toEqual([1, 0]);
    expect([await y[1]!.item(), await y[2]!.item()]).toEqual([3, expect.closeTo(1.6931, 4)]);
    await expect(realize(sub(masked, masked))).rejects.toThrow(/^sub: expected finite values, got NaN at element 1/);
    await expect(realize(log(tensor([0])))).rejects.toThrow(/^log: expected finite values, got -Infinity/);
  } finally {
    setDebug(before);
  }
});

test("debug mode names the op and the line that made the first value that is not finite", async () => {
  const before = setDebug(true);
  try {
    const build = () => sum(mul(log(tensor([1, -1])), 2));
    await expect(realize(build())).rejects.toThrow(NumericError);
    await expect(realize(build())).rejects.toThrow(
      /^log: expected finite values, got NaN at element 1 of \[2\], made at .*errors\.test\.ts:\d+/,
    );
  } finally {
    setDebug(before);
  }
});
