// What means nothing is an error of one sentence, not a value.
import { expect, test } from "vitest";
import {
  add,
  arange,
  cast,
  checkIndices,
  DTypeError,
  full,
  gather,
  grad,
  opTable,
  realize,
  reference,
  setDebug,
  ShapeError,
  slice,
  sliceAxis,
  split,
  sum,
  tensor,
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
    "an index outside",
    () => checkIndices("embedding", tensor([0, 5], undefined, "i32"), 5),
    RangeError,
    /^embedding: expected whole numbers from 0 to 4, got 5 at element 1/,
  ],
])("%s", (_, make, kind, message) => {
  expect(make).toThrow(kind);
  expect(make).toThrow(message);
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
