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
export function rewriter(
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
