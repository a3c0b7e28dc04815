/**
 * Kernels made simpler before rendering: the same values from fewer and longer loops.
 * Everything here maps a `LoopKernel` to a `LoopKernel`; expressions used twice stay shared.
 */
import type { Affine, LoopKernel, Reduction, Scalar } from "./loop.js";

export const product = (extents: readonly number[]): number => extents.reduce((a, b) => a * b, 1);

/** The value of a reduction over no element. */
export const identity = (reduction: Reduction): number =>
  reduction.combine === "sum" ? 0 : reduction.value.dtype === "i32" ? -0x80000000 : -Infinity;

/** The expressions a node is made of. */
export function parts(node: Scalar): readonly Scalar[] {
  switch (node.op) {
    case "constant":
    case "position":
    case "reduced":
    case "state":
      return [];
    case "load":
      return node.gather?.map((g) => g.value) ?? [];
    case "guard":
      return [node.value];
    default:
      return node.args;
  }
}

export const roots = (kernel: LoopKernel): readonly Scalar[] =>
  [...kernel.reductions, ...kernel.outputs].map((root) => root.value);

/** Every node below the roots, each once; where `until` has a node, neither it nor what it is made of. */
export function nodesOf(roots: readonly Scalar[], until: ReadonlySet<Scalar> = new Set()): ReadonlySet<Scalar> {
  const seen = new Set<Scalar>();
  const visit = (node: Scalar): void => {
    if (seen.has(node) || until.has(node)) return;
    seen.add(node);
    parts(node).forEach(visit);
  };
  roots.forEach(visit);
  return seen;
}

export const affinesOf = (node: Scalar): readonly Affine[] =>
  node.op === "load" || node.op === "position"
    ? [node.index]
    : node.op === "guard"
      ? node.conditions.map((c) => c.index)
      : [];

/** Rebuilds expressions with every affine index mapped and `reduced` nodes replaced. */
function rewriter(
  affine: (index: Affine) => Affine,
  reduced: (node: Scalar & { op: "reduced" }) => Scalar,
): (node: Scalar) => Scalar {
  const done = new Map<Scalar, Scalar>();
  const rewrite = (node: Scalar): Scalar => {
    const known = done.get(node);
    if (known !== undefined) return known;
    const result = rebuild(node);
    done.set(node, result);
    return result;
  };
  const rebuild = (node: Scalar): Scalar => {
    switch (node.op) {
      case "constant":
      case "state":
        return node;
      case "position":
        return { ...node, index: affine(node.index) };
      case "reduced":
        return reduced(node);
      case "load": {
        const { gather, ...rest } = node;
        const load = { ...rest, index: affine(node.index) };
        return gather === undefined
          ? load
          : { ...load, gather: gather.map((g) => ({ ...g, value: rewrite(g.value) })) };
      }
      case "guard": {
        const mapped = node.conditions.map((c) => ({ ...c, index: affine(c.index) }));
        // What does not depend on the position is decided here: a load that never happens may have no valid index.
        const conditions = mapped.filter(({ index }) => index.coefficients.some((c) => c !== 0));
        const holds = mapped.every((c) => conditions.includes(c) || (c.lo <= c.index.offset && c.index.offset < c.hi));
        if (!holds) return { op: "constant", dtype: node.dtype, value: node.fill };
        return conditions.length === 0 ? rewrite(node.value) : { ...node, conditions, value: rewrite(node.value) };
      }
      default:
        return { ...node, args: node.args.map(rewrite) };
    }
  };
  return rewrite;
}

/**
 * Drops axes of extent 1 and conditions on nothing else, joins neighbours that every index passes through like one axis, and
 * turns reductions over no or one element into plain values.
 */
export function simplifyLoop(kernel: LoopKernel): LoopKernel {
  const outer = kernel.extents.length;
  const reducing = kernel.reductions.length > 0;
  const empty = reducing && product(kernel.reduceExtents) === 0;
  const keptRoots = empty || !reducing ? kernel.outputs.map((o) => o.value) : roots(kernel);
  const affines = [...[...nodesOf(keptRoots)].flatMap(affinesOf), ...kernel.outputs.flatMap((o) => o.index ?? [])];
  /** Each stands for itself and the axes joined to it; `axis` is the innermost of them, whose coefficient is theirs. */
  const groups: { axis: number; extent: number }[] = [];
  [...kernel.extents, ...(reducing && !empty ? kernel.reduceExtents : [])].forEach((extent, axis) => {
    if (extent === 1) return;
    const last = groups.at(-1);
    const joins =
      last !== undefined &&
      last.axis < outer === axis < outer &&
      affines.every((a) => a.coefficients[last.axis] === (a.coefficients[axis] as number) * extent);
    if (joins) groups[groups.length - 1] = { axis, extent: last.extent * extent };
    else groups.push({ axis, extent });
  });
  const affine = (a: Affine): Affine => ({
    offset: a.offset,
    coefficients: groups.map((g) => a.coefficients[g.axis] as number),
  });
  const reduceExtents = groups.filter((g) => g.axis >= outer).map((g) => g.extent);
  const single = reducing && !empty && reduceExtents.length === 0;
  const rewrite = rewriter(affine, (node) => {
    const reduction = kernel.reductions[node.reduction] as Reduction;
    if (empty) return { op: "constant", dtype: node.dtype, value: identity(reduction) };
    return single ? rewrite(reduction.value) : node;
  });
  return {
    extents: groups.filter((g) => g.axis < outer).map((g) => g.extent),
    reduceExtents,
    inputs: kernel.inputs,
    reductions: empty || single ? [] : kernel.reductions.map((r) => ({ ...r, value: rewrite(r.value) })),
    outputs: kernel.outputs.map(({ dtype, value, index }) => ({
      dtype,
      value: rewrite(value),
      ...(index && !empty && !single && { index: affine(index) }),
    })),
  };
}

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
 * Divides a reduction into two kernels: partial reductions over parts of the longest reduced axis, each of
 * `length`, whose outputs are further inputs of the second kernel, which combines them.
 */
export function divideReduction(kernel: LoopKernel, length: number): readonly [LoopKernel, LoopKernel] | undefined {
  const longest = Math.max(...kernel.reduceExtents);
  const axis = kernel.reduceExtents.indexOf(longest);
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
      value: {
        op: "guard",
        dtype: value.dtype,
        conditions: [{ index: inside, lo: 0, hi: longest }],
        value,
        fill: identity(r),
      },
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
