/**
 * Elementwise functions. Those that are intrinsics of the kernel IR are a record each; a new one is its record here, its
 * WebAssembly (devices/cpu/wasm/vector-math.ts, or devices/cpu/loops/intrinsics.ts for an instruction) and its WGSL (wgsl/functions.ts of the
 * webgpu package). Operands broadcast; numbers are constants.
 */
import { assertTensor } from "../graph/assert.js";
import { assertDType, type DType } from "../graph/dtype.js";
import type { Op } from "../graph/op.js";
import { broadcastShapes } from "../graph/shape.js";
import { callOp, Tensor } from "../graph/tensor.js";
import type { Intrinsic, Scalar } from "../ir/loop.js";
import { assertOperands, elementwise, elementwiseRow, type Operand } from "./elementwise-row.js";
import { full } from "./generators.js";
import { ANY, BOOL, INTEGER, MAX, NUMBER, REAL, SINGLE, TINY, type IntrinsicRecord } from "./intrinsic.js";
import { broadcastTo } from "./movement.js";
import { castRow, whereRow } from "./where-and-cast.js";

export type { Operand } from "./elementwise-row.js";

const { PI, E } = Math;
const inf = Infinity;
const NONE = NaN;

/** A function of one tensor that is an intrinsic of the kernel IR. */
export interface Unary<Name extends string> {
  (x: Tensor): Tensor;
  /** Its name in the kernel IR. @internal */
  readonly intrinsic: Name;
  /** @internal */
  readonly record: IntrinsicRecord;
  /** @internal */
  readonly row: Op;
}

/** A function of two tensors, or a tensor and a number, that is an intrinsic of the kernel IR. */
export interface Binary<Name extends string> {
  (x: Operand, y: Operand): Tensor;
  /** Its name in the kernel IR. @internal */
  readonly intrinsic: Name;
  /** @internal */
  readonly record: IntrinsicRecord;
  /** @internal */
  readonly row: Op;
}

function intrinsic(arity: 1 | 2, name: string, spec: Omit<IntrinsicRecord, "arity">, called: string) {
  const record: IntrinsicRecord = { arity, ...spec };
  const row = elementwiseRow(called, record, (args, dtype) => ({ op: name as Intrinsic, dtype, args }));
  // No more than its operands: list.reduce(add) hands on the index too.
  const apply =
    arity === 1
      ? (x: Operand): Tensor => elementwise(row, [x])
      : (x: Operand, y: Operand): Tensor => elementwise(row, [x, y]);
  return Object.assign(apply, { intrinsic: name, record, row });
}

const unary = <Name extends string>(name: Name, spec: Omit<IntrinsicRecord, "arity">, called: string = name) =>
  intrinsic(1, name, spec, called) as unknown as Unary<Name>;
const binary = <Name extends string>(name: Name, spec: Omit<IntrinsicRecord, "arity">, called: string = name) =>
  intrinsic(2, name, spec, called) as unknown as Binary<Name>;

/** NaN if either is. */
const chooses =
  (choose: (x: number, y: number) => number) =>
  (x: number, y: number): number =>
    x !== x || y !== y ? NaN : choose(x, y);

/** x + y, elementwise with broadcasting. */
export const add: Binary<"add"> = binary("add", {
  accepts: NUMBER,
  cost: "one",
  ulp: 1,
  number: (x, y) => x + y,
  derivative: (g) => [g, g],
});

/** x - y. */
export const sub: Binary<"sub"> = binary("sub", {
  accepts: NUMBER,
  cost: "one",
  ulp: 1,
  number: (x, y) => x - y,
  derivative: (g) => [g, neg(g)],
});

/** x y. */
export const mul: Binary<"mul"> = binary("mul", {
  accepts: NUMBER,
  cost: "one",
  ulp: 1,
  number: (x, y) => x * y,
  integer: Math.imul,
  derivative: (g, [x, y]) => [mul(g, y!), mul(g, x!)],
});

/** x / y, f32. */
export const div: Binary<"div"> = binary("div", {
  accepts: REAL,
  cost: "some",
  ulp: 1,
  low: 0.5,
  high: 3,
  number: (x, y) => x / y,
  derivative: (g, [, y], out) => [div(g, y!), neg(div(mul(g, out), y!))],
});

