// What means nothing is an error of one sentence, not a value.
import { describe, expect, test } from "vitest";
import {
  abs,
  add,
  all,
  any,
  arange,
  argmax,
  argsort,
  bernoulli,
  broadcastTo,
  cast,
  categorical,
  ceil,
  checkIndices,
  clip,
  compile,
  concat,
  cpu,
  cumsum,
  DTypeError,
  einsum,
  exp,
  expandDims,
  expm1OverX,
  flip,
  foldIn,
  full,
  gather,
  gelu,
  grad,
  key,
  leavesOf,
  linearScan,
  log,
  logSoftmax,
  logSumExp,
  matmul,
  max,
  mean,
  min,
  normal,
  opTable,
  pad,
  pick,
  power,
  prod,
  realize,
  reference,
  relu,
  repeat,
  reshape,
  round,
  scatterAdd,
  setDebug,
  ShapeError,
  shiftLeft,
  sigmoid,
  sign,
  silu,
  slice,
  sliceAxis,
  softmax,
  softplus,
  sort,
  split,
  square,
  squeeze,
  stack,
  stopGradient,
  sum,
  tensor,
  tile,
  topk,
  transpose,
  tril,
  triu,
  uniform,
  variance,
  where,
  zeros,
} from "../index.js";

const v = tensor([1, 2, 3]);

