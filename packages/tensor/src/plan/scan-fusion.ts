/**
 * Scan fusion: a recurrence together with what is computed into it and out of it becomes one step that keeps its states
 * to itself, and its gradient a second one that computes them again.
 *
 * Around a recurrence, what follows from its states elementwise, up to sums over axes, is one region. The part that
 * depends on nothing behind the recurrence is the first step; the gradient and all else the second. Where the states
 * must have memory anyway, the first step stores them and the gradient is a recurrence of its own, the other way.
 */
import { callOf } from "../graph/calls.js";
import type { Affine } from "../ir/loop.js";
import { inputsRead } from "../graph/op.js";
import type { LinearScanAttributes } from "../ops/linear-scan.js";
import type { Call, Tensor } from "../graph/tensor.js";
import { copyOf, type OpenDecisions, type ScanLevel } from "./decisions.js";
import type { Planning } from "./planning.js";
import { isScan, isScanGradient, levelOf } from "./scan-levels.js";
import { positionsOf, valuesOf, type ScanUnit } from "./scan-lowering.js";
import { lowerNoting, split, storedAround } from "./scan-noting.js";
import { withTotals } from "./scan-totals.js";
import {
  downstream,
  growRegion,
  resultsOf,
  SplitLoop,
  type Loop,
  type Place,
  type Region,
  type ScanGraph,
} from "./scan-region.js";
import { ownWork } from "./work.js";

const BELOW: Readonly<Record<ScanLevel, ScanLevel>> = {
  recompute: "stored",
  stored: "bare",
  bare: "refused",
  refused: "refused",
};

/** The recurrences of a graph that become scan steps, and what they leave to nobody else. */
export interface Scans {
  readonly units: readonly ScanUnit[];
  /** Recurrences, gradients and sums that a unit computes. */
  readonly calls: ReadonlySet<Call>;
  /** Tensors with memory that a unit writes. */
  readonly results: ReadonlySet<Tensor>;
  /** Tensors computed where they are used: everything inside a region, and what only units read. */
  readonly inside: ReadonlySet<Tensor>;
  /** Tensors that are too much work for the units to compute, which do so in several passes. */
  readonly stored: ReadonlySet<Tensor>;
  /** Why a recurrence is not wholly fused. */
  reasonOf(call: Call): string | undefined;
}

/** Takes in less of a recurrence's surroundings from now on. */
export function demote(call: Call, { levels }: OpenDecisions, fuse: boolean, reason: string): void {
  const level = levelOf(call, { levels }, fuse);
  levels.set(call, { level: BELOW[level], reason: levels.get(call)?.reason ?? reason });
}

interface Recurrence {
  readonly call: Call;
  readonly parts: readonly (readonly number[])[];
  readonly loop: Loop;
  readonly seeds: ReadonlyMap<Tensor, Place>;
}

/** A recurrence (or the gradient of one whose states are stored) with its loop. */
function recurrenceOf(call: Call, { parts: known }: OpenDecisions): Recurrence {
  const { axis, reverse } = call.attributes as LinearScanAttributes;
  const { shape } = call.outputs[0]!;
  const parts = known.get(call) ?? shape.map((extent) => [extent]);
  const along = parts.slice(0, axis).flat().length;
  const gradient = isScanGradient(call);
  const positions = positionsOf(parts);
  return {
    call,
    parts,
    loop: { extents: parts.flat(), along, reverse: gradient ? !reverse : reverse },
    seeds: new Map(call.outputs.map((x) => [x, seedPlace(x, positions, axis, "last")])),
  };
}

/** The states and their cotangents are at every step, the cotangent of the initial state at one. */
const seedPlace = (x: Tensor, positions: readonly Affine[], axis: number, end: "first" | "last"): Place =>
  x.shape.length === positions.length
    ? { index: positions, step: "each" }
    : { index: positions.filter((_, k) => k !== axis), step: end };

/** Recurrences with what is fused into them. */
export function fuseScans(planning: Planning): Planning {
  const { calls, resolve, users, kept, options } = planning;
  if (!options.scans) return planning;
  const decisions = copyOf(planning.decisions);
  const totals = options.scans.totals !== undefined;
  const scans = findScans({ calls, resolve, users, isKept: (x) => kept.has(x), totals }, decisions, options.fuse);
  return scans ? { ...planning, decisions, scans } : { ...planning, revised: decisions };
}