// At a tie the cotangent goes to both halves.
/** The smaller of x and y; NaN if either is. */
export const minimum: Binary<"min"> = binary(
  "min",
  {
    accepts: NUMBER,
    cost: "one",
    number: chooses(Math.min),
    derivative: (g, [x, y], out) => chosen(g, x!, y!, out),
  },
  "minimum",
);

/** The larger of x and y; NaN if either is. */
export const maximum: Binary<"max"> = binary(
  "max",
  {
    accepts: NUMBER,
    cost: "one",
    number: chooses(Math.max),
    derivative: (g, [x, y], out) => chosen(g, x!, y!, out),
  },
  "maximum",
);

/** -x. */
export const neg: Unary<"neg"> = unary("neg", {
  accepts: NUMBER,
  cost: "one",
  number: (x) => -x,
  derivative: (g) => [neg(g)],
  special: {
    values: [-0, 0, -1, 1, -TINY, TINY, -MAX, MAX, -inf, inf, NONE],
    slopes: [-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1],
  },
});

/** |x|; the derivative at 0 is 0. */
export const abs: Unary<"abs"> = unary("abs", {
  accepts: NUMBER,
  cost: "one",
  low: 0.1,
  number: Math.abs,
  derivative: (g, [x]) => [where(less(x!, 0), neg(g), where(equal(x!, 0), 0, g))],
  special: {
    values: [0, 0, 1, 1, TINY, TINY, MAX, MAX, inf, inf, NONE],
    // 0 at 0, as in PyTorch; 1 at NaN, which is no number smaller than 0
    slopes: [0, 0, 1, -1, 1, -1, 1, -1, 1, -1, 1],
  },
});

/** Square root. */
export const sqrt: Unary<"sqrt"> = unary("sqrt", {
  accepts: REAL,
  cost: "some",
  ulp: 1,
  low: 0.2,
  high: 4,
  number: Math.sqrt,
  derivative: (g, _, y) => [div(mul(g, 0.5), y)],
  special: {
    values: [0, -0, 1, NONE, 1.0842021724855044e-19, NONE, 1.8446743e19, NONE, inf, NONE, NONE],
    slopes: [inf, -inf, 0.5, NONE, 4.611686e18, NONE, 2.7105055e-20, NONE, 0, NONE, NONE],
  },
});

/** e^x. */
export const exp: Unary<"exp"> = unary("exp", {
  accepts: REAL,
  cost: "dear",
  ulp: 3,
  number: Math.exp,
  derivative: (g, _, y) => [mul(g, y)],
  special: {
    values: [1, 1, E, 1 / E, 1, 1, inf, 0, inf, 0, NONE],
    slopes: [1, 1, E, 1 / E, 1, 1, inf, 0, inf, 0, NONE],
  },
});

/** Natural logarithm. */
export const log: Unary<"log"> = unary("log", {
  accepts: REAL,
  cost: "dear",
  ulp: 3,
  near: 1e-7,
  low: 0.2,
  high: 4,
  number: Math.log,
  derivative: (g, [x]) => [div(g, x!)],
  special: {
    values: [-inf, -inf, 0, NONE, -87.33654475, NONE, 88.72283906, NONE, inf, NONE, NONE],
    slopes: [inf, -inf, 1, -1, 2 ** 126, -(2 ** 126), 1 / MAX, -1 / MAX, 0, -0, NONE],
  },
});

/** e^x - 1 without cancellation near 0. */
export const expm1: Unary<"expm1"> = unary("expm1", {
  accepts: REAL,
  cost: "dear",
  ulp: 3,
  number: Math.expm1,
  derivative: (g, _, y) => [mul(g, add(y, 1))],
  special: {
    values: [0, -0, E - 1, 1 / E - 1, TINY, -TINY, inf, -1, inf, -1, NONE],
    slopes: [1, 1, E, 1 / E, 1, 1, inf, 0, inf, 0, NONE],
  },
});

