/** Rows whose values depend on the position alone: they take no memory until something stores them. */
import { isReal, type DType } from "../graph/dtype.js";
import { DTypeError, ShapeError } from "../graph/errors.js";
import { roundToHalf } from "../graph/half.js";
import type { Op } from "../graph/op.js";
import { formatShape, normalizeAxis, type Shape } from "../graph/shape.js";
import { callOp, type Tensor } from "../graph/tensor.js";

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
    samples: [
      { name: "f32", inputs: [], apply: () => full([2, 3], 1.5) },
      { name: "f16", inputs: [], apply: () => full([2, 3], 0.1, "f16") },
      { name: "empty", inputs: [], apply: () => full([2, 0], 1) },
    ],
  },
  iota: {
    name: "iota",
    rule: {
      kind: "generator",
      scalar: (position, { axis }: IotaAttributes) => ({ op: "position", dtype: "i32", index: position[axis]! }),
    },
    infer: (_, attributes) => [{ shape: (attributes as IotaAttributes).shape, dtype: "i32" }],
    samples: [
      { name: "one axis", inputs: [], apply: () => arange(9) },
      { name: "middle axis", inputs: [], apply: () => iota([2, 3, 4], 1) },
    ],
  },
} satisfies Record<string, Op>;

/** A tensor with every element `value`. */
export function full(shape: Shape, value: number, dtype: DType = "f32"): Tensor {
  for (const extent of shape)
    if (!Number.isInteger(extent) || extent < 0)
      throw new ShapeError(`full: expected extents that are integers of at least 0, got shape ${formatShape(shape)}`);
  if (!isReal(dtype) && !Number.isInteger(value))
    throw new DTypeError(`full: expected an integer for ${dtype}, got ${value}; use f32 or round it`);
  return callOp(generatorRows.full, [], {
    shape: [...shape],
    value: dtype === "f16" ? roundToHalf(value) : value,
    dtype,
  } satisfies FullAttributes)[0]!;
}

/** All zeros. */
export const zeros = (shape: Shape, dtype: DType = "f32"): Tensor => full(shape, 0, dtype);
/** All ones. */
export const ones = (shape: Shape, dtype: DType = "f32"): Tensor => full(shape, 1, dtype);

/** The index along one axis, as i32, in a tensor of the given shape. */
export function iota(shape: Shape, axis: number): Tensor {
  return callOp(generatorRows.iota, [], {
    shape: [...shape],
    axis: normalizeAxis(axis, shape.length, "iota"),
  } satisfies IotaAttributes)[0]!;
}

/** 0, 1, ..., n-1 as i32 [n]. */
export const arange = (n: number): Tensor => iota([n], 0);
