/** Rows that combine elements over axes. */
import { assertSettings, assertTensor } from "../graph/assert.js";
import { DTypeError } from "../graph/errors.js";
import type { Op, Samples, ReferenceArray, ReferenceValue, Sample } from "../graph/op.js";
import { formatShape, normalizeAxes, sizeOf, stridesOf, type Shape } from "../graph/shape.js";
import { callOp, type Tensor } from "../graph/tensor.js";
import { cast, div, equal, where } from "./elementwise.js";
import { broadcastTo, reshape, transpose } from "./movement.js";

/** Of sum and max. @internal */
export interface ReduceAttributes {
  /** Sorted axes that go away. */
  readonly axes: readonly number[];
}

const kept = (shape: Shape, axes: readonly number[]): Shape => shape.filter((_, k) => !axes.includes(k));
const withOnes = (shape: Shape, axes: readonly number[]): Shape =>
  shape.map((extent, k) => (axes.includes(k) ? 1 : extent));

function row(combine: "sum" | "max", gradient: Op["gradient"]): Op {
  return {
    name: combine,
    rule: { kind: "reduce", combine },
    infer([x], attributes) {
      if (x!.dtype === "bool")
        throw new DTypeError(
          `${combine}: expected f32, f16 or i32, got bool ${formatShape(x!.shape)}; convert it with cast`,
        );
      return [{ shape: kept(x!.shape, (attributes as ReduceAttributes).axes), dtype: x!.dtype }];
    },
    reference: ([x], { axes }: ReduceAttributes, [result]) => [
      reduceReference(x!, axes, sizeOf(result!.shape), combine),
    ],
    gradient,
  };
}

function reduceReference(
  { shape, data }: ReferenceValue,
  axes: readonly number[],
  size: number,
  combine: "sum" | "max",
): ReferenceArray {
  const out = data instanceof Int32Array ? new Int32Array(size) : new Float64Array(size);
  if (combine === "max") out.fill(data instanceof Int32Array ? -(2 ** 31) : -Infinity);
  const outStrides = stridesOf(kept(shape, axes));
  let next = 0;
  const strides = shape.map((_, k) => (axes.includes(k) ? 0 : outStrides[next++]!));
  const index = new Array<number>(shape.length).fill(0);
  for (const value of data) {
    const at = index.reduce((total, i, k) => total + i * strides[k]!, 0);
    out[at] =
      combine === "sum" ? out[at]! + value : value !== value || out[at] !== out[at] ? NaN : Math.max(out[at]!, value);
    for (let k = shape.length - 1; k >= 0 && ++index[k]! === shape[k]; k--) index[k] = 0;
  }
  return out;
}

/** The rows of this file. @internal */
export const reduceRows = {
  sum: row("sum", ({ inputs: [x], attributes }, [g]) => [
    broadcastTo(reshape(g!, withOnes(x!.shape, (attributes as ReduceAttributes).axes)), x!.shape),
  ]),
  // The cotangent is shared evenly among the places where the maximum is attained; none is where it is NaN.
  max: row("max", ({ inputs: [x], outputs: [y], attributes }, [g]) => {
    const { axes } = attributes as ReduceAttributes;
    const ones = withOnes(x!.shape, axes);
    const attained = equal(x!, broadcastTo(reshape(y!, ones), x!.shape));
    // counted in f32: there may be more than the largest f16 number
    const share = cast(div(cast(g!, "f32"), sum(cast(attained, "f32"), axes)), g!.dtype);
    return [where(attained, broadcastTo(reshape(share, ones), x!.shape), 0)];
  }),
} satisfies Record<string, Op>;

/** What `checkOp` runs them on. @internal */
export const reduceSamples = (): Samples<typeof reduceRows> => ({ sum: samplesOf(sum), max: samplesOf(max) });

function samplesOf(apply: typeof sum): Sample[] {
  const shapes: Shape[] = [[5], [2, 3], [2, 3, 4], [2, 3, 2, 3]];
  return [
    ...shapes.flatMap((shape): Sample[] => [
      ...shape.map((_, axis) => ({
        name: `${formatShape(shape)} axis ${axis}`,
        inputs: [{ shape }],
        apply: (x: Tensor) => apply(x, axis),
      })),
      { name: `${formatShape(shape)} all axes`, inputs: [{ shape }], apply: (x) => apply(x!) },
      {
        name: `${formatShape(shape)} axes kept as 1`,
        inputs: [{ shape }],
        apply: (x) => apply(x!, shape.length > 2 ? [0, 2] : 0, { keepDims: true }),
      },
      {
        name: `${formatShape(shape)} transposed`,
        inputs: [{ shape }],
        apply: (x) =>
          apply(
            transpose(
              x!,
              shape.map((_, k) => shape.length - 1 - k),
            ),
            0,
          ),
      },
    ]),
    { name: "long", inputs: [{ shape: [3, 1037] }], apply: (x) => apply(x!, 1) },
    { name: "f16", inputs: [{ shape: [3, 41], dtype: "f16" }], apply: (x) => apply(x!, 1), differentiable: false },
    {
      name: "f16 down columns",
      inputs: [{ shape: [6, 5], dtype: "f16" }],
      apply: (x) => apply(x!, 0),
      differentiable: false,
    },
    { name: "i32", inputs: [{ shape: [3, 4], dtype: "i32", low: -9, high: 9 }], apply: (x) => apply(x!, 1) },
    { name: "extent 1", inputs: [{ shape: [3, 1] }], apply: (x) => apply(x!, 1) },
    { name: "empty axis", inputs: [{ shape: [3, 0] }], apply: (x) => apply(x!, 1), differentiable: false },
    { name: "empty result", inputs: [{ shape: [0, 3] }], apply: (x) => apply(x!, 1), differentiable: false },
  ];
}

/** How a reduction gives its result. */
export interface ReduceOptions {
  /** Reduced axes stay as axes of extent 1. */
  readonly keepDims?: boolean;
}

/** The names of {@link ReduceOptions}. @internal */
export const REDUCE_OPTIONS = { keepDims: "flag" } as const;

function reduce(op: Op, x: Tensor, axes: number | readonly number[] | undefined, options: ReduceOptions): Tensor {
  assertTensor(op.name, x);
  assertSettings(op.name, options, REDUCE_OPTIONS);
  const { keepDims = false } = options;
  const along = normalizeAxes(axes, x.shape.length, op.name);
  const out = along.length === 0 ? x : callOp(op, [x], { axes: along } satisfies ReduceAttributes)[0]!;
  return keepDims ? reshape(out, withOnes(x.shape, along)) : out;
}

/** Sum over the axes (all by default). The sum of nothing is 0. In f16 it is rounded once, when all is added up in f32. */
export function sum(x: Tensor, axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
  return reduce(reduceRows.sum, x, axes, options);
}

/** Maximum over the axes (all by default); NaN if any element is. The maximum of nothing is -infinity. */
export function max(x: Tensor, axes?: number | readonly number[], options: ReduceOptions = {}): Tensor {
  return reduce(reduceRows.max, x, axes, options);
}