/** log(1 + x) without cancellation near 0. */
export const log1p: Unary<"log1p"> = unary("log1p", {
  accepts: REAL,
  cost: "dear",
  ulp: 3,
  near: 1e-7,
  low: -0.7,
  high: 3,
  number: Math.log1p,
  derivative: (g, [x]) => [div(g, add(x!, 1))],
  special: {
    values: [0, -0, Math.LN2, -inf, TINY, -TINY, 88.72283906, NONE, inf, NONE, NONE],
    slopes: [1, 1, 0.5, inf, 1, 1, 1 / MAX, -1 / MAX, 0, -0, NONE],
  },
});

/** Sine, x in radians. */
export const sin: Unary<"sin"> = unary("sin", {
  accepts: REAL,
  cost: "dear",
  ulp: 3,
  near: 2e-7,
  low: -6,
  high: 6,
  number: Math.sin,
  derivative: (g, [x]) => [mul(g, cos(x!))],
  special: {
    // of angles beyond 1e9 the cpu device keeps no more than the bounds
    values: [0, -0, 0.8414709848, -0.8414709848, TINY, -TINY, undefined, undefined, NONE, NONE, NONE],
    slopes: [1, 1, 0.5403023059, 0.5403023059, 1, 1, undefined, undefined, NONE, NONE, NONE],
  },
});

/** Cosine, x in radians. */
export const cos: Unary<"cos"> = unary("cos", {
  accepts: REAL,
  cost: "dear",
  ulp: 3,
  near: 2e-7,
  low: -6,
  high: 6,
  number: Math.cos,
  derivative: (g, [x]) => [neg(mul(g, sin(x!)))],
  special: {
    values: [1, 1, 0.5403023059, 0.5403023059, 1, 1, undefined, undefined, NONE, NONE, NONE],
    slopes: [-0, 0, -0.8414709848, 0.8414709848, -TINY, TINY, undefined, undefined, NONE, NONE, NONE],
  },
});

/** Hyperbolic tangent. */
export const tanh: Unary<"tanh"> = unary("tanh", {
  accepts: REAL,
  cost: "dear",
  ulp: 3,
  number: Math.tanh,
  derivative: (g, _, y) => [mul(g, sub(1, mul(y, y)))],
  special: {
    values: [0, -0, 0.761594156, -0.761594156, TINY, -TINY, 1, -1, 1, -1, NONE],
    slopes: [1, 1, 0.4199743416, 0.4199743416, 1, 1, 0, 0, 0, 0, NONE],
  },
});

/** 1 / (1 + e^-x), without overflow. */
export const sigmoid: Unary<"sigmoid"> = unary("sigmoid", {
  accepts: REAL,
  cost: "dear",
  ulp: 3,
  low: -8,
  high: 8,
  number: (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x))),
  derivative: (g, _, y) => [mul(g, mul(y, sub(1, y)))],
  special: {
    values: [0.5, 0.5, 0.7310585786, 0.2689414214, 0.5, 0.5, 1, 0, 1, 0, NONE],
    slopes: [0.25, 0.25, 0.1966119332, 0.1966119332, 0.25, 0.25, 0, 0, 0, 0, NONE],
  },
});

/** Error function. */
export const erf: Unary<"erf"> = unary("erf", {
  accepts: REAL,
  cost: "dear",
  ulp: 3,
  near: 2e-7,
  number: erfNumber,
  derivative: (g, [x]) => [mul(g, mul(2 / Math.sqrt(PI), exp(neg(mul(x!, x!)))))],
  special: {
    values: [0, -0, 0.8427007929, -0.8427007929, 1.3263754e-38, -1.3263754e-38, 1, -1, 1, -1, NONE],
    slopes: [1.128379167, 1.128379167, 0.4151074974, 0.4151074974, 1.128379167, 1.128379167, 0, 0, 0, 0, NONE],
  },
});

/** The angle whose tangent is x, in -pi/2..pi/2. */
export const atan: Unary<"atan"> = unary("atan", {
  accepts: REAL,
  cost: "dear",
  ulp: 3,
  number: Math.atan,
  // 1 / (1 + x^2); the square of a large x may overflow: then it is 0
  derivative: (g, [x]) => [div(g, add(mul(x!, x!), 1))],
  special: {
    values: [0, -0, PI / 4, -PI / 4, TINY, -TINY, PI / 2, -PI / 2, PI / 2, -PI / 2, NONE],
    slopes: [1, 1, 0.5, 0.5, 1, 1, 0, 0, 0, 0, NONE],
  },
});

