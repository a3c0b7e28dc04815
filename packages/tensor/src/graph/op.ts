/**
 * One op, one row. A row has the shape rule, the meaning (a scalar expression, a movement of
 * indices, a reduction, or a loop) and the gradient rule. Devices, gradients, planner and tests all read the row;
 * adding an op adds a row, and beside it samples for the tests.
 */
import type { DType } from "./dtype.js";
import type { Affine, Range, Scalar, ScalarType } from "../ir/loop.js";
import type { Expansions } from "./kernel.js";
import type { Shape } from "./shape.js";
import type { Call, Tensor } from "./tensor.js";

export interface Result {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** Values of a tensor on the reference device: float64 for f32 and f16, else as stored. */
export type ReferenceArray = Float64Array | Int32Array | Uint8Array;

/** What an op computes, in the form the planner works with. */
export type Rule =
  /** One scalar expression per element of same-shaped inputs. `number` is its float64 meaning, `integer` that of i32 where it is another. */
  | {
      readonly kind: "elementwise";
      scalar(args: readonly Scalar[], dtype: ScalarType): Scalar;
      number(...args: number[]): number;
      integer?(...args: number[]): number;
      /** Whether it takes as long as some ten others. */
      readonly dear: boolean;
      /** What an f32 device may be off. */
      readonly tolerance: { readonly relative?: number; readonly absolute?: number };
    }
  /** A value that depends on the position alone. `position` gives the index of each axis. */
  | { readonly kind: "generator"; scalar(position: readonly Affine[], attributes: never, dtype: ScalarType): Scalar }
  /** Each result element is an element of one input, or a constant. `map` turns result indices into input indices. */
  | { readonly kind: "movement"; map(index: readonly Affine[], attributes: never, input: Shape): Movement }
  /** Elements chosen among several inputs by the position along one axis. */
  | { readonly kind: "concat" }
  /** Element of the first input whose index along an axis is the second input's value. */
  | { readonly kind: "gather" }
  /** Combination over axes; result axes are the kept ones. */
  | { readonly kind: "reduce"; readonly combine: "sum" | "max" }
  /** A device computes it by a program of its own. */
  | { readonly kind: "native" }
  /** A call of a kernel record: see kernel.ts. `expand` gives what it is composed of. */
  | { readonly kind: "kernel"; expand(call: Call, expansions: Expansions): readonly Tensor[] };

/** `reshape` asks the planner to find indices into a row-major array of the input shape by itself. */
export type Movement =
  { readonly index: readonly Affine[]; readonly conditions?: readonly Range[]; readonly fill?: number } | "reshape";

/** A row of the op table. */
export interface Op {
  /** The name errors and `explain` use. */
  readonly name: string;
  /** What the op computes. @internal */
  readonly rule: Rule;
  /** Checks inputs and attributes and returns shape and type of each result. @internal */
  infer(inputs: readonly Tensor[], attributes: unknown): readonly Result[];
  /** Plain loops over float64 values: the oracle. Elementwise, generator and movement rules have one already. @internal */
  readonly reference?: (
    inputs: readonly ReferenceValue[],
    attributes: never,
    results: readonly Result[],
  ) => readonly ReferenceArray[];
  /** The same in terms of other rows, for devices that have no program for a native one. @internal */
  readonly expand?: (inputs: readonly Tensor[], attributes: unknown) => readonly Tensor[];
  /** Cotangents of the inputs from those of the results, undefined where there is none; false: results have no derivative, and say so. @internal */
  readonly gradient:
    ((call: Call, cotangents: readonly (Tensor | undefined)[]) => readonly (Tensor | undefined)[]) | false;
}

/** A row with what `checkOp` runs it on. */
export interface SampledOp extends Op {
  /** Inputs, and the function of the row. */
  readonly samples: readonly Sample[];
}

/** Samples by row, in a function beside the rows: what only tests read is no part of a page. */
export type Samples<Rows> = { readonly [Name in keyof Rows]: readonly Sample[] };

export interface ReferenceValue {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly data: ReferenceArray;
}

/** How a random input is made. */
export interface SampleInput {
  /** Extents. */
  readonly shape: Shape;
  /** f32 by default. */
  readonly dtype?: DType;
  /** Least value, -2 by default. */
  readonly low?: number;
  /** Largest value, 2 by default; integers stay below it. */
  readonly high?: number;
}

/** A test input: shapes with value ranges, and the function of the row under test. */
export interface Sample {
  /** What is special about it. */
  readonly name: string;
  /** Shape, type (default f32) and range of the random values (default -2..2) of each input. */
  readonly inputs: readonly SampleInput[];
  /** The function under test. */
  apply(...inputs: Tensor[]): Tensor;
  /** false where the result has no derivative with respect to its f32 inputs. */
  readonly differentiable?: boolean;
  /** false where the inputs are tried as they are only, not as views into other memory. */
  readonly views?: boolean;
}

/** The inputs whose values a call reads: a movement reads its first (a checkpoint's arguments are for its gradient). */
export const inputsRead = (call: Call): readonly Tensor[] =>
  call.op.rule.kind === "movement" && call.inputs.length > 1 ? call.inputs.slice(0, 1) : call.inputs;
