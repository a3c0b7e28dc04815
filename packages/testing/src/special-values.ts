/**
 * Elementwise functions at the ends of their types against written tables: zeros of both signs, ones, the smallest normal and the
 * largest numbers, infinities, NaN; whole numbers at both ends. Conventions are those of numpy and IEEE 754.
 *
 * What devices may differ in is left open: results smaller than 2^-125 count as 0 (GPUs flush them), the sign of a zero, and the sine of angles
 * beyond 1e9.
 */
import {
  abs,
  add,
  bitAnd,
  bitOr,
  bitXor,
  cast,
  div,
  equal,
  grad,
  less,
  lessEqual,
  max,
  maximum,
  minimum,
  mul,
  neg,
  opTable,
  realize,
  roundToHalf,
  shiftLeft,
  shiftRight,
  stack,
  sub,
  sum,
  tensor,
  where,
  type Device,
  type DType,
  type Operand,
  type Tensor,
} from "@seqmix/tensor";
import { elementwiseRecords, SPECIAL } from "@seqmix/tensor/backend";
import { LawError } from "./compare.js";
import { COMPOSED } from "./composed-values.js";

/** Below this, results count as 0. */
const FLUSHED = 2 ** -125;
/** Whole numbers at both ends, and those whose products need all bits. */
const INTEGERS: readonly number[] = [0, 1, -1, 2, -7, 46341, 65536, -65537, 123456789, 2 ** 31 - 1, -(2 ** 31)];

type Real = (x: number, y: number) => number;
const { fround } = Math;
const either =
  (choose: Real): Real =>
  (x, y) =>
    Number.isNaN(x) || Number.isNaN(y) ? NaN : choose(x, y);

/** 1 where x < y, half where they are equal. */
const share = (x: number, y: number): number => (x === y ? 0.5 : Number(x < y));

/** Arguments at which formulas cancel, or saturate: near 0 and 1, far out, near whole numbers. */
const CANCELLING: readonly number[] = [
  ...[1e-30, 1e-6, 1e-3, 0.1, 0.49, 0.51, 1.5, 3, 5, 9, 20, 87, 100].flatMap((x) => [x, -x]),
  1 - 2 ** -24,
  1 + 2 ** -23,
  2 - 2 ** -23,
  8388607.5,
  -8388607.5,
  0.99999994,
  -0.99999994,
  Math.PI,
  Math.PI / 2,
].map(fround);

/** Slopes in float64 of what is written as a difference of values near 1, and others beside them. */
const SLOPES: Readonly<Record<string, (x: number) => number>> = {
  exp: Math.exp,
  expm1: Math.exp,
  tanh: (x) => 1 / Math.cosh(x) ** 2,
  sigmoid: (x) => 1 / (2 + 2 * Math.cosh(x)),
  softplus: (x) => 1 / (1 + Math.exp(-x)),
  atan: (x) => 1 / (1 + x * x),
  sin: Math.cos,
  cos: (x) => -Math.sin(x),
  erf: (x) => (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x),
};

/** The ends of f16: the smallest normal and subnormal numbers, the largest. */
const HALF: readonly number[] = [
  0,
  -0,
  1,
  -1,
  2 ** -14,
  -(2 ** -14),
  2 ** -24,
  65504,
  -65504,
  Infinity,
  -Infinity,
  NaN,
];

/** A function of two, of a number too: as f16 and bool results are not stacked as they are, in f32. */
const apply = (f: (x: Operand, y: Operand) => Tensor, x: Operand, y: Operand): Tensor => cast(f(x, y), "f32");

const itself = (f: (x: Operand, y: Operand) => Tensor, x: Tensor): Tensor => f(x, x);

/** What the language's own f32 arithmetic says of two real numbers, and the slopes of the result in each. */
const REAL_PAIRS: readonly (readonly [string, (x: Operand, y: Operand) => Tensor, Real, ...Real[]])[] = [
  ["add", add, (x, y) => fround(x + y), () => 1, () => 1],
  ["sub", sub, (x, y) => fround(x - y), () => 1, () => -1],
  ["mul", mul, (x, y) => fround(x * y), (_, y) => y, (x) => x],
  ["div", div, (x, y) => fround(x / y), (_, y) => fround(1 / y), (x, y) => fround(-fround(fround(x / y) / y))],
  // at a tie half; nothing is chosen where one is NaN
  ["minimum", minimum, either(Math.min), (x, y) => share(x, y), (x, y) => share(y, x)],
  ["maximum", maximum, either(Math.max), (x, y) => share(y, x), (x, y) => share(x, y)],
  ["less", less, (x, y) => Number(x < y)],
  ["lessEqual", lessEqual, (x, y) => Number(x <= y)],
  ["equal", equal, (x, y) => Number(x === y)],
];