/** Largest integer at most x, as f32. */
export const floor: Unary<"floor"> = unary("floor", {
  accepts: REAL,
  cost: "one",
  number: Math.floor,
  derivative: false,
  special: { values: [0, -0, 1, -1, 0, -1, MAX, -MAX, inf, -inf, NONE] },
});

/** Whether x is NaN. */
export const isNaN: Unary<"isNan"> = unary(
  "isNan",
  {
    accepts: REAL,
    result: "bool",
    cost: "free",
    number: (x) => Number(x !== x),
    derivative: false,
    special: { values: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] },
  },
  "isNaN",
);

// i32: two's complement; shifts take 0..31, shiftRight fills with zeros
/** Bitwise and, i32. */
export const bitAnd: Binary<"bitAnd"> = binary("bitAnd", {
  accepts: INTEGER,
  cost: "one",
  number: (x, y) => x & y,
  derivative: false,
});

/** Bitwise or, i32. */
export const bitOr: Binary<"bitOr"> = binary("bitOr", {
  accepts: INTEGER,
  cost: "one",
  number: (x, y) => x | y,
  derivative: false,
});

/** Bitwise exclusive or, i32. */
export const bitXor: Binary<"bitXor"> = binary("bitXor", {
  accepts: INTEGER,
  cost: "one",
  number: (x, y) => x ^ y,
  derivative: false,
});

/** x << y, i32, y in 0..31. */
export const shiftLeft: Binary<"shiftLeft"> = byPlaces("shiftLeft", (x, y) => x << y);

/** x >>> y, i32, y in 0..31; zeros come in from the left. */
export const shiftRight: Binary<"shiftRight"> = byPlaces("shiftRight", (x, y) => (x >>> y) | 0);

/** x < y as bool. */
export const less: Binary<"less"> = binary("less", {
  accepts: NUMBER,
  result: "bool",
  cost: "free",
  number: (x, y) => Number(x < y),
  derivative: false,
});

/** x <= y as bool. */
export const lessEqual: Binary<"lessEqual"> = binary("lessEqual", {
  accepts: NUMBER,
  result: "bool",
  cost: "free",
  number: (x, y) => Number(x <= y),
  derivative: false,
});

/** x = y as bool. */
export const equal: Binary<"equal"> = binary("equal", {
  accepts: ANY,
  result: "bool",
  cost: "free",
  number: (x, y) => Number(x === y),
  derivative: false,
});

/** Logical and of bools. */
export const and: Binary<"and"> = binary("and", {
  accepts: BOOL,
  cost: "free",
  number: (x, y) => x & y,
  derivative: false,
});

/** Logical or of bools. */
export const or: Binary<"or"> = binary("or", {
  accepts: BOOL,
  cost: "free",
  number: (x, y) => x | y,
  derivative: false,
});

/** Logical not of a bool. */
export const not: Unary<"not"> = unary("not", { accepts: BOOL, cost: "free", number: (x) => 1 - x, derivative: false });

/** log(1 + e^x), without overflow or cancellation; f32 only. */
export const softplus: ((x: Tensor) => Tensor) & {
  /** @internal */ readonly record: IntrinsicRecord;
  /** @internal */ readonly row: Op;
} = composed(
  "softplus",
  {
    arity: 1,
    accepts: SINGLE,
    cost: "dear",
    // an exponential, its logarithm and a sum
    ulp: 6,
    low: -8,
    high: 8,
    number: (x) => (x !== x ? x : Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))),
    derivative: (g, [x]) => [mul(g, sigmoid(x!))],
    special: {
      values: [Math.LN2, Math.LN2, 1.313261688, 0.3132616875, Math.LN2, Math.LN2, MAX, 0, inf, 0, NONE],
      slopes: [0.5, 0.5, 0.7310585786, 0.2689414214, 0.5, 0.5, 1, 0, 1, 0, NONE],
    },
  },
  softplusScalar,
);

