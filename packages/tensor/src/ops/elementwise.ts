/**
 * Elementwise rows. A row is its scalar function: the intrinsic of the kernel IR, its
 * float64 meaning, and its derivative in terms of other ops. Operands broadcast; numbers are constants.
 */
import { isReal, type DType } from "../graph/dtype.js";
import { DTypeError } from "../graph/errors.js";
import type { Intrinsic, Scalar } from "../ir/loop.js";
import type { Op, Sample } from "../graph/op.js";
import { broadcastShapes, formatShape, sameShape } from "../graph/shape.js";
import { callOp, Tensor } from "../graph/tensor.js";
import { broadcastTo } from "./movement.js";
import { full } from "./generators.js";

/** What an elementwise function takes: a tensor, or a number that is constant over the shape. */
export type Operand = Tensor | number;

type Derivative = (cotangent: Tensor, inputs: readonly Tensor[], output: Tensor) => readonly (Tensor | undefined)[];

interface Row {
  /** Element types each operand may have. All operands but a `where` condition share one. */
  readonly accepts: readonly DType[];
  readonly result?: DType;
  readonly number: (...args: number[]) => number;
  readonly derivative?: Derivative;
  readonly arity: 1 | 2;
  /** What the kernel IR computes, if it is not one intrinsic. */
  readonly scalar?: (args: readonly Scalar[]) => Scalar;
  /** The op's name where it is not the intrinsic's. */
  readonly name?: string;
  /** Range of the sample values. */
  readonly low?: number;
  readonly high?: number;
  /** No derivative worth comparing with finite differences (steps, or zero everywhere). */
  readonly differentiable?: boolean;
}

/** Step sizes and decays are made of it, which need the range and the precision of f32. */
const SINGLE: readonly DType[] = ["f32"];
const REAL: readonly DType[] = ["f32", "f16"];
const NUMBER: readonly DType[] = ["f32", "i32", "f16"];
const INTEGER: readonly DType[] = ["i32"];
const BOOL: readonly DType[] = ["bool"];
const ANY: readonly DType[] = ["f32", "i32", "bool", "f16"];

function row(intrinsic: Intrinsic, spec: Row): Op {
  const { name = intrinsic } = spec;
  const op: Op = {
    name,
    rule: {
      kind: "elementwise",
      scalar: spec.scalar ?? ((args, dtype) => ({ op: intrinsic, dtype, args })),
      number: spec.number,
    },
    infer(inputs) {
      const first = inputs[0]!;
      for (const input of inputs) {
        if (!spec.accepts.includes(input.dtype))
          throw new DTypeError(
            `${name}: expected ${spec.accepts.join(" or ")}, got ${input.dtype} ${formatShape(input.shape)}; convert it with cast`,
          );
        if (input.dtype !== first.dtype)
          throw new DTypeError(
            `${name}: expected operands of one type, got ${first.dtype} ${formatShape(first.shape)} and ${input.dtype} ${formatShape(input.shape)}; convert one with cast`,
          );
      }
      return [{ shape: first.shape, dtype: spec.result ?? first.dtype }];
    },
    ...(spec.derivative && {
      gradient: (call, [cotangent]) => spec.derivative!(cotangent!, call.inputs, call.outputs[0]!),
    }),
    samples: [],
  };
  const apply = (...inputs: Tensor[]): Tensor => elementwise(op, inputs);
  return { ...op, samples: samplesOf(spec, apply) };
}

