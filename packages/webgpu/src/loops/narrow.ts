/**
 * Kernels of which even a small part reads more of an operand than a pass may bind: sums go over parts of an axis, and what is
 * read in another order than the kernel runs is copied into that order before.
 */
import {
  beside,
  divideReduction,
  guard,
  nodesOf,
  product,
  roots,
  simplifyLoop,
  type Affine,
  type LoopKernel,
  type Scalar,
} from "@seqmix/tensor/backend";
import { stridesOf } from "@seqmix/tensor";
import { bytesOf, WINDOW_ALIGNMENT, type GpuLimits } from "@seqmix/tensor/wgsl";
import { rewriter } from "../scans/fused/expressions.js";
import { fitBuffers } from "./fit-buffers.js";
import { largestOf, type NumberedKernel } from "./numbered.js";
import { fitsInParts, windowsRead } from "./parts.js";

type Load = Extract<Scalar, { readonly op: "load" }>;

interface Narrowing {
  readonly limits: GpuLimits;
  /** A new block of so many elements, by its number. */
  readonly store: (size: number) => number;
}

/** Whether the passes of a kernel can be bound. */
export const fits = (kernel: LoopKernel, limits: GpuLimits): boolean =>
  bytesOf(largestOf(kernel)) <= limits.bytes || fitsInParts(kernel, limits);

/**
 * Kernels in the place of one that does not fit; the last may not fit where nothing helps.
 * @param store Gives a new block of so many elements.
 */
export function narrowed(part: NumberedKernel, limits: GpuLimits, store: (size: number) => number): NumberedKernel[] {
  const kernel = simplifyLoop(part.kernel);
  if (fits(kernel, limits)) return [{ ...part, kernel }];
  const own = { ...part, kernel };
  const narrowing = { limits, store };
  return inStretches(own, narrowing) ?? inShorterRows(own, narrowing) ?? withCopy(own, narrowing) ?? [own];
}

/** Points that results are cut at multiples of. */
const STEP = WINDOW_ALIGNMENT / 4;

/** Reductions that are too long for what a few points read to be bound, in the order in which it will be copied: half by half. */
function inShorterRows(part: NumberedKernel, { limits, store }: Narrowing): NumberedKernel[] | undefined {
  const { kernel } = part;
  const reduced = product(kernel.reduceExtents);
  if (kernel.reductions.length === 0 || reduced < 2 || bytesOf(reduced * STEP) <= limits.bytes) return undefined;
  const [axis] = byStride(kernel) as [number];
  const divided = divideReduction(kernel, Math.ceil(kernel.reduceExtents[axis]! / 2), axis)!;
  return inTwo(part, divided, limits, store);
}

/** Partial reductions, then what combines them. */
function inTwo(
  { inputs, outputs }: NumberedKernel,
  [first, second]: readonly [LoopKernel, LoopKernel],
  limits: GpuLimits,
  store: Narrowing["store"],
): NumberedKernel[] {
  const size = product(first.extents);
  const partials = first.outputs.map(() => store(size));
  return [
    ...narrowed({ kernel: first, inputs, outputs: partials }, limits, store),
    ...narrowed({ kernel: second, inputs: [...inputs, ...partials], outputs }, limits, store),
  ];
}

/** Reductions over parts of an axis, and then over the parts. */
function inStretches(part: NumberedKernel, { limits, store }: Narrowing): NumberedKernel[] | undefined {
  const { kernel } = part;
  if (kernel.reductions.length === 0) return undefined;
  const reduced = product(kernel.reduceExtents);
  for (const axis of byStride(kernel)) {
    const extent = kernel.reduceExtents[axis]!;
    for (let length = Math.ceil(extent / 2); ; length = Math.ceil(length / 2)) {
      const count = Math.ceil(extent / length);
      if (reduced / count < 2) break;
      const divided = divideReduction(kernel, length, axis);
      if (divided && fits(simplifyLoop(divided[0]), limits)) return inTwo(part, divided, limits, store);
      if (length === 1) break;
    }
  }
  return undefined;
}

/** The reduced axes, that whose neighbours are furthest apart in memory first. */
function byStride({ extents, reduceExtents, reductions }: LoopKernel): number[] {
  const loads = loadsOf(reductions.map(({ value }) => value));
  const strideOf = (axis: number): number =>
    Math.max(0, ...loads.map(({ index }) => Math.abs(index.coefficients[extents.length + axis]!)));
  return reduceExtents.flatMap((extent, axis) => (extent > 1 ? [axis] : [])).sort((a, b) => strideOf(b) - strideOf(a));
}

