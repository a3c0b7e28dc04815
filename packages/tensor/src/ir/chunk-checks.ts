/**
 * Whether products of matrices say what a recurrence does. They multiply what lies before a reset by 0, which does not forget
 * what is no number, and their products of decays may leave the range of f32, though no state does, where decays grow. Both
 * show in numbers that are at hand: a program in chunks looks at them, and where one is out of bounds the recurrence runs
 * step by step instead.
 */
import { isAtMostOne } from "./decay-size.js";
import type { Affine, LoopKernel, Scalar } from "./loop.js";
import type { ChunkedParts, Operand, Result } from "./chunked-parts.js";

/** Products of the decays of a chunk that are no matter: neither they, nor what they bring back of a number that vanished. */
const MOST_GROWTH = 2 ** 60;
const LARGEST = 3.4028234663852886e38;

/** Numbers of an array, none of which may be above a size. */
export interface ChunkCheck {
  readonly of: Operand | Result;
  readonly most: number;
}

/** What has to be looked at after chunks of so many steps: nothing, mostly. */
export function chunkChecks({ form, decay, results }: ChunkedParts, steps: number): readonly ChunkCheck[] {
  const ofDecay = isAtMostOne([form.decay.value]) ? [] : [{ of: decay, most: MOST_GROWTH ** (1 / steps) }];
  return [...ofDecay, ...(form.kernel.forgets ? results.map((of) => ({ of, most: LARGEST })) : [])];
}

/** Whether anything has to be. */
export const needsChecks = (parts: ChunkedParts): boolean => chunkChecks(parts, 1).length > 0;

/** An array to look at: elements by axes of their own. */
export interface Checked {
  readonly index: Affine;
  readonly extents: readonly number[];
  readonly size: number;
  readonly most: number;
}

/** The array of a check. @param index Where it lies, by axis of the recurrence. */
export function checked({ of, most }: ChunkCheck, index: Affine, size: number, extents: readonly number[]): Checked {
  const axes = "layout" in of ? of.layout.axes : of.axes;
  return {
    index: { offset: index.offset, coefficients: axes.map((axis) => index.coefficients[axis]!) },
    extents: axes.map((axis) => extents[axis]!),
    size,
    most,
  };
}

/**
 * For each point of the first `kept` axes, 1 if a number of the array, the loop's first input, is above the size or none at
 * all, or if the second input is 1; else 0.
 */
export function checkLoop({ index, extents, size, most }: Checked, kept: number, isFirst: boolean): LoopKernel {
  const f32 = "f32" as const;
  const own = [...index.coefficients.slice(0, kept), 0, ...index.coefficients.slice(kept)];
  const load: Scalar = { op: "load", dtype: f32, input: 0, index: { offset: index.offset, coefficients: own } };
  const constant = (value: number): Scalar => ({ op: "constant", dtype: f32, value });
  const isWithin: Scalar = {
    op: "lessEqual",
    dtype: "bool",
    args: [{ op: "abs", dtype: f32, args: [load] }, constant(most)],
  };
  const found: Scalar = { op: "reduced", dtype: f32, reduction: 0 };
  const before: Scalar = { op: "load", dtype: f32, input: 1, index: { offset: 0, coefficients: own.map(() => 0) } };
  return {
    extents: [...extents.slice(0, kept), 1],
    reduceExtents: extents.slice(kept),
    inputs: [{ dtype: f32, size }, ...(isFirst ? [] : [{ dtype: f32, size: 1 }])],
    reductions: [{ combine: "max", value: { op: "where", dtype: f32, args: [isWithin, constant(0), constant(1)] } }],
    outputs: [{ dtype: f32, value: isFirst ? found : { op: "max", dtype: f32, args: [found, before] } }],
  };
}
