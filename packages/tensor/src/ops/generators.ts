/** Rows whose values depend on the position alone: they take no memory until something stores them. */
import { assertDType, isReal, type DType } from "../graph/dtype.js";
import { assertShape, assertWhole } from "../graph/assert.js";
import { describeValue, DTypeError } from "../graph/errors.js";
import { roundToHalf } from "../graph/half.js";
import type { Op, Samples } from "../graph/op.js";
import { normalizeAxis, type Shape } from "../graph/shape.js";
import { callOp, type Tensor } from "../graph/tensor.js";
import { add, cast, mul } from "./elementwise.js";

interface FullAttributes {
  readonly shape: Shape;
  readonly value: number;
  readonly dtype: DType;
}

interface IotaAttributes {
  readonly shape: Shape;
  readonly axis: number;
}

/** The rows of this file. @internal */
export const generatorRows = {
  full: {
    name: "full",
    rule: { kind: "generator", scalar: (_, { value }: FullAttributes, dtype) => ({ op: "constant", dtype, value }) },
    infer: (_, attributes) => [attributes as FullAttributes],
    gradient: false,
  },
  iota: {
    name: "iota",
    rule: {
      kind: "generator",
      scalar: (position, { axis }: IotaAttributes) => ({ op: "position", dtype: "i32", index: position[axis]! }),
    },
    infer: (_, attributes) => [{ shape: (attributes as IotaAttributes).shape, dtype: "i32" }],
    gradient: false,
  },
} satisfies Record<string, Op>;

/** What `checkOp` runs them on. @internal */
export const generatorSamples = (): Samples<typeof generatorRows> => ({
  full: [
    { name: "f32", inputs: [], apply: () => full([2, 3], 1.5) },
    { name: "f16", inputs: [], apply: () => full([2, 3], 0.1, "f16") },
    { name: "empty", inputs: [], apply: () => full([2, 0], 1) },
  ],
  iota: [
    { name: "one axis", inputs: [], apply: () => arange(9) },
    { name: "middle axis", inputs: [], apply: () => iota([2, 3, 4], 1) },
  ],
});

/** A tensor with every element `value`. */
export function full(shape: Shape, value: number, dtype: DType = "f32"): Tensor {
  assertShape("full", shape);
  assertDType("full", dtype);
  if (typeof value !== "number")
    throw new DTypeError(`full: expected a number to fill with, got ${describeValue(value)}; pass the shape first`);
  if (!isReal(dtype) && (value | 0) !== value)
    throw new DTypeError(`full: expected an integer of 32 bits for ${dtype}, got ${value}; use f32 or round it`);
  return callOp(generatorRows.full, [], {
    shape: [...shape],
    value: dtype === "f16" ? roundToHalf(value) : dtype === "bool" ? Number(value !== 0) : value,
    dtype,
  } satisfies FullAttributes)[0]!;
}

/** All zeros. */
export const zeros = (shape: Shape, dtype: DType = "f32"): Tensor => full(shape, 0, dtype);
/** All ones. */
export const ones = (shape: Shape, dtype: DType = "f32"): Tensor => full(shape, 1, dtype);

/** The index along one axis, as i32, in a tensor of the given shape. */
export function iota(shape: Shape, axis: number): Tensor {
  assertShape("iota", shape);
  return callOp(generatorRows.iota, [], {
    shape: [...shape],
    axis: normalizeAxis(axis, shape.length, "iota"),
  } satisfies IotaAttributes)[0]!;
}

/** 0, 1, ..., n-1 as i32 [n]. @throws RangeError if n is no whole number of at least 0. */
export function arange(n: number): Tensor;
/**
 * start, start + step, ... up to but without stop: i32 if all three are whole numbers, else f32.
 * @throws RangeError if one is not finite, or the step is 0.
 */
export function arange(start: number, stop: number, step?: number): Tensor;
export function arange(start: number, stop?: number, step = 1): Tensor {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  if (
    ![from, to, step].every(Number.isFinite) ||
    step === 0 ||
    (stop === undefined && (!Number.isInteger(to) || to < 0))
  )
    throw new RangeError(
      stop === undefined
        ? `arange: expected a whole number of at least 0, got ${to}; round it`
        : `arange: expected finite numbers and a step other than 0, got ${from}, ${to}, ${step}`,
    );
  const count = Math.max(0, Math.ceil((to - from) / step));
  const index = iota([count], 0);
  if ([from, to, step].every(Number.isInteger)) {
    for (const end of count > 0 ? [from, from + (count - 1) * step] : []) assertWhole("arange", end);
    const scaled = step === 1 ? index : mul(index, step);
    return from === 0 ? scaled : add(scaled, from);
  }
  return add(mul(cast(index, "f32"), step), from);
}