function samplesOf(spec: Row, apply: (...inputs: Tensor[]) => Tensor): Sample[] {
  const shapes =
    spec.arity === 1
      ? [[[5]], [[2, 3, 4]], [[1, 1]], [[]], [[0, 3]]]
      : [
          [[5], [5]],
          [[1], [1, 1]],
          [[2, 3], [3]],
          [
            [4, 1, 3],
            [2, 1],
          ],
          [[], [2, 2]],
          [
            [0, 3],
            [1, 3],
          ],
        ];
  // what differs in f16 is how elements are stored, in vectors or singly
  const halfShapes =
    spec.arity === 1
      ? [[[5]], [[2, 3, 4]]]
      : [
          [[5], [5]],
          [
            [4, 1, 3],
            [2, 1],
          ],
        ];
  const { low = -2, high = 2, differentiable = spec.derivative !== undefined } = spec;
  return spec.accepts.flatMap((dtype) =>
    (dtype === "f16" ? halfShapes : shapes).map((list) => ({
      name: `${dtype} ${list.map(formatShape).join(" ")}`,
      inputs: list.map((shape) =>
        isReal(dtype)
          ? { shape, dtype, low, high }
          : dtype === "i32"
            ? { shape, dtype, low: Math.max(low, -9), high: Math.max(high, 9) }
            : { shape, dtype, low: 0, high: 2 },
      ),
      apply,
      differentiable: differentiable && dtype === "f32",
    })),
  );
}

const unary = (name: Intrinsic, spec: Omit<Row, "arity">): Op => row(name, { ...spec, arity: 1 });
const binary = (name: Intrinsic, spec: Omit<Row, "arity">): Op => row(name, { ...spec, arity: 2 });

/** Makes numbers constants of the tensors' type and broadcasts all operands to one shape. */
function elementwise(op: Op, operands: readonly Operand[]): Tensor {
  const tensors = operands.filter((x) => x instanceof Tensor);
  const dtype = tensors[0]?.dtype ?? "f32";
  const shape = tensors.map((x) => x.shape).reduce((a, b) => broadcastShapes(a, b, op.name), []);
  const inputs = operands.map((x) => {
    if (typeof x === "number") {
      if (!isReal(dtype) && !Number.isInteger(x))
        throw new DTypeError(
          `${op.name}: expected an integer beside an ${dtype} tensor, got ${x}; cast the tensor to f32 first`,
        );
      return full(shape, x, dtype);
    }
    return sameShape(x.shape, shape) ? x : broadcastTo(x, shape);
  });
  return callOp(op, inputs)[0]!;
}

const u32 = (x: number): number => x | 0;

