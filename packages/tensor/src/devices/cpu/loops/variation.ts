/** What varies along which axes: what is computed once, and which of a guard's conditions are equal in all lanes. */
import type { Affine, Range, Scalar } from "../../../ir/loop.js";
import { affinesOf, parts } from "../../../ir/simplify.js";
import type { Surroundings } from "./writing.js";

export interface Variation {
  readonly varies: (node: Scalar, axes: ReadonlySet<number>) => boolean;
  /** Whether it varies from lane to lane. */
  readonly inLanes: (node: Scalar) => boolean;
  /** From a lane to the next. */
  readonly step: (index: Affine) => number;
  /** The smallest and largest value of an index. */
  readonly bounds: (index: Affine) => readonly [number, number];
  readonly conditionKind: (condition: Range) => "always" | "never" | "uniform" | "segment" | "lanes";
}

/** Axes that an index has a part in. */
export const axesOfAffine = (index: Affine): number[] =>
  index.coefficients.flatMap((c, axis) => (c !== 0 ? [axis] : []));

export function variationOf({
  kernel,
  vectorAxis,
  innerAxes,
}: Pick<Surroundings, "kernel" | "vectorAxis" | "innerAxes">): Variation {
  const extents = [...kernel.extents, ...kernel.reduceExtents];
  const vectorAxes = new Set([vectorAxis]);
  const known = new Map<Scalar, ReadonlySet<number>>();
  const axesOf = (node: Scalar): ReadonlySet<number> => {
    const own = known.get(node);
    if (own !== undefined) return own;
    const axes =
      node.op === "reduced" || node.op === "state"
        ? new Set(kernel.extents.keys())
        : new Set([...affinesOf(node).flatMap(axesOfAffine), ...parts(node).flatMap((part) => [...axesOf(part)])]);
    known.set(node, axes);
    return axes;
  };
  const varies = (node: Scalar, axes: ReadonlySet<number>): boolean => {
    const own = axesOf(node);
    for (const axis of axes) if (own.has(axis)) return true;
    return false;
  };
  const step = (index: Affine): number => (vectorAxis < 0 ? 0 : index.coefficients[vectorAxis]!);
  const bounds = (index: Affine): [number, number] => {
    let [lo, hi] = [index.offset, index.offset];
    index.coefficients.forEach((c, k) => {
      const reach = c * (extents[k]! - 1);
      if (reach < 0) lo += reach;
      else hi += reach;
    });
    return [lo, hi];
  };
  return {
    varies,
    inLanes: (node) => varies(node, vectorAxes),
    step,
    bounds,
    conditionKind: (c) => {
      const [lo, hi] = bounds(c.index);
      if (c.lo <= lo && hi < c.hi) return "always";
      if (hi < c.lo || lo >= c.hi || c.lo >= c.hi) return "never";
      if (step(c.index) === 0) return "uniform";
      return axesOfAffine(c.index).some((axis) => innerAxes.has(axis)) ? "lanes" : "segment";
    },
  };
}