/** A shift: devices have no common meaning for places outside 0..31. */
function byPlaces<Name extends string>(name: Name, number: (x: number, y: number) => number): Binary<Name> {
  const shift = binary(name, { accepts: INTEGER, cost: "one", low: 0, high: 31, number, derivative: false });
  const apply = (x: Operand, places: Operand): Tensor => {
    if (typeof places === "number" && !(places >= 0 && places <= 31))
      throw new RangeError(`${name}: expected places from 0 to 31, got ${places}; change them`);
    return shift(x, places);
  };
  return Object.assign(apply, { intrinsic: shift.intrinsic, record: shift.record, row: shift.row });
}

/** A function of several intrinsics with a gradient of its own: that of the parts of softplus would divide, and treat 0 by itself. */
function composed(name: string, record: IntrinsicRecord, scalar: (args: readonly Scalar[]) => Scalar) {
  const row = elementwiseRow(name, record, scalar, false);
  return Object.assign((x: Tensor): Tensor => elementwise(row, [x]), { record, row });
}

/** max(x, 0) + log(1 + e^-|x|). */
function softplusScalar([x]: readonly Scalar[]): Scalar {
  const f = (op: Intrinsic, ...args: Scalar[]): Scalar => ({ op, dtype: "f32", args });
  return f(
    "add",
    f("max", x!, { op: "constant", dtype: "f32", value: 0 }),
    f("log1p", f("exp", f("neg", f("abs", x!)))),
  );
}

/** Cotangents of min or max: to the operand chosen, half each at a tie. */
function chosen(g: Tensor, x: Tensor, y: Tensor, out: Tensor): readonly Tensor[] {
  const share = where(equal(x, y), full(x.shape, 0.5, g.dtype), 1);
  const part = mul(g, share);
  return [where(equal(x, out), part, 0), where(equal(y, out), part, 0)];
}

/** Error function in float64: Taylor series up to 3, continued fraction of the complement beyond. */
function erfNumber(x: number): number {
  const z = Math.abs(x);
  if (!(z < 6)) return x !== x ? NaN : Math.sign(x);
  if (z < 3) {
    let term = z;
    let sum = z;
    for (let n = 1; Math.abs(term) > 1e-18 * sum; n++) {
      term *= (-z * z) / n;
      sum += term / (2 * n + 1);
    }
    return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let k = 60; k > 0; k--) fraction = k / 2 / (z + fraction);
  return Math.sign(x) * (1 - Math.exp(-z * z) / Math.sqrt(Math.PI) / (z + fraction));
}

/** x > y as bool. */
export const greater = (x: Operand, y: Operand): Tensor => less(y, x);
/** x >= y as bool. */
export const greaterEqual = (x: Operand, y: Operand): Tensor => lessEqual(y, x);

/** x where the bool condition holds, else y. The branch not taken gets a zero cotangent, so guard its argument against infinities. */
export function where(condition: Tensor, x: Operand, y: Operand): Tensor {
  assertTensor("where", condition);
  assertOperands("where", [x, y]);
  const branches = [x, y].filter((value) => value instanceof Tensor);
  const dtype = branches[0]?.dtype ?? "f32";
  const shape = [condition, ...branches]
    .map((value) => value.shape)
    .reduce((a, b) => broadcastShapes(a, b, "where"), []);
  const fit = (value: Operand): Tensor =>
    typeof value === "number" ? full(shape, value, dtype) : broadcastTo(value, shape);
  return callOp(whereRow, [broadcastTo(condition, shape), fit(x), fit(y)])[0]!;
}

/**
 * Converts the element type: f32 and f16 to i32 truncates toward zero, anything to bool compares with zero, bool gives 0 and 1,
 * f16 takes the nearest number, the even one of two equally near. The cotangent of a cast between f32 and f16 is cast back.
 */
export function cast(x: Tensor, dtype: DType): Tensor {
  assertTensor("cast", x);
  assertDType("cast", dtype);
  if (x.dtype === dtype) return x;
  return callOp(castRow, [x], { dtype })[0]!;
}
