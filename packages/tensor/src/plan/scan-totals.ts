/**
 * Totals: sums over the recurrence's axis of what a gradient's step has at hand at every step. Its own results are such, whose
 * sum is the gradient of a bias, and products of what it reads, whose sum is that of a skip; they need not be read again.
 */
import { callOf } from "../graph/calls.js";
import { inputsRead } from "../graph/op.js";
import type { Call, Tensor } from "../graph/tensor.js";
import { reshapedIndex } from "../ir/affine.js";
import type { Affine } from "../ir/loop.js";
import type { OpenDecisions } from "./decisions.js";
import type { ScanUnit } from "./scan-lowering.js";
import { lowerNoting, storedAround } from "./scan-noting.js";
import { resultsOf, sameAffines, summed, type Region, type ScanGraph, type Tail } from "./scan-region.js";

/**
 * The step of a gradient with as many totals as it may take.
 * @param early What another step of the recurrence computes.
 */
export function withTotals(unit: ScanUnit, early: Region, graph: ScanGraph, decisions: OpenDecisions): ScanUnit {
  const { region, loop } = unit;
  const most = decisions.totals.get((unit.scan ?? unit.gradient)!) ?? Infinity;
  const found = totalsIn(unit, graph, decisions).slice(0, most);
  if (found.length === 0) return unit;
  const results = found.map(({ call, tail }) => [call.outputs[0]!, tail] as const);
  const more: Region = {
    ...region,
    sums: new Map([...region.sums, ...found.map(({ call }) => [call.outputs[0]!, call] as const)]),
    tails: new Map([...region.tails, ...results]),
    totals: new Map(found.map(({ call, of }) => [call.outputs[0]!, of])),
    calls: new Set([...region.calls, ...found.map(({ call }) => call)]),
  };
  return { ...unit, region: more, results: resultsOf(more, loop, graph, new Set(), early) };
}

interface Total {
  readonly call: Call;
  /** What it is a sum of. */
  readonly of: Tail;
  readonly tail: Tail;
}

/** The sums that could be totals: of what is read at every step first, since a result has memory anyway. */
function totalsIn(unit: ScanUnit, graph: ScanGraph, decisions: OpenDecisions): readonly Total[] {
  const { region, loop } = unit;
  const { calls, resolve } = graph;
  const candidates = calls.filter(
    (call) => call.op.rule.kind === "reduce" && !region.calls.has(call) && call.outputs[0]!.size > 1,
  );
  if (candidates.length === 0) return [];
  const read = placesRead(unit, graph, decisions);
  const ofRead: Total[] = [],
    ofResults: Total[] = [];
  for (const call of candidates) {
    const x = resolve(call.inputs[0]!);
    const own = region.tails.get(x);
    const of = own ?? productOf(x, read, unit, graph);
    const tail =
      of && of.step === "each" && of.keeps.includes(loop.along) ? summed(call, of, loop, of.keeps) : undefined;
    if (of && tail && !tail.keeps.includes(loop.along)) (own ? ofResults : ofRead).push({ call, of, tail });
  }
  return [...ofRead, ...ofResults];
}

/** What nothing but a sum reads, computed elementwise from tensors that the step reads at the same point. */
function productOf(
  x: Tensor,
  read: ReadonlyMap<Tensor, readonly Affine[]>,
  { loop }: ScanUnit,
  { resolve, users, isKept }: ScanGraph,
): Tail | undefined {
  const call = callOf(x);
  if (call?.op.rule.kind !== "elementwise" || isKept(x) || users.get(x)?.length !== 1) return undefined;
  const places = inputsRead(call).map((input) => read.get(resolve(input)));
  const [index] = places;
  if (!index || !places.every((place) => place && sameAffines(place, index, loop))) return undefined;
  const keeps = loop.extents.flatMap((extent, axis) =>
    extent === 1 || index.some(({ coefficients }) => coefficients[axis] !== 0) ? [axis] : [],
  );
  return { index, step: "each", keeps };
}

/** The index at which the step reads or computes each tensor; the first of several. */
function placesRead(
  unit: ScanUnit,
  graph: ScanGraph,
  decisions: OpenDecisions,
): ReadonlyMap<Tensor, readonly Affine[]> {
  const places = new Map<Tensor, readonly Affine[]>();
  const place = (x: Tensor, index: readonly Affine[]): undefined => {
    if (!places.has(x)) places.set(x, index);
    // A view is read in the memory of what it shows.
    const call = callOf(x);
    if (call?.op.name !== "reshape") return;
    const shown = graph.resolve(call.inputs[0]!);
    const at = reshapedIndex(index, x.shape, shown.shape, unit.loop.extents);
    if (at && !("inner" in at)) place(shown, at);
  };
  const isStored = storedAround(new Set(unit.results.keys()), graph);
  lowerNoting(unit, { resolve: graph.resolve, isStored, place }, decisions);
  return places;
}