const wrapped = (x: bigint): number => Number(BigInt.asIntN(32, x));
type Whole = (x: bigint, y: bigint) => number;
const INTEGER_PAIRS: readonly (readonly [string, (x: Tensor, y: Tensor) => Tensor, Whole])[] = [
  ["add", add, (x, y) => wrapped(x + y)],
  ["sub", sub, (x, y) => wrapped(x - y)],
  ["mul", mul, (x, y) => wrapped(x * y)],
  ["minimum", minimum, (x, y) => Number(x < y ? x : y)],
  ["maximum", maximum, (x, y) => Number(x > y ? x : y)],
  ["bitAnd", bitAnd, (x, y) => wrapped(x & y)],
  ["bitOr", bitOr, (x, y) => wrapped(x | y)],
  ["bitXor", bitXor, (x, y) => wrapped(x ^ y)],
  ["less", less, (x, y) => Number(x < y)],
  ["lessEqual", lessEqual, (x, y) => Number(x <= y)],
  ["equal", equal, (x, y) => Number(x === y)],
];

const { POSITIVE_INFINITY: inf } = Number;
const LEAST = -(2 ** 31),
  MOST = 2 ** 31 - 1;
/** Conversions: from, values, to, results. */
const CASTS: readonly (readonly [DType, readonly number[], DType, readonly number[]])[] = [
  [
    "f32",
    [0, -0, 0.9, -0.9, 1.5, -1.5, 2147483520, 2147483648, 1e30, -2147483648, -1e30, inf, -inf, NaN],
    "i32",
    [0, 0, 0, 0, 1, -1, 2147483520, MOST, MOST, LEAST, LEAST, MOST, LEAST, 0],
  ],
  ["f32", [0, -0, 1, -1, 2 ** -126, inf, -inf, NaN], "bool", [0, 0, 1, 1, 1, 1, 1, 1]],
  [
    "f32",
    [
      65504,
      65519,
      65520,
      1e30,
      -1e30,
      2 ** -14,
      2 ** -24,
      2 ** -25,
      2 ** -126,
      1 + 2 ** -11,
      1 + 3 * 2 ** -11,
      inf,
      NaN,
    ],
    "f16",
    [65504, 65504, inf, inf, -inf, 2 ** -14, 2 ** -24, 0, 0, 1, 1 + 2 ** -9, inf, NaN],
  ],
  ["i32", [0, 1, -1, MOST, LEAST, 16777217], "f32", [0, 1, -1, 2147483648, -2147483648, 16777216]],
  ["i32", [0, 2048, 2049, 65504, 70000, LEAST], "f16", [0, 2048, 2048, 65504, inf, -inf]],
  ["i32", [0, 1, -1, LEAST], "bool", [0, 1, 1, 1]],
  ["bool", [0, 1], "f32", [0, 1]],
  ["bool", [0, 1], "i32", [0, 1]],
  ["f16", [0, 65504, inf, -inf, NaN, 2 ** -24], "f32", [0, 65504, inf, -inf, NaN, 2 ** -24]],
];

const make = (data: readonly number[], dtype: DType): Tensor =>
  dtype === "i32"
    ? tensor(Int32Array.from(data))
    : dtype === "bool"
      ? tensor(Uint8Array.from(data))
      : tensor(Float64Array.from(data), [data.length], dtype);

/** Compares what is built with what is right at each place. @throws LawError */
type Compare = (
  law: string,
  build: () => Tensor,
  expected: readonly (number | undefined)[],
  at: (k: number) => string,
  tolerance?: { readonly relative?: number; readonly absolute?: number },
) => Promise<void>;

/**
 * Compares every elementwise row with its table on a device, fused and not.
 * @returns How many numbers were compared.
 * @throws LawError naming the row, its arguments, and what is right.
 */
