/** Bounds on what one kernel computes: beyond them values on the way get memory. */
import { callOf } from "../graph/calls.js";
import { inputsRead } from "../graph/op.js";
import type { Call, Tensor } from "../graph/tensor.js";
import type { Planning } from "./planning.js";

/** Calls whose results a kernel computes in place for one of its results. */
const MOST_CALLS = 512;
/** Calls in place, one behind another: expressions are walked by recursion. */
const DEEPEST = 256;
/** Work once more, for other elements of the same value: sums x_i + x_(i + n/2) of such sums take twice as much at each level. */
const MOST_AGAIN = 48;

const WORK: ReadonlySet<string> = new Set(["elementwise", "concat", "gather"]);
const IN_PLACE: ReadonlySet<string> = new Set([...WORK, "movement", "generator"]);

/** What stands in place behind a tensor. */
interface Extent {
  /** Calls. */
  readonly count: number;
  /** Of {@link WORK}, what is beyond the first use of each where movements lead to one in several ways. */
  readonly again: number;
  readonly depth: number;
}
const NOTHING: Extent = { count: 0, again: 0, depth: 0 };

type InPlace = (call: Call) => readonly Tensor[];

export function cutLong(planning: Planning): Planning {
  const { calls, resolve, claimed, options } = planning;
  if (!options.fuse) return planning;
  const stored = new Map(planning.stored);
  const extents = new Map<Tensor, Extent>();
  const inPlace: InPlace = (call) => [
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
    if (isLarge(extent)) extent = { ...extent, ...countBehind(call, inPlace) };
    if (isLarge(extent)) {
      const size = (x: Tensor): number => sizeOf(extents.get(x) ?? NOTHING);
      // What a reduction's kernel computes on its way has no other kernel.
      const able = (xs: readonly Tensor[]): Tensor[] => xs.filter((each) => !claimed.has(each));
      for (const x of able(sharedSources(inputs, inPlace))) stored.set(x, undefined);
      for (const x of able(inPlace(call)).sort((a, b) => size(b) - size(a))) {
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

/** As a part of the bounds. */
const sizeOf = ({ count, again, depth }: Extent): number =>
  Math.max(count / MOST_CALLS, again / MOST_AGAIN, depth / DEEPEST);
const isLarge = (extent: Extent): boolean => sizeOf(extent) > 1;

/** Of a call of these inputs, at most; values used twice count twice. */
function extentOf(inputs: readonly Tensor[], extents: ReadonlyMap<Tensor, Extent>): Extent {
  let [count, again, depth, largest] = [1, 0, 0, 0];
  for (const x of inputs) {
    const extent = extents.get(x) ?? NOTHING;
    count += extent.count;
    again += extent.again;
    depth = Math.max(depth, extent.depth);
    largest = Math.max(largest, extent.count);
  }
  return { count, again: again + count - 1 - largest, depth: depth + 1 };
}

/**
 * What is in place behind a call, itself included, or more than the bounds. A call is there again for each way of movements
 * that leads to it; ways that end at the same elements all the same count as different ones.
 */
function countBehind(reader: Call, inPlace: InPlace): { count: number; again: number } {
  const seen = new Map<Call, Set<number>>();
  const ways = new Map<Call, Map<number, number>>();
  let again = 0;
  let next = 1;
  const stack: { call: Call; way: number }[] = [{ call: reader, way: 0 }];
  while (stack.length > 0 && seen.size <= MOST_CALLS && again <= MOST_AGAIN) {
    const { call, way } = stack.pop()!;
    let taken = seen.get(call);
    if (taken?.has(way)) continue;
    const { kind } = call.op.rule;
    if (taken && WORK.has(kind)) again++;
    if (!taken) seen.set(call, (taken = new Set()));
    taken.add(way);
    if (!IN_PLACE.has(kind)) continue;
    let behind = way;
    if (kind !== "elementwise") {
      const known = ways.get(call) ?? new Map<number, number>();
      ways.set(call, known);
      behind = known.get(way) ?? next++;
      known.set(way, behind);
    }
    for (const x of inPlace(call)) stack.push({ call: callOf(x)!, way: behind });
  }
  return { count: seen.size, again };
}

/** Values that movements lead to from several of these inputs. */
function sharedSources(inputs: readonly Tensor[], inPlace: InPlace): readonly Tensor[] {
  const sources = inputs.map((x) => {
    let source = x;
    while (callOf(source)?.op.rule.kind === "movement") {
      const [behind] = inPlace(callOf(source)!);
      if (!behind) break;
      source = behind;
    }
    return source;
  });
  return [...new Set(sources)].filter(
    (x) => WORK.has(callOf(x)?.op.rule.kind ?? "") && sources.indexOf(x) !== sources.lastIndexOf(x),
  );
}