/** What the kernel reads of the operand that takes most windows, in the order of its points, before the kernel. */
function withCopy(part: NumberedKernel, narrowing: Narrowing): NumberedKernel[] | undefined {
  const { kernel, inputs, outputs } = part;
  const { limits, store } = narrowing;
  const all = [...kernel.extents, ...kernel.reduceExtents];
  const loads = loadsOf(roots(kernel));
  const [input] =
    [...windowsRead(kernel, limits)]
      .filter(([input]) => loads.some((load) => load.input === input && mayBeCopied(load, all)))
      .filter(([input]) => !loads.some((load) => load.input === input && load.gather))
      .sort(([, a], [, b]) => b - a)[0] ?? [];
  if (input === undefined) return undefined;
  const indices = new Map(loads.filter((load) => load.input === input).map(({ index }) => [keyOf(index), index]));
  const { dtype, size } = kernel.inputs[input]!;
  const copies = new Map<string, { readonly number: number; readonly index: Affine }>();
  const kernels: NumberedKernel[] = [];
  const added: LoopKernel["inputs"][number][] = [];
  for (const [key, index] of indices) {
    const axes = axesOf(index, all);
    const extents = axes.map((axis) => all[axis]!);
    const block = store(product(extents));
    copies.set(key, { number: kernel.inputs.length + added.length, index: inOrder(all, axes) });
    added.push({ dtype, size: product(extents) });
    const read = { offset: index.offset, coefficients: axes.map((axis) => index.coefficients[axis]!) };
    kernels.push(...copied({ extents, index: read, dtype, size }, inputs[input]!, block, narrowing));
    part = { ...part, inputs: [...part.inputs, block] };
  }
  const rewrite = rewriter(
    (index) => index,
    (node) => {
      const copy = node.op === "load" && node.input === input ? copies.get(keyOf(node.index))! : undefined;
      return copy && { ...(node as Load), input: copy.number, index: copy.index };
    },
  );
  const rest: LoopKernel = {
    ...kernel,
    inputs: [...kernel.inputs, ...added],
    reductions: kernel.reductions.map((each) => ({ ...each, value: rewrite(each.value) })),
    outputs: kernel.outputs.map((each) => ({ ...each, value: rewrite(each.value) })),
  };
  const behind = fitBuffers({ kernel: rest, inputs: part.inputs, outputs }, limits.buffers, store);
  return [...kernels, ...behind.flatMap((each) => narrowed(each, limits, store))];
}

/** A copy in another order: what is read, and over which axes. */
interface Copy {
  readonly extents: readonly number[];
  readonly index: Affine;
  readonly dtype: LoopKernel["inputs"][number]["dtype"];
  readonly size: number;
}

/** Kernels that copy; halves of the axis furthest apart by themselves where one reads too much. */
function copied(copy: Copy, from: number, to: number, narrowing: Narrowing): NumberedKernel[] {
  const { extents, index, dtype, size } = copy;
  const type = dtype === "f16" ? "f32" : dtype;
  const kernel: LoopKernel = simplifyLoop({
    extents,
    reduceExtents: [],
    inputs: [{ dtype, size }],
    reductions: [],
    outputs: [
      {
        dtype,
        value: guard([{ index, lo: 0, hi: size }], { op: "load", dtype: type, input: 0, index }, 0),
      },
    ],
  });
  const far = index.coefficients.map(Math.abs);
  const axis = far.indexOf(Math.max(0, ...far.filter((_, k) => extents[k]! > 1)));
  if (fits(kernel, narrowing.limits) || axis < 0 || extents[axis]! < 2)
    return [{ kernel, inputs: [from], outputs: [to] }];
  const first = Math.ceil(extents[axis]! / 2);
  const halves = [0, first].map((start) => {
    const own = extents.with(axis, start === 0 ? first : extents[axis]! - first);
    return { own, start, block: narrowing.store(product(own)) };
  });
  return [
    ...halves.flatMap(({ own, start, block }) =>
      copied(
        { ...copy, extents: own, index: { ...index, offset: index.offset + start * index.coefficients[axis]! } },
        from,
        block,
        narrowing,
      ),
    ),
    { kernel: sideBySide(extents, axis, halves, dtype), inputs: halves.map(({ block }) => block), outputs: [to] },
  ];
}

/** Two results beside each other along an axis. */
function sideBySide(
  extents: readonly number[],
  axis: number,
  halves: readonly { readonly own: readonly number[]; readonly start: number }[],
  dtype: Copy["dtype"],
): LoopKernel {
  const type = dtype === "f16" ? "f32" : dtype;
  const [first, second] = halves.map(({ own, start }, input): Scalar => {
    const strides = stridesOf(own);
    return {
      op: "load",
      dtype: type,
      input,
      index: { offset: -start * strides[axis]!, coefficients: strides },
    };
  }) as [Scalar, Scalar];
  const place: Affine = { offset: 0, coefficients: extents.map((_, k) => (k === axis ? 1 : 0)) };
  const border = halves[1]!.start;
  const within = (value: Scalar, lo: number, hi: number): Scalar => guard([{ index: place, lo, hi }], value, 0);
  return {
    extents,
    reduceExtents: [],
    inputs: halves.map(({ own }) => ({ dtype, size: product(own) })),
    reductions: [],
    outputs: [
      {
        dtype,
        value: beside(place, border, within(first, 0, border), within(second, border, extents[axis]!)),
      },
    ],
  };
}

const loadsOf = (values: readonly Scalar[]): Load[] =>
  [...nodesOf(values)].filter((node): node is Load => node.op === "load");

const keyOf = ({ offset, coefficients }: Affine): string => `${offset} ${coefficients.join()}`;

/** The axes that an index depends on. */
const axesOf = ({ coefficients }: Affine, extents: readonly number[]): number[] =>
  extents.flatMap((extent, axis) => (coefficients[axis] !== 0 && extent > 1 ? [axis] : []));

/** The index of a copy that holds these axes, row-major. */
function inOrder(extents: readonly number[], axes: readonly number[]): Affine {
  const strides = stridesOf(axes.map((axis) => extents[axis]!));
  return { offset: 0, coefficients: extents.map((_, axis) => strides[axes.indexOf(axis)] ?? 0) };
}

/** Whether a copy would be read in another order: one that is in order already would be copied for ever. */
function mayBeCopied({ index }: Load, extents: readonly number[]): boolean {
  const wanted = inOrder(extents, axesOf(index, extents));
  return index.offset !== 0 || index.coefficients.some((c, k) => c !== wanted.coefficients[k] && extents[k]! > 1);
}