test.each<[string, () => unknown, new (m: string) => Error, RegExp]>([
  [
    "add of a list",
    () => add(v, [3, 4] as never),
    DTypeError,
    /^add: expected a tensor or a number, got an array; make a tensor of it/,
  ],
  [
    "add of nothing",
    () => add(v, undefined as never),
    DTypeError,
    /^add: expected a tensor or a number, got undefined/,
  ],
  [
    "where of a word",
    () => where(v as never, "x" as never, 1),
    DTypeError,
    /^where: expected a tensor or a number, got the string x/,
  ],
  [
    "sum with options as axes",
    () => sum(v, { axis: 1 } as never),
    ShapeError,
    /^sum: expected an axis or a list of axes, got an object with axis; write sum\(x, 1\)/,
  ],
  [
    "slice at fractions",
    () => slice(v, [0.5], [2]),
    ShapeError,
    /^slice: expected bounds and steps that are whole numbers .* got 0\.5/,
  ],
  ["slice at NaN", () => sliceAxis(v, 0, NaN, 2), ShapeError, /^slice: .* got NaN/],
  ["arange of a fraction", () => arange(2.5), RangeError, /^arange: expected a whole number of at least 0, got 2\.5/],
  ["arange of NaN", () => arange(NaN), RangeError, /^arange: .* got NaN/],
  ["arange without a step", () => arange(0, 3, 0), RangeError, /^arange: .* a step other than 0/],
  [
    "split with a rest",
    () => split(v, [-1, 4]),
    ShapeError,
    /^split: expected extents that are whole numbers of at least 0, got \[-1,4\]/,
  ],
  [
    "bytes with a sign",
    () => tensor(new Int8Array(2) as never),
    DTypeError,
    /^tensor: expected a Float32Array, .* got a Int8Array/,
  ],
  ["integers of 64 bits", () => tensor(new BigInt64Array(2) as never), DTypeError, /got a BigInt64Array/],
  [
    "another library's type",
    () => cast(v, "float32" as never),
    DTypeError,
    /^cast: expected an element type out of f32, f16, i32, bool, got the string float32; write "f32"/,
  ],
  ["a type that is none", () => zeros([2], "f64" as never), DTypeError, /^full: .* got the string f64/],
  ["a tensor's type that is none", () => tensor([1], [1], "int" as never), DTypeError, /write "i32"/],
  [
    "fractions as integers",
    () => tensor([1.5], undefined, "i32"),
    DTypeError,
    /expected whole numbers of 32 bits for i32, got 1\.5/,
  ],
  [
    "a shape that is a number",
    () => full(3 as never, 1),
    ShapeError,
    /^full: expected a shape such as \[2,3\], got the number 3/,
  ],
  [
    "settings that are misspelt",
    () => sum(v, 0, { keepdims: true } as never),
    TypeError,
    /^sum: expected settings out of keepDims, got keepdims; /,
  ],
  [
    "settings that are no object",
    () => cumsum(v, 0, true as never),
    TypeError,
    /^cumsum: expected an object with reverse, exclusive, got the boolean true; /,
  ],
  [
    "a word for a recurrence",
    () => linearScan({ a: v, b: v, axis: 0, reversed: true } as never),
    TypeError,
    /^linearScan: expected settings out of .*, got reversed; /,
  ],
  ["an order that is misspelt", () => sort(v, 0, { descend: true } as never), TypeError, /^sort: .* got descend; /],
  [
    "bounds for axes that are not there",
    () => slice(v, [0, 0], [1]),
    ShapeError,
    /^slice: expected at most 1 bounds for \[3\], got \[0,0\]; /,
  ],
  [
    "bounds that are no list",
    () => slice(v, 0 as never, [1]),
    TypeError,
    /^slice: expected a list such as \[0,1\], got the number 0; /,
  ],
  [
    "arange beyond 32 bits",
    () => arange(2 ** 31 - 1, 2 ** 31 + 2),
    RangeError,
    /^arange: expected a whole number of 32 bits with sign, got the number 2147483649; /,
  ],
  [
    "an extent to broadcast to",
    () => broadcastTo(v, [-1, 3]),
    ShapeError,
    /^broadcastTo: expected extents that are integers/,
  ],
  [
    "an integer of more than 32 bits",
    () => full([2], 2 ** 40, "i32"),
    DTypeError,
    /^full: expected an integer of 32 bits for i32, got 1099511627776; /,
  ],
  [
    "places of a shift",
    () => shiftLeft(tensor([1], [1], "i32"), 32),
    RangeError,
    /^shiftLeft: expected places from 0 to 31, got 32; /,
  ],
  ["limits the wrong way round", () => clip(v, 2, 1), RangeError, /^clip: expected numbers low <= high, got 2 and 1; /],
  [
    "an exponent that is no number",
    () => power(v, v as never),
    RangeError,
    /^power: expected a finite number as the exponent, got a Tensor; /,
  ],
  [
    "a padding that is no integer",
    () => pad(tensor([1], [1], "i32"), [1], [0], 0.5),
    DTypeError,
    /^pad: expected a number that i32 has/,
  ],
  [
    "indices of another shape",
    () =>
      pick(
        tensor([
          [1, 2],
          [3, 4],
        ]),
        tensor([0], [1], "i32"),
      ),
    ShapeError,
    /^pick: expected indices \[2\], one for each row of \[2,2\], got \[1\]; /,
  ],
  [
    "a size that is none",
    () => scatterAdd(v, tensor([0, 0, 0], [3], "i32"), 2.5),
    ShapeError,
    /^scatterAdd: expected extents/,
  ],
  [
    "a key that is a number",
    () => uniform(5 as never, [2]),
    TypeError,
    /^uniform: expected a key, got the number 5; make one with key\(seed\)/,
  ],
  [
    "a fraction in a key",
    () => foldIn(key(0), 1.5),
    RangeError,
    /^foldIn: expected a whole number of 32 bits with sign, got the number 1\.5; /,
  ],
  [
    "a probability",
    () => bernoulli(key(0), 1.5, [2]),
    RangeError,
    /^bernoulli: expected a probability from 0 to 1, got the number 1\.5; /,
  ],
  [
    "a deviation",
    () => normal(key(0), [2], 0, -1),
    RangeError,
    /^normal: expected a finite mean and a deviation of at least 0/,
  ],
  [
    "limits of a draw",
    () => uniform(key(0), [2], 1, 0),
    RangeError,
    /^uniform: expected finite numbers low <= high, got 1 and 0; /,
  ],
  ["words as numbers", () => tensor(["1", "2"] as never), DTypeError, /^tensor: expected numbers, got the string 1; /],
  [
    "a type in the place of the shape",
    () => tensor([1], "i32" as never),
    ShapeError,
    /^tensor: expected a shape such as \[2,3\], got the string i32; /,
  ],
  [
    "a gradient of what is no function",
    () => grad(v as never),
    TypeError,
    /^grad: expected a function, got a Tensor; /,
  ],
  [
    "a gradient of nothing",
    () => grad((() => undefined) as never)(v),
    DTypeError,
    /^grad, of what the function returns: expected a tensor, got undefined; /,
  ],
  [
    "a promise in a tree",
    () => leavesOf(Promise.resolve(v) as never),
    TypeError,
    /^mapTree: expected a tensor, array or plain object at "", got a Promise; await it/,
  ],
  ["threads", () => cpu({ threads: 0 }), RangeError, /^cpu: expected threads, a whole number of at least 1, got 0; /],
  [
    "settings of a device",
    () => cpu({ thread: 2 } as never),
    TypeError,
    /^cpu: expected settings out of threads, got thread; /,
  ],
  [
    "an index outside",
    () => checkIndices("embedding", tensor([0, 5], undefined, "i32"), 5),
    RangeError,
    /^embedding: expected whole numbers from 0 to 4, got 5 at element 1/,
  ],
])("%s", (_, make, kind, message) => {
  expect(make).toThrow(kind);
  expect(make).toThrow(message);
});

