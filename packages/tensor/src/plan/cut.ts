/** Bounds on what one kernel computes: beyond them values on the way get memory. */
import { callOf } from "../graph/calls.js";
import { inputsRead } from "../graph/op.js";
import type { Call, Tensor } from "../graph/tensor.js";
import type { Planning } from "./planning.js";

/** Calls whose results a kernel computes in place for one of its results. */
const MOST_CALLS = 512;
/** Calls in place, one behind another: expressions are walked by recursion. */
const DEEPEST = 256;

const IN_PLACE: ReadonlySet<string> = new Set(["elementwise", "movement", "concat", "gather", "generator"]);

/** What stands in place behind a tensor. */
interface Extent {
  readonly count: number;
  readonly depth: number;
}
const NOTHING: Extent = { count: 0, depth: 0 };

export function cutLong(planning: Planning): Planning {
  const { calls, resolve, claimed, options } = planning;
  if (!options.fuse) return planning;
  const stored = new Map(planning.stored);
  const extents = new Map<Tensor, Extent>();
  const inPlace = (call: Call): Tensor[] => [
    ...new Set(
      inputsRead(call)
        .map(resolve)
        .filter((x) => callOf(x) && !stored.has(x)),
    ),
  ];
  for (const call of calls) {
    if (!IN_PLACE.has(call.op.rule.kind)) continue;
    let inputs = inPlace(call);
    let extent = extentOf(inputs, extents);
    if (extent.count > MOST_CALLS) extent = { ...extent, count: countBehind(inputs, inPlace) };
    if (extent.count > MOST_CALLS || extent.depth > DEEPEST) {
      const size = (x: Tensor): number => {
        const { count, depth } = extents.get(x) ?? NOTHING;
        return Math.max(count / MOST_CALLS, depth / DEEPEST);
      };
      // What a reduction's kernel computes on its way has no other kernel.
      for (const x of inputs.filter((each) => !claimed.has(each)).sort((a, b) => size(b) - size(a))) {
        if (size(x) * inputs.length < 1) break;
        stored.set(x, undefined);
      }
      inputs = inPlace(call);
      extent = extentOf(inputs, extents);
    }
    extents.set(call.outputs[0]!, extent);
  }
  return { ...planning, stored };
}

/** Of a call of these inputs; values used twice count twice. */
function extentOf(inputs: readonly Tensor[], extents: ReadonlyMap<Tensor, Extent>): Extent {
  let count = 1;
  let depth = 0;
  for (const x of inputs) {
    const extent = extents.get(x) ?? NOTHING;
    count += extent.count;
    depth = Math.max(depth, extent.depth);
  }
  return { count, depth: depth + 1 };
}

/** Different calls in place behind some tensors, their reader included, or more than the bound. */
function countBehind(inputs: readonly Tensor[], inPlace: (call: Call) => readonly Tensor[]): number {
  const seen = new Set(inputs);
  const stack = [...inputs];
  while (stack.length > 0 && seen.size < MOST_CALLS) {
    const call = callOf(stack.pop()!)!;
    if (!IN_PLACE.has(call.op.rule.kind)) continue;
    for (const x of inPlace(call)) {
      if (seen.has(x)) continue;
      seen.add(x);
      stack.push(x);
    }
  }
  return seen.size + 1;
}
