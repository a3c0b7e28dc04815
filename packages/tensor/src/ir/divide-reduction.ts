/** Reductions to few outputs in two kernels, so that more units of work share them. */
import { guard, type Affine, type LoopKernel, type Reduction, type Scalar } from "./loop.js";
import { identity, product, rewriter } from "./simplify.js";

/** Elements below which a part of a divided reduction is not worth its own unit of work. */
const SMALLEST_PART = 8192;
/** Units of work wanted; fixed, so that results do not depend on the number of threads. */
const WANTED_UNITS = 64;

/** Elements of the longest reduced axis that make one of several parts, if a kernel of so few units is better divided. */
export function partForUnits(kernel: LoopKernel, units: number): number | undefined {
  if (kernel.reductions.length === 0 || units >= WANTED_UNITS / 4) return undefined;
  const longest = Math.max(...kernel.reduceExtents);
  const total = product(kernel.extents) * product(kernel.reduceExtents);
  const wanted = Math.min(longest, Math.ceil(WANTED_UNITS / units), Math.floor(total / units / SMALLEST_PART));
  if (wanted < 2) return undefined;
  const exact = Math.ceil(longest / wanted);
  return exact > 64 ? Math.ceil(exact / 16) * 16 : exact;
}

/**
 * Divides a reduction into two kernels: partial reductions over parts of a reduced axis, each of `length`, whose outputs
 * are further inputs of the second kernel, which combines them.
 * @param axis Its number; the longest by default.
 */
export function divideReduction(
  kernel: LoopKernel,
  length: number,
  axis = kernel.reduceExtents.indexOf(Math.max(...kernel.reduceExtents)),
): readonly [LoopKernel, LoopKernel] | undefined {
  const longest = kernel.reduceExtents[axis]!;
  const count = Math.ceil(longest / length);
  if (count < 2) return undefined;

  const at = kernel.extents.length + axis;
  // The part comes first among the axes; the reduced axis keeps its place.
  const divided = (a: Affine): Affine => ({
    offset: a.offset,
    coefficients: [(a.coefficients[at] as number) * length, ...a.coefficients],
  });
  const noReduced = (node: Scalar): Scalar => node;
  const toPart = rewriter(divided, noReduced);
  const reduceExtents = kernel.reduceExtents.map((extent, k) => (k === axis ? length : extent));
  const axes = 1 + kernel.extents.length + reduceExtents.length;
  const inside: Affine = {
    offset: 0,
    coefficients: Array.from({ length: axes }, (_, k) => (k === 0 ? length : k === at + 1 ? 1 : 0)),
  };
  const reductions = kernel.reductions.map((r): Reduction => {
    const value = toPart(r.value);
    if (count * length === longest) return { ...r, value };
    return {
      ...r,
      value: guard([{ index: inside, lo: 0, hi: longest }], value, identity(r)),
    };
  });
  const first: LoopKernel = {
    extents: [count, ...kernel.extents],
    reduceExtents,
    inputs: kernel.inputs,
    reductions,
    outputs: reductions.map((r, k) => ({
      dtype: r.value.dtype,
      value: { op: "reduced", dtype: r.value.dtype, reduction: k },
    })),
  };

  const rows = product(kernel.extents);
  const rowStrides = kernel.extents.map((_, k) => product(kernel.extents.slice(k + 1)));
  const partial: Affine = { offset: 0, coefficients: [...rowStrides, rows] };
  const toOutput = rewriter(
    (a) => ({ offset: a.offset, coefficients: [...a.coefficients.slice(0, kernel.extents.length), 0] }),
    noReduced,
  );
  const second: LoopKernel = {
    extents: kernel.extents,
    reduceExtents: [count],
    inputs: [...kernel.inputs, ...reductions.map((r) => ({ dtype: r.value.dtype, size: count * rows }))],
    reductions: reductions.map((r, k) => ({
      combine: r.combine,
      value: { op: "load", dtype: r.value.dtype, input: kernel.inputs.length + k, index: partial },
    })),
    outputs: kernel.outputs.map((o) => ({ ...o, value: toOutput(o.value) })),
  };
  return [first, second];
}