export async function checkSpecialValues(device: Device): Promise<number> {
  let compared = 0;
  const compare: Compare = async (law, build, expected, at, tolerance = {}) => {
    for (const fuse of [true, false]) {
      const y = await realize(build(), { device, fuse });
      const actual = await y.data();
      y.dispose();
      expected.forEach((right, k) => {
        compared++;
        const got = fround(actual[k]!);
        const ok =
          right === undefined
            ? Math.abs(got) <= 1
            : Object.is(got, right) ||
              got === fround(right) ||
              Math.abs(got - right) <=
                (tolerance.relative ?? 0) * Math.abs(right) + (tolerance.absolute ?? 0) + FLUSHED;
        if (!ok)
          throw new LawError(
            `${law} on ${fuse ? "fused" : "unfused"} ${device.name}`,
            `expected ${right ?? "a number within -1 and 1"} at ${at(k)}, got ${got}`,
          );
      });
    }
  };
  await functionsOfOne(compare);
  await composedFunctions(compare);
  await whereTheyCancel(compare);
  await functionsOfTwo(compare);
  await wholeNumbers(compare);
  await chosenAndSummed(compare);
  return compared;
}

/** Functions of one real number, and their slopes. */
async function functionsOfOne(compare: Compare): Promise<void> {
  for (const op of opTable) {
    const record = elementwiseRecords[op.name];
    if (!record?.special) continue;
    const { special, ulp = 0, near = 0 } = record;
    const f = op.samples[0]!.apply;
    const tolerance = { relative: ulp * 2 ** -23, absolute: near };
    const at = (k: number): string => String(SPECIAL[k]);
    await compare(op.name, () => f(make(SPECIAL, "f32")), special.values, at, tolerance);
    if (special.slopes)
      await compare(
        `slope of ${op.name}`,
        () => grad((x: Tensor) => sum(f(x)))(make(SPECIAL, "f32")),
        special.slopes,
        at,
        { relative: 8 * 2 ** -23, absolute: 2 * near },
      );
  }
}

/** Functions that are composed of several rows, and their slopes. */
async function composedFunctions(compare: Compare): Promise<void> {
  for (const [name, f, values, slopes] of COMPOSED) {
    const at = (k: number): string => String(SPECIAL[k]);
    await compare(name, () => f(make(SPECIAL, "f32")), values, at, { relative: 2e-6 });
    if (slopes)
      await compare(`slope of ${name}`, () => grad((x: Tensor) => sum(f(x)))(make(SPECIAL, "f32")), slopes, at, {
        relative: 4e-6,
        absolute: 4e-7,
      });
  }
}

/** Functions of one where a formula may cancel, and of f16. */
async function whereTheyCancel(compare: Compare): Promise<void> {
  for (const op of opTable) {
    const record = elementwiseRecords[op.name];
    if (!record?.special) continue;
    const { number, ulp = 0, near = 0, result } = record;
    const f = op.samples[0]!.apply;
    const wide = Math.max(ulp, 1) * 2 ** -23;
    await compare(
      `${op.name} where it may cancel`,
      () => f(make(CANCELLING, "f32")),
      CANCELLING.map((x) => number(x)),
      (k) => String(CANCELLING[k]),
      { relative: wide, absolute: near },
    );
    const slope = SLOPES[op.name];
    if (slope)
      // 1 - y^2 keeps what y has beside 1
      await compare(
        `slope of ${op.name} where it may cancel`,
        () => grad((x: Tensor) => sum(f(x)))(make(CANCELLING, "f32")),
        CANCELLING.map(slope),
        (k) => String(CANCELLING[k]),
        { relative: 4 * wide, absolute: 2 ** -22 },
      );
    if (record.accepts.includes("f16") && !result)
      await compare(
        `${op.name} of f16`,
        () => f(make(HALF, "f16")),
        HALF.map((x) => roundToHalf(number(x))),
        (k) => String(HALF[k]),
        { relative: 2 ** -10, absolute: Math.max(near, 2 ** -24) },
      );
  }
}