/** All scan steps of a graph, or undefined after a decision about one had to be changed. */
function findScans(graph: ScanGraph, decisions: OpenDecisions, fuse: boolean): Scans | undefined {
  const forward = forwardUnits(graph, decisions, fuse);
  const paired = new Set(forward.units.map(({ gradient }) => gradient));
  const backward = gradientUnits(graph, decisions, fuse, paired);
  if (forward.changed || backward.changed) return undefined;
  const units = [...forward.units, ...backward.units];
  const scans: Scans = {
    units,
    ...membersOf(units),
    inside: new Set(),
    stored: new Set(),
    reasonOf: (call) => decisions.levels.get(call)?.reason,
  };
  if (!fuse) return scans;
  const stored = laborious(scans, graph, decisions);
  if (!stored) return undefined;
  const around = stored.size > 0 ? { ...graph, isKept: (x: Tensor) => graph.isKept(x) || stored.has(x) } : graph;
  const inside = prologues(scans, around, decisions);
  return inside && { ...scans, stored, inside };
}

/** Units of some recurrences, and whether a decision about one had to be changed. */
interface FoundUnits {
  readonly units: readonly ScanUnit[];
  readonly changed: boolean;
}

/** The recurrences, with their gradients where those compute the states again. */
function forwardUnits(graph: ScanGraph, decisions: OpenDecisions, fuse: boolean): FoundUnits {
  const gradients = new Map<Tensor, Call[]>();
  for (const call of graph.calls) {
    if (!isScanGradient(call)) continue;
    const h = graph.resolve(valuesOf(call)[1]![0]!);
    gradients.set(h, [...(gradients.get(h) ?? []), call]);
  }
  const units: ScanUnit[] = [];
  let changed = false;
  for (const call of graph.calls) {
    if (!isScan(call) || call.outputs[0]!.size === 0) continue;
    const level = levelOf(call, decisions, fuse);
    if (level === "refused") continue;
    const recurrence = recurrenceOf(call, decisions);
    const found =
      level === "recompute"
        ? splitting(recurrence, decisions, () =>
            recomputing(recurrence, gradients.get(call.outputs[0]!) ?? [], graph, decisions),
          )
        : [storing(recurrence)];
    if (!found) changed = true;
    else if (typeof found === "string") {
      demote(call, decisions, fuse, found);
      units.push(storing(recurrence));
    } else units.push(...found);
  }
  return { units, changed };
}

/** Gradients of stored states. */
function gradientUnits(
  graph: ScanGraph,
  decisions: OpenDecisions,
  fuse: boolean,
  paired: ReadonlySet<Call | undefined>,
): FoundUnits {
  const units: ScanUnit[] = [];
  let changed = false;
  for (const call of graph.calls) {
    if (!isScanGradient(call) || paired.has(call) || call.outputs[0]!.size === 0) continue;
    const level = levelOf(call, decisions, fuse);
    if (level === "refused") continue;
    const recurrence = recurrenceOf(call, decisions);
    const found =
      level === "bare" ? alone(recurrence) : splitting(recurrence, decisions, () => reversed(recurrence, graph));
    if (found) units.push(found);
    else changed = true;
  }
  return { units, changed };
}

/** Runs f; a split it asks for is noted, and the result is undefined. */
function splitting<T>({ call, parts }: Recurrence, decisions: OpenDecisions, f: () => T): T | undefined {
  try {
    return f();
  } catch (request) {
    if (!(request instanceof SplitLoop)) throw request;
    split(call, parts, decisions, request.request);
    return undefined;
  }
}

const nothing = (seeds: ReadonlyMap<Tensor, Place>): Region => ({
  values: seeds,
  sums: new Map(),
  tails: new Map(),
  calls: new Set(),
});

/** A step that stores the states. */
function storing({ call, parts, loop, seeds }: Recurrence): ScanUnit {
  const keeps = loop.extents.map((_, axis) => axis);
  return {
    scan: call,
    parts,
    loop,
    region: nothing(seeds),
    results: new Map([...seeds].map(([x, place]) => [x, { ...place, keeps }])),
  };
}

/** A gradient that stores its results. */
function alone({ call, parts, loop, seeds }: Recurrence): ScanUnit {
  const keeps = (step: string): readonly number[] =>
    loop.extents.flatMap((_, axis) => (step !== "each" && axis === loop.along ? [] : [axis]));
  return {
    gradient: call,
    parts,
    loop,
    region: nothing(seeds),
    results: new Map([...seeds].map(([x, place]) => [x, { ...place, keeps: keeps(place.step) }])),
  };
}