/** The rows of this file. @internal */
export const elementwiseRows = {
  add: binary("add", { accepts: NUMBER, number: (x, y) => x + y, derivative: (g) => [g, g] }),
  sub: binary("sub", { accepts: NUMBER, number: (x, y) => x - y, derivative: (g) => [g, neg(g)] }),
  mul: binary("mul", { accepts: NUMBER, number: (x, y) => x * y, derivative: (g, [x, y]) => [mul(g, y!), mul(g, x!)] }),
  div: binary("div", {
    accepts: REAL,
    low: 0.5,
    high: 3,
    number: (x, y) => x / y,
    derivative: (g, [, y], out) => [div(g, y!), neg(div(mul(g, out), y!))],
  }),
  // At a tie the cotangent goes to both halves.
  minimum: binary("min", {
    name: "minimum",
    accepts: NUMBER,
    number: (x, y) => (x !== x || y !== y ? NaN : Math.min(x, y)),
    derivative: (g, [x, y], out) => chosen(g, x!, y!, out),
  }),
  maximum: binary("max", {
    name: "maximum",
    accepts: NUMBER,
    number: (x, y) => (x !== x || y !== y ? NaN : Math.max(x, y)),
    derivative: (g, [x, y], out) => chosen(g, x!, y!, out),
  }),
  neg: unary("neg", { accepts: NUMBER, number: (x) => -x, derivative: (g) => [neg(g)] }),
  abs: unary("abs", {
    accepts: NUMBER,
    low: 0.1,
    number: Math.abs,
    derivative: (g, [x]) => [where(less(x!, 0), neg(g), where(equal(x!, 0), 0, g))],
  }),
  sqrt: unary("sqrt", {
    accepts: REAL,
    low: 0.2,
    high: 4,
    number: Math.sqrt,
    derivative: (g, _, y) => [div(mul(g, 0.5), y)],
  }),
  exp: unary("exp", { accepts: REAL, number: Math.exp, derivative: (g, _, y) => [mul(g, y)] }),
  log: unary("log", { accepts: REAL, low: 0.2, high: 4, number: Math.log, derivative: (g, [x]) => [div(g, x!)] }),
  expm1: unary("expm1", { accepts: REAL, number: Math.expm1, derivative: (g, _, y) => [mul(g, add(y, 1))] }),
  log1p: unary("log1p", {
    accepts: REAL,
    low: -0.7,
    high: 3,
    number: Math.log1p,
    derivative: (g, [x]) => [div(g, add(x!, 1))],
  }),
  sin: unary("sin", { accepts: REAL, low: -6, high: 6, number: Math.sin, derivative: (g, [x]) => [mul(g, cos(x!))] }),
  cos: unary("cos", {
    accepts: REAL,
    low: -6,
    high: 6,
    number: Math.cos,
    derivative: (g, [x]) => [neg(mul(g, sin(x!)))],
  }),
  tanh: unary("tanh", { accepts: REAL, number: Math.tanh, derivative: (g, _, y) => [mul(g, sub(1, mul(y, y)))] }),
  sigmoid: unary("sigmoid", {
    accepts: REAL,
    low: -8,
    high: 8,
    number: (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x))),
    derivative: (g, _, y) => [mul(g, mul(y, sub(1, y)))],
  }),
  erf: unary("erf", {
    accepts: REAL,
    number: erfNumber,
    derivative: (g, [x]) => [mul(g, mul(2 / Math.sqrt(Math.PI), exp(neg(mul(x!, x!)))))],
  }),
  // A row of its own for its gradient: that of its parts would divide, and treat 0 by itself.
  softplus: unary("log1p", {
    name: "softplus",
    accepts: SINGLE,
    low: -8,
    high: 8,
    scalar: softplusScalar,
    number: (x) => (x !== x ? x : Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))),
    derivative: (g, [x]) => [mul(g, sigmoid(x!))],
  }),
  floor: unary("floor", { accepts: REAL, number: Math.floor, differentiable: false }),
  bitAnd: binary("bitAnd", { accepts: INTEGER, number: (x, y) => x & y }),
  bitOr: binary("bitOr", { accepts: INTEGER, number: (x, y) => x | y }),
  bitXor: binary("bitXor", { accepts: INTEGER, number: (x, y) => x ^ y }),
  shiftLeft: binary("shiftLeft", { accepts: INTEGER, low: 0, high: 31, number: (x, y) => x << y }),
  shiftRight: binary("shiftRight", { accepts: INTEGER, low: 0, high: 31, number: (x, y) => u32(x >>> y) }),
  less: binary("less", { accepts: NUMBER, result: "bool", number: (x, y) => Number(x < y) }),
  lessEqual: binary("lessEqual", { accepts: NUMBER, result: "bool", number: (x, y) => Number(x <= y) }),
  equal: binary("equal", { accepts: ANY, result: "bool", number: (x, y) => Number(x === y) }),
  and: binary("and", { accepts: BOOL, number: (x, y) => x & y }),
  or: binary("or", { accepts: BOOL, number: (x, y) => x | y }),
  not: unary("not", { accepts: BOOL, number: (x) => 1 - x }),
  where: whereRow(),
  cast: castRow(),
};

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

function whereRow(): Op {
  const op: Op = {
    name: "where",
    rule: {
      kind: "elementwise",
      scalar: (args, dtype) => ({ op: "where", dtype, args }),
      number: (c, x, y) => (c ? x! : y!),
    },
    infer([condition, x, y]) {
      if (condition!.dtype !== "bool")
        throw new DTypeError(
          `where: expected a bool condition, got ${condition!.dtype} ${formatShape(condition!.shape)}; compare it with something`,
        );
      if (x!.dtype !== y!.dtype)
        throw new DTypeError(
          `where: expected branches of one type, got ${x!.dtype} and ${y!.dtype}; convert one with cast`,
        );
      return [{ shape: x!.shape, dtype: x!.dtype }];
    },
    gradient: ({ inputs: [condition] }, [g]) => [undefined, where(condition!, g!, 0), where(condition!, 0, g!)],
    samples: [],
  };
  const bool = { dtype: "bool", low: 0, high: 2 } as const;
  return {
    ...op,
    samples: [
      {
        name: "same shape",
        inputs: [{ shape: [2, 5], ...bool }, { shape: [2, 5] }, { shape: [2, 5] }],
        apply: (c, x, y) => where(c!, x!, y!),
      },
      {
        name: "broadcast condition",
        inputs: [{ shape: [5], ...bool }, { shape: [2, 5] }, { shape: [2, 1] }],
        apply: (c, x, y) => where(c!, x!, y!),
      },
    ],
  };
}