/** Functions of two, at all pairs. */
async function functionsOfTwo(compare: Compare): Promise<void> {
  const pairs = SPECIAL.flatMap((x) => SPECIAL.map((y) => [x, y] as const));
  const [left, right] = [0, 1].map(
    (k) => (): Tensor =>
      make(
        pairs.map((pair) => pair[k]!),
        "f32",
      ),
  ) as [() => Tensor, () => Tensor];
  const at = (k: number): string => String(pairs[k]);
  for (const [name, f, exact, ...slopes] of REAL_PAIRS) {
    // numbers are constants of the program, tensors are memory
    for (const [side, build] of [
      ["left", () => SPECIAL.map((x) => apply(f, x, make(SPECIAL, "f32")))],
      ["right", () => SPECIAL.map((y) => apply(f, make(SPECIAL, "f32"), y))],
    ] as const)
      await compare(
        `${name} of a number on the ${side}`,
        () => stack(build()),
        pairs.map(([x, y]) => (side === "left" ? exact(x, y) : exact(y, x))),
        at,
      );
    await compare(
      `${name} of a number and itself`,
      () => itself(f, make(SPECIAL, "f32")),
      SPECIAL.map((x) => exact(x, x)),
      (k) => String(SPECIAL[k]),
    );
    await compare(
      name,
      () => f(left(), right()),
      pairs.map(([x, y]) => exact(x, y)),
      at,
    );
    for (const [k, slope] of slopes.entries())
      await compare(
        `slope ${k} of ${name}`,
        () => grad((given: readonly Tensor[]) => sum(f(given[0]!, given[1]!)))([left(), right()])[k]!,
        pairs.map(([x, y]) => slope(x, y)),
        at,
        { relative: 4 * 2 ** -23 },
      );
  }
}

async function wholeNumbers(compare: Compare): Promise<void> {
  const whole = INTEGERS.flatMap((x) => INTEGERS.map((y) => [x, y] as const));
  const [first, second] = [0, 1].map(
    (k) => (): Tensor =>
      make(
        whole.map((pair) => pair[k]!),
        "i32",
      ),
  ) as [() => Tensor, () => Tensor];
  for (const [name, f, exact] of INTEGER_PAIRS)
    await compare(
      `${name} of i32`,
      () => f(first(), second()),
      whole.map(([x, y]) => exact(BigInt(x), BigInt(y))),
      (k) => String(whole[k]),
    );
  const integers = (): Tensor => make(INTEGERS, "i32");
  const one = (k: number): string => String(INTEGERS[k]);
  await compare(
    "neg of i32",
    () => neg(integers()),
    INTEGERS.map((x) => wrapped(-BigInt(x))),
    one,
  );
  await compare(
    "abs of i32",
    () => abs(integers()),
    INTEGERS.map((x) => wrapped(BigInt(Math.abs(x)))),
    one,
  );
  for (const by of [0, 1, 16, 31]) {
    await compare(
      `shiftLeft by ${by}`,
      () => shiftLeft(integers(), by),
      INTEGERS.map((x) => wrapped(BigInt(x) << BigInt(by))),
      one,
    );
    await compare(
      `shiftRight by ${by}`,
      () => shiftRight(integers(), by),
      INTEGERS.map((x) => wrapped(BigInt.asUintN(32, BigInt(x)) >> BigInt(by))),
      one,
    );
  }
}

/** Casts, choices, sums and maxima. */
async function chosenAndSummed(compare: Compare): Promise<void> {
  for (const [from, values, to, results] of CASTS)
    await compare(
      `cast of ${from} to ${to}`,
      () => cast(make(values, from), to),
      results,
      (k) => String(values[k]),
    );

  // chosen, not multiplied: what is not taken does not matter
  await compare(
    "where",
    () => where(make([1, 0, 1, 0], "bool"), make([1, NaN, inf, inf], "f32"), make([NaN, 2, NaN, -inf], "f32")),
    [1, 2, inf, -inf],
    (k) => `element ${k}`,
  );
  for (const [list, total, largest] of [
    [[1, NaN, 2], NaN, NaN],
    [[inf, 1, -1], inf, inf],
    [[inf, -inf], NaN, inf],
    [[-inf, -inf], -inf, -inf],
  ] as const) {
    await compare(
      `sum of ${list.join()}`,
      () => sum(make(list, "f32"), 0, { keepDims: true }),
      [total],
      () => "all",
    );
    await compare(
      `max of ${list.join()}`,
      () => max(make(list, "f32"), 0, { keepDims: true }),
      [largest],
      () => "all",
    );
  }
}