/** A gradient of stored states with what is computed from it. */
function reversed({ call, parts, loop, seeds }: Recurrence, graph: ScanGraph): ScanUnit {
  const region = growRegion(seeds, loop, graph, downstream(seeds.keys(), graph));
  return { gradient: call, parts, loop, region, results: resultsOf(region, loop, graph, new Set()) };
}

/** One or two steps that do not store the states, or why they must be stored. */
function recomputing(
  recurrence: Recurrence,
  gradients: readonly Call[],
  graph: ScanGraph,
  decisions: OpenDecisions,
): ScanUnit[] | string {
  const { call, parts, loop, seeds } = recurrence;
  if (call.outputs.some((x) => graph.isKept(x)))
    return "the states are asked for or read by a program that is not fused";
  if (gradients.length > 1) return "the states have several gradients";
  const [gradient] = gradients;
  const after = downstream(call.outputs, graph);
  const early = growRegion(
    seeds,
    loop,
    graph,
    after,
    gradient && postponed(growRegion(seeds, loop, graph, after), gradient, loop, graph),
  );
  const { axis } = call.attributes as LinearScanAttributes;
  const positions = positionsOf(parts);
  const lateSeeds = new Map([
    ...seeds,
    ...(gradient?.outputs ?? []).map((x) => [x, seedPlace(x, positions, axis, "first")] as const),
  ]);
  const late = growRegion(
    lateSeeds,
    loop,
    graph,
    gradient ? downstream(gradient.outputs, graph) : new Set(),
    early.tails,
  );
  const elsewhere = new Set([...early.calls, ...late.calls, call, ...(gradient ? [gradient] : [])]);
  const first = resultsOf(early, loop, graph, elsewhere);
  const second = resultsOf(late, loop, graph, NONE, early);
  if (call.outputs.some((x) => first.has(x) || second.has(x)))
    return "the states are used other than elementwise up to a sum";
  const units: ScanUnit[] = first.size > 0 ? [{ scan: call, parts, loop, region: early, results: first }] : [];
  if (second.size === 0) return units;
  if (gradient && valuesOf(gradient)[2]!.some((x) => late.values.has(graph.resolve(x))))
    return "the cotangent of the states depends on the states";
  // Nothing the second step reads may follow from its own results.
  const behind = downstream(second.keys(), graph);
  const reads = (gradient ? [...gradient.inputs] : []).map(graph.resolve);
  for (const inner of late.calls)
    for (const x of inputsRead(inner).map(graph.resolve)) if (!late.values.has(x) && !late.tails.has(x)) reads.push(x);
  if (reads.some((x) => behind.has(x))) return "the states are used with what follows from their gradient";
  const unit: ScanUnit = { scan: call, gradient, parts, loop, region: late, results: second };
  return [...units, gradient && graph.totals ? withTotals(unit, early, graph, decisions) : unit];
}

const NONE: ReadonlySet<Call> = new Set();

/**
 * Sums that are left to the gradient's step, which computes the states anyway: those over an axis that the largest result
 * keeps need another way through the loop than that result. What the gradient reads is not among them.
 */
function postponed(region: Region, gradient: Call, loop: Loop, graph: ScanGraph): ReadonlySet<Tensor> {
  const kept = (x: Tensor): readonly number[] => region.tails.get(x)!.keeps;
  const sizeOf = (x: Tensor): number => kept(x).reduce((size, axis) => size * loop.extents[axis]!, 1);
  const largest = [...region.sums.keys()].sort((a, b) => sizeOf(b) - sizeOf(a))[0];
  const cotangents = valuesOf(gradient)[2]!.map(graph.resolve);
  const isRead = (x: Tensor): boolean => {
    const behind = downstream([x], graph);
    return cotangents.some((cotangent) => behind.has(cotangent));
  };
  return new Set(
    [...region.sums.keys()].filter((x) => kept(largest!).some((axis) => !kept(x).includes(axis)) && !isRead(x)),
  );
}

function membersOf(units: readonly ScanUnit[]): Pick<Scans, "calls" | "results"> {
  const calls = new Set<Call>();
  const results = new Set<Tensor>();
  for (const { scan, gradient, region, results: stored } of units) {
    for (const call of [scan, gradient, ...region.sums.values()]) if (call) calls.add(call);
    for (const x of stored.keys()) results.add(x);
  }
  return { calls, results };
}

