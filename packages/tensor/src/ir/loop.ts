/**
 * The kernel IR: fused loops over scalar expressions.
 *
 * A {@link LoopKernel} computes, for every point of its `extents` (row-major, the last axis
 * fastest), first its reductions over `reduceExtents`, then one value per output, stored at the
 * point's row-major position. In a row kernel reductions may use the results of earlier ones, and outputs may have a
 * value for every point of the row, the loop over `reduceExtents`: softmax is a maximum, a sum and a row of quotients.
 * Two renderers turn it into code: WebAssembly SIMD (cpu) and WGSL (webgpu).
 *
 * Expressions are directed acyclic graphs: the same object used twice is computed once.
 */
import type { DType } from "../graph/dtype.js";
import type * as elementwise from "../ops/elementwise.js";

/** What a scalar can be: f16 is a form of storage, and f32 once it is loaded. */
export type ScalarType = Exclude<DType, "f16">;

/** The type of a tensor's elements in expressions. */
export const scalarType = (dtype: DType): ScalarType => (dtype === "f16" ? "f32" : dtype);

/**
 * offset + sum_k coefficients[k] * i_k, in elements, where i runs over the `extents` axes
 * followed by the `reduceExtents` axes. `coefficients.length` is the number of all these axes.
 */
export interface Affine {
  readonly offset: number;
  readonly coefficients: readonly number[];
}

/** lo <= index < hi. */
export interface Range {
  readonly index: Affine;
  readonly lo: number;
  readonly hi: number;
}

type Functions = typeof elementwise;

/**
 * Scalar functions every renderer implements, a record each (ops/elementwise.ts). Of f32 or i32 they are of the same type; cast
 * gives the type of the node (f32 -> i32 truncates toward zero and saturates; bool is 0 or 1), comparisons bool.
 */
export type Intrinsic =
  | {
      [Name in keyof Functions]: Functions[Name] extends { readonly intrinsic: infer I extends string } ? I : never;
    }[keyof Functions]
  | "roundToHalf"
  | "where"
  | "cast";

export type Scalar =
  | { readonly op: "constant"; readonly dtype: ScalarType; readonly value: number }
  /**
   * inputs[input][index + sum_g clamp(value_g, 0, size_g - 1) * stride_g]. Outside a guard that excludes
   * the point, the affine part is always in bounds.
   */
  | {
      readonly op: "load";
      readonly dtype: ScalarType;
      readonly input: number;
      readonly index: Affine;
      readonly gather?: readonly Gather[];
    }
  /** The affine index itself, as an i32. */
  | { readonly op: "position"; readonly dtype: "i32"; readonly index: Affine }
  /** `value` where all conditions hold, else `fill`; loads inside `value` may be out of bounds elsewhere and must not fault. */
  | {
      readonly op: "guard";
      readonly dtype: ScalarType;
      readonly conditions: readonly Range[];
      readonly value: Scalar;
      readonly fill: number;
    }
  /** Result of reductions[reduction]; in outputs, and in the values of later reductions. */
  | { readonly op: "reduced"; readonly dtype: ScalarType; readonly reduction: number }
  /** In a scan kernel only: the state h_t, the one before it h_(t-1) (`initial` at the first step), or the adjoint g_t. */
  | {
      readonly op: "state";
      readonly dtype: "f32";
      readonly which: "current" | "previous" | "adjoint";
      readonly part: "re" | "im";
    }
  | { readonly op: Intrinsic; readonly dtype: ScalarType; readonly args: readonly Scalar[] };

/** A data-dependent part of a load's address. */
export interface Gather {
  readonly value: Scalar;
  readonly size: number;
  readonly stride: number;
}

export interface Reduction {
  readonly combine: "sum" | "max";
  /** f32 or i32; `max` of an f32 NaN is NaN. May use results of the reductions before it. */
  readonly value: Scalar;
}

export interface LoopKernel {
  readonly extents: readonly number[];
  readonly reduceExtents: readonly number[];
  /** Element counts and types of the buffers read, each aligned to 16 bytes and readable 16 bytes beyond either end. */
  readonly inputs: readonly { readonly dtype: DType; readonly size: number }[];
  readonly reductions: readonly Reduction[];
  /** Values of the loop over `extents`; may use loads at outer indices and `reduced`. Empty reductions: plain elementwise. */
  readonly outputs: readonly Output[];
}

export interface Output {
  /** How it is stored; f16: the value is an f32 that f16 represents exactly. */
  readonly dtype: DType;
  readonly value: Scalar;
  /** A row output, of a kernel with reductions: the value may vary along the row, and each point of it is stored here. */
  readonly index?: Affine;
}

/** The value where the conditions hold, `fill` elsewhere. */
export const guard = (conditions: readonly Range[], value: Scalar, fill: number): Scalar => ({
  op: "guard",
  dtype: value.dtype,
  conditions,
  value,
  fill,
});

/** One value before a position of an axis, the other from there on. */
export const beside = (at: Affine, border: number, before: Scalar, after: Scalar): Scalar => ({
  op: "where",
  dtype: after.dtype,
  args: [
    {
      op: "less",
      dtype: "bool",
      args: [
        { op: "position", dtype: "i32", index: at },
        { op: "constant", dtype: "i32", value: border },
      ],
    },
    before,
    after,
  ],
});