describe("whatever is no tensor is named, in every function", () => {
  const i = tensor([0, 1], undefined, "i32");
  const m = tensor([
    [1, 2],
    [3, 4],
  ]);
  const functions: Readonly<Record<string, (x: never) => unknown>> = {
    ...Object.fromEntries(
      Object.entries({ abs, exp, log, sigmoid, softplus, square, relu, silu, gelu, sign, ceil, round, expm1OverX }),
    ),
    ...Object.fromEntries(Object.entries({ sum, max, min, prod, any, all, mean, variance, softmax, logSoftmax })),
    ...Object.fromEntries(Object.entries({ sort, argsort, squeeze, tril, triu, stopGradient })),
    argmax: (x) => argmax(x, 0),
    logSumExp: (x) => logSumExp(x, 0),
    cumsum: (x) => cumsum(x, 0),
    reshape: (x) => reshape(x, [2]),
    transpose: (x) => transpose(x),
    broadcastTo: (x) => broadcastTo(x, [2, 2]),
    slice: (x) => slice(x, [0], [1]),
    sliceAxis: (x) => sliceAxis(x, 0, 0, 1),
    flip: (x) => flip(x, 0),
    pad: (x) => pad(x, [1], [1]),
    concat: (x) => concat([x, x], 0),
    stack: (x) => stack([x, x]),
    split: (x) => split(x, [1, 1]),
    expandDims: (x) => expandDims(x, 0),
    matmul: (x) => matmul(m, x),
    einsum: (x) => einsum("a,a->", x, v),
    gather: (x) => gather(x, i),
    "gather by": (x) => gather(v, x),
    pick: (x) => pick(m, x),
    scatterAdd: (x) => scatterAdd(x, i, 3),
    topk: (x) => topk(x, 1),
    tile: (x) => tile(x, [2]),
    repeat: (x) => repeat(x, 2, 0),
    "where by": (x) => where(x, 1, 2),
    cast: (x) => cast(x, "i32"),
    linearScan: (x) => linearScan({ a: x, b: v, axis: 0 }),
    "linearScan of": (x) => linearScan({ a: v, b: x, axis: 0 }),
    categorical: (x) => categorical(key(0), x),
  };
  test.each(Object.entries(functions))("%s", (_, f) => {
    for (const x of [[1, 2], undefined, new Float32Array(2), "x", { a: 1 }])
      expect(() => f(x as never)).toThrow(/^[a-zA-Z]+: expected .*, got .*; /);
  });
});

test("arange from a start to a stop in steps", async () => {
  expect([...(await arange(2, 5).data())]).toEqual([2, 3, 4]);
  expect([...(await arange(5, 0, -2).data())]).toEqual([5, 3, 1]);
  expect([...(await arange(5, 0).data())]).toEqual([]);
  const quarters = arange(0, 1, 0.25);
  expect([quarters.dtype, ...(await quarters.data())]).toEqual(["f32", 0, 0.25, 0.5, 0.75]);
  expect(arange(0, 4, 2).dtype).toBe("i32");
});

test("indices that are computed are checked in debug mode", async () => {
  const before = setDebug(true);
  try {
    const device = reference();
    const at = (k: number) => gather(v, checkIndices("embedding", add(tensor([0], undefined, "i32"), k), 3), 0);
    await expect(realize(at(3), { device })).rejects.toThrow(/^embedding: expected whole numbers from 0 to 2, got 3/);
    expect([...(await (await realize(at(2), { device })).data())]).toEqual([3]);
  } finally {
    setDebug(before);
  }
});

test("settings and devices of what runs", async () => {
  for (const [run, words] of [
    [
      () => realize(v, { devices: 1 } as never),
      /^realize: expected settings out of device, donate, fuse, got devices; /,
    ],
    [() => realize(v, cpu() as never), /^realize: expected settings out of/],
    [
      () => realize(v, { device: "cpu" as never }),
      /^realize: expected a device, got the string cpu; make one with cpu\(\)/,
    ],
    [
      () => compile((async (x: typeof v) => sum(x)) as never)(v),
      /^mapTree: expected a tensor, .* got a Promise; await it/,
    ],
  ] as const)
    await expect(run()).rejects.toThrow(words);
  expect(() => compile((x: typeof v) => x, { fused: true } as never)).toThrow(/^compile: .* got fused; /);
});

test("every row has a gradient rule, or says that it has none", () => {
  for (const op of opTable) expect(op.gradient === false || typeof op.gradient === "function", op.name).toBe(true);
  // those without: whole numbers, truth values, steps, and what takes no real number
  expect(
    opTable
      .filter((op) => op.gradient === false)
      .map((op) => op.name)
      .sort(),
  ).toEqual([
    "and",
    "bitAnd",
    "bitOr",
    "bitXor",
    "equal",
    "floor",
    "full",
    "iota",
    "isNaN",
    "less",
    "lessEqual",
    "not",
    "or",
    "shiftLeft",
    "shiftRight",
    "stopGradient",
  ]);
  expect(grad((x: typeof v) => sum(cast(cast(x, "i32"), "f32")))(v).shape).toEqual([3]);
});