/** What is inside the regions, and what only the units read and is best computed there: what has the recurrence's axis and another one. */
function prologues(scans: Scans, graph: ScanGraph, decisions: OpenDecisions): Set<Tensor> | undefined {
  const { calls, users, isKept } = graph;
  const members = new Set(scans.calls);
  const inside = new Set<Tensor>();
  for (const { region } of scans.units) {
    for (const call of region.calls) members.add(call);
    for (const x of [...region.values.keys(), ...region.tails.keys()]) if (!scans.results.has(x)) inside.add(x);
  }
  const wide = axesSeen(scans.units, scans.results, graph, decisions);
  if (!wide) return undefined;
  /** Calls from one to the unit that reads it: units are lowered by recursion. */
  const distances = new Map<Call, number>();
  for (let k = calls.length - 1; k >= 0; k--) {
    const call = calls[k]!;
    const { kind } = call.op.rule;
    if (members.has(call) || (kind !== "movement" && kind !== "elementwise" && kind !== "concat")) continue;
    const x = call.outputs[0]!;
    if (isKept(x) || (kind !== "movement" && !wide.get(x)) || !(users.get(x) ?? []).every((user) => members.has(user)))
      continue;
    const distance = users.get(x)!.reduce((most, user) => Math.max(most, 1 + (distances.get(user) ?? 0)), 0);
    if (distance > LONGEST_PROLOGUE) continue;
    distances.set(call, distance);
    members.add(call);
    if (kind !== "movement") inside.add(x);
  }
  return inside;
}

/** The most work an element may be that a unit computes for itself, at every step in each of its passes: two softplus are less, random bits more. */
const MOST_WORK = 96;

/** Values that are more work than that, where the units read them or a broadcast repeats them. */
function laborious(scans: Scans, graph: ScanGraph, decisions: OpenDecisions): Set<Tensor> | undefined {
  const { calls, users, resolve } = graph;
  const isStored = storedAround(scans.results, graph);
  const own = new Set([...scans.calls, ...scans.units.flatMap(({ region }) => [...region.calls])]);
  const seen = axesSeen(scans.units, scans.results, graph, decisions);
  if (!seen) return undefined;
  const stored = new Set<Tensor>();
  /** Work behind x down to what has memory, no more than is too much. */
  const workBehind = (x: Tensor): number => {
    let work = 0;
    const stack = [x],
      visited = new Set(stack);
    while (stack.length > 0 && work <= MOST_WORK) {
      const call = callOf(stack.pop()!)!;
      work += call.op.rule.kind === "concat" ? call.inputs.length : ownWork(call);
      for (const input of inputsRead(call).map(resolve)) {
        if (isStored(input) || stored.has(input) || visited.has(input)) continue;
        visited.add(input);
        stack.push(input);
      }
    }
    return work;
  };
  const isBoundary = (x: Tensor): boolean =>
    (users.get(x) ?? []).some(
      (user) =>
        own.has(user) ||
        (user.op.rule.kind === "movement" && (user.outputs[0]!.size > x.size || isBoundary(user.outputs[0]!))),
    );
  for (const call of calls) {
    const { kind } = call.op.rule;
    const x = call.outputs[0]!;
    if (
      seen.has(x) &&
      !isStored(x) &&
      !own.has(call) &&
      (kind === "elementwise" || kind === "concat") &&
      isBoundary(x) &&
      workBehind(x) > MOST_WORK
    )
      stored.add(x);
  }
  return stored;
}

/** Calls one behind another that a unit computes from what has memory. */
const LONGEST_PROLOGUE = 256;

/** Whether each tensor computed in the units' loops has the recurrence's axis and another one wherever it is used. */
function axesSeen(
  units: readonly ScanUnit[],
  results: ReadonlySet<Tensor>,
  graph: ScanGraph,
  decisions: OpenDecisions,
): Map<Tensor, boolean> | undefined {
  const { resolve } = graph;
  const seen = new Map<Tensor, boolean>();
  const isStored = storedAround(results, graph);
  let changed = false;
  for (const unit of units) {
    const { extents, along } = unit.loop;
    const place = (x: Tensor, index: readonly Affine[]): undefined => {
      const has = (axis: number): boolean =>
        extents[axis] === 1 || index.some(({ coefficients }) => coefficients[axis] !== 0);
      seen.set(
        x,
        seen.get(x) !== false &&
          has(along) &&
          extents.some((extent, axis) => axis !== along && extent > 1 && has(axis)),
      );
    };
    if (!lowerNoting(unit, { resolve, isStored, place }, decisions)) changed = true;
  }
  return changed ? undefined : seen;
}