function castRow(): Op {
  const op: Op = {
    name: "cast",
    // f16 is f32 once it is loaded, and rounded as every f16 result
    rule: {
      kind: "elementwise",
      scalar: (args, dtype) => (args[0]!.dtype === dtype ? args[0]! : { op: "cast", dtype, args }),
      number: (x) => x,
    },
    infer: ([x], attributes) => [{ shape: x!.shape, dtype: (attributes as { dtype: DType }).dtype }],
    gradient: ({ inputs: [x] }, [g]) => [isReal(x!.dtype) && isReal(g!.dtype) ? cast(g!, x!.dtype) : undefined],
    samples: [],
  };
  return {
    ...op,
    samples: [
      {
        name: "f32 to i32 truncates",
        inputs: [{ shape: [9], low: -4, high: 4 }],
        apply: (x) => cast(x!, "i32"),
        differentiable: false,
      },
      { name: "i32 to f32", inputs: [{ shape: [9], dtype: "i32", low: -9, high: 9 }], apply: (x) => cast(x!, "f32") },
      { name: "bool to f32", inputs: [{ shape: [9], dtype: "bool", low: 0, high: 2 }], apply: (x) => cast(x!, "f32") },
      { name: "f32 to bool", inputs: [{ shape: [9] }], apply: (x) => cast(x!, "bool"), differentiable: false },
      {
        name: "f32 to f16 rounds to nearest",
        inputs: [{ shape: [9] }],
        apply: (x) => cast(x!, "f16"),
        differentiable: false,
      },
      { name: "f16 to f32", inputs: [{ shape: [9], dtype: "f16" }], apply: (x) => cast(x!, "f32") },
      {
        name: "f16 to i32 truncates",
        inputs: [{ shape: [9], dtype: "f16", low: -4, high: 4 }],
        apply: (x) => cast(x!, "i32"),
        differentiable: false,
      },
      {
        name: "i32 to f16",
        inputs: [{ shape: [9], dtype: "i32", low: -5000, high: 5000 }],
        apply: (x) => cast(x!, "f16"),
      },
    ],
  };
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

const r = elementwiseRows;

/** x + y, elementwise with broadcasting. */
export const add = (x: Operand, y: Operand): Tensor => elementwise(r.add, [x, y]);
/** x - y. */
export const sub = (x: Operand, y: Operand): Tensor => elementwise(r.sub, [x, y]);
/** x y. */
export const mul = (x: Operand, y: Operand): Tensor => elementwise(r.mul, [x, y]);
/** x / y, f32. */
export const div = (x: Operand, y: Operand): Tensor => elementwise(r.div, [x, y]);
/** The smaller of x and y; NaN if either is. */
export const minimum = (x: Operand, y: Operand): Tensor => elementwise(r.minimum, [x, y]);
/** The larger of x and y; NaN if either is. */
export const maximum = (x: Operand, y: Operand): Tensor => elementwise(r.maximum, [x, y]);
/** -x. */
export const neg = (x: Tensor): Tensor => elementwise(r.neg, [x]);
/** |x|; the derivative at 0 is 0. */
export const abs = (x: Tensor): Tensor => elementwise(r.abs, [x]);
/** Square root. */
export const sqrt = (x: Tensor): Tensor => elementwise(r.sqrt, [x]);
/** e^x. */
export const exp = (x: Tensor): Tensor => elementwise(r.exp, [x]);
/** Natural logarithm. */
export const log = (x: Tensor): Tensor => elementwise(r.log, [x]);
/** e^x - 1 without cancellation near 0. */
export const expm1 = (x: Tensor): Tensor => elementwise(r.expm1, [x]);
/** log(1 + x) without cancellation near 0. */
export const log1p = (x: Tensor): Tensor => elementwise(r.log1p, [x]);
/** Sine, x in radians. */
export const sin = (x: Tensor): Tensor => elementwise(r.sin, [x]);
/** Cosine, x in radians. */
export const cos = (x: Tensor): Tensor => elementwise(r.cos, [x]);
/** Hyperbolic tangent. */
export const tanh = (x: Tensor): Tensor => elementwise(r.tanh, [x]);
/** 1 / (1 + e^-x), without overflow. */
export const sigmoid = (x: Tensor): Tensor => elementwise(r.sigmoid, [x]);
/** log(1 + e^x), without overflow or cancellation; f32 only. */
export const softplus = (x: Tensor): Tensor => elementwise(r.softplus, [x]);
/** Error function. */
export const erf = (x: Tensor): Tensor => elementwise(r.erf, [x]);
/** Largest integer at most x, as f32. */
export const floor = (x: Tensor): Tensor => elementwise(r.floor, [x]);
/** Bitwise and, i32. */
export const bitAnd = (x: Operand, y: Operand): Tensor => elementwise(r.bitAnd, [x, y]);
/** Bitwise or, i32. */
export const bitOr = (x: Operand, y: Operand): Tensor => elementwise(r.bitOr, [x, y]);
/** Bitwise exclusive or, i32. */
export const bitXor = (x: Operand, y: Operand): Tensor => elementwise(r.bitXor, [x, y]);
/** x << y, i32, y in 0..31. */
export const shiftLeft = (x: Operand, y: Operand): Tensor => elementwise(r.shiftLeft, [x, y]);
/** x >>> y, i32, y in 0..31; zeros come in from the left. */
export const shiftRight = (x: Operand, y: Operand): Tensor => elementwise(r.shiftRight, [x, y]);
/** x < y as bool. */
export const less = (x: Operand, y: Operand): Tensor => elementwise(r.less, [x, y]);
/** x <= y as bool. */
export const lessEqual = (x: Operand, y: Operand): Tensor => elementwise(r.lessEqual, [x, y]);
/** x > y as bool. */
export const greater = (x: Operand, y: Operand): Tensor => less(y, x);
/** x >= y as bool. */
export const greaterEqual = (x: Operand, y: Operand): Tensor => lessEqual(y, x);
/** x = y as bool. */
export const equal = (x: Operand, y: Operand): Tensor => elementwise(r.equal, [x, y]);
/** Logical and of bools. */
export const and = (x: Tensor, y: Tensor): Tensor => elementwise(r.and, [x, y]);
/** Logical or of bools. */
export const or = (x: Tensor, y: Tensor): Tensor => elementwise(r.or, [x, y]);
/** Logical not of a bool. */
export const not = (x: Tensor): Tensor => elementwise(r.not, [x]);

/** x where the bool condition holds, else y. The branch not taken gets a zero cotangent, so guard its argument against infinities. */
export function where(condition: Tensor, x: Operand, y: Operand): Tensor {
  const branches = [x, y].filter((value) => value instanceof Tensor);
  const dtype = branches[0]?.dtype ?? "f32";
  const shape = [condition, ...branches]
    .map((value) => value.shape)
    .reduce((a, b) => broadcastShapes(a, b, "where"), []);
  const fit = (value: Operand): Tensor =>
    typeof value === "number" ? full(shape, value, dtype) : broadcastTo(value, shape);
  return callOp(r.where, [broadcastTo(condition, shape), fit(x), fit(y)])[0]!;
}

/**
 * Converts the element type: f32 and f16 to i32 truncates toward zero, anything to bool compares with zero, bool gives 0 and 1,
 * f16 takes the nearest number, the even one of two equally near. The cotangent of a cast between f32 and f16 is cast back.
 */
export function cast(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x;
  return callOp(r.cast, [x], { dtype })[0]!;
}
