/**
 * What an elementwise row is made of. An intrinsic of the kernel IR is one record: op rows, the interpreter of the IR, both
 * renderers' rules of cost and the tolerances of the tests are read off it.
 */
import type { DType } from "../graph/dtype.js";
import type { Tensor } from "../graph/tensor.js";

export type Derivative = (
  cotangent: Tensor,
  inputs: readonly Tensor[],
  output: Tensor,
) => readonly (Tensor | undefined)[];

/** What a value costs: nothing to speak of, an operation, a division or root, or some ten operations. */
export type Cost = "free" | "one" | "some" | "dear";

/** A scalar function that every renderer of the kernel IR implements. */
export interface IntrinsicRecord {
  readonly arity: 1 | 2 | 3;
  /** Element types the operands may have; all operands (of `where`, the last two) share one. */
  readonly accepts: readonly DType[];
  /** The type of the result, where it is not that of the operands. */
  readonly result?: DType;
  /** Its meaning in float64; truth values are 0 and 1. */
  readonly number: (...args: number[]) => number;
  /** Its meaning for i32, where that is not `number` in two's complement: wherever float64 does not hold all bits. */
  readonly integer?: (...args: number[]) => number;
  /** Cotangents of the operands; false: it has none (steps, and whole numbers). */
  readonly derivative: Derivative | false;
  readonly cost: Cost;
  /** Units in the last place an f32 device may be off; 0 by default: exact. */
  readonly ulp?: number;
  /** What it may be off besides, where a zero of it lies at a number that f32 does not represent. */
  readonly near?: number;
  /** Range of sample values, -2 to 2 by default. */
  readonly low?: number;
  readonly high?: number;
  /**
   * Right results and slopes at {@link SPECIAL}, in this order, of functions of one real number (numpy's and IEEE's conventions);
   * undefined where devices may differ, within the bounds of the function.
   */
  readonly special?: {
    readonly values: readonly (number | undefined)[];
    readonly slopes?: readonly (number | undefined)[];
  };
}

/** The largest f32 number, and the smallest normal one. */
export const MAX = (2 - 2 ** -23) * 2 ** 127;
export const TINY = 2 ** -126;

/** Arguments at which results are written down: zeros, ones, the smallest normal and the largest f32 numbers, infinities, NaN. */
export const SPECIAL: readonly number[] = [0, -0, 1, -1, TINY, -TINY, MAX, -MAX, Infinity, -Infinity, NaN];

/** Step sizes and decays are made of it, which need the range and the precision of f32. */
export const SINGLE: readonly DType[] = ["f32"];
export const REAL: readonly DType[] = ["f32", "f16"];
export const NUMBER: readonly DType[] = ["f32", "i32", "f16"];
export const INTEGER: readonly DType[] = ["i32"];
export const BOOL: readonly DType[] = ["bool"];
export const ANY: readonly DType[] = ["f32", "i32", "bool", "f16"];
