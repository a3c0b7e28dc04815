/**
 * What can be computed inside a recurrence's loop: everything elementwise that follows from its states at the same point,
 * up to sums over axes, and what follows elementwise from those sums.
 */
import { callOf } from "../graph/calls.js";
import type { Affine } from "../ir/loop.js";
import { inputsRead } from "../graph/op.js";
import type { ScanStep } from "../ir/scan-kernel.js";
import { sizeOf, stridesOf } from "../graph/shape.js";
import type { Call, Tensor } from "../graph/tensor.js";
import { combine, constant, isRowMajor, reshapedIndex, type SplitRequest } from "../ir/affine.js";

/** A tensor as a value at each point of the loop: the index of its element, and the step it is taken at. */
export interface Place {
  readonly index: readonly Affine[];
  readonly step: ScanStep;
}

/** Axes of a loop, an axis of the recurrence's tensors split into parts where an index asks for it. */
export interface Loop {
  readonly extents: readonly number[];
  readonly along: number;
  readonly reverse: boolean;
}

/** The graph as the planner sees it. */
export interface ScanGraph {
  /** Each after those of its inputs. */
  readonly calls: readonly Call[];
  resolve(x: Tensor): Tensor;
  /** Calls that read a tensor. */
  readonly users: ReadonlyMap<Tensor, readonly Call[]>;
  /** Whether the tensor has memory whatever is fused. */
  isKept(x: Tensor): boolean;
  /** Whether steps may take totals. */
  readonly totals: boolean;
}

/** A tensor with the axes it keeps. */
export interface Tail extends Place {
  readonly keeps: readonly number[];
}

export interface Region {
  /** Values at the points of the loop, the states included. */
  readonly values: ReadonlyMap<Tensor, Place>;
  /** The calls whose results are sums of values. */
  readonly sums: ReadonlyMap<Tensor, Call>;
  /** Results of the sums, and what is computed elementwise from them. */
  readonly tails: ReadonlyMap<Tensor, Tail>;
  /** Of the results of sums those that are totals, with what they are sums of. */
  readonly totals?: ReadonlyMap<Tensor, Tail>;
  /** All calls computed inside. */
  readonly calls: ReadonlySet<Call>;
}

/** Thrown when the loop's axes have to be split. */
export class SplitLoop extends Error {
  constructor(readonly request: SplitRequest) {
    super("a loop axis has to be split");
  }
}

/** All tensors that follow from some, themselves included. */
export function downstream(from: Iterable<Tensor>, { calls, resolve }: ScanGraph): Set<Tensor> {
  const reached = new Set(from);
  for (const call of calls)
    if (inputsRead(call).some((x) => reached.has(resolve(x)))) for (const x of call.outputs) reached.add(x);
  return reached;
}

/** Whether every point of the kept axes is a different element of the tensor, in row-major order. */
function covers({ index }: Place, shape: readonly number[], keeps: readonly number[], { extents }: Loop): boolean {
  const kept = keeps.map((axis) => extents[axis]!);
  if (sizeOf(shape) !== sizeOf(kept)) return false;
  const flat = combine(index, stridesOf(shape), extents.length);
  if (flat.coefficients.some((c, axis) => c !== 0 && extents[axis] !== 1 && !keeps.includes(axis))) return false;
  return isRowMajor({ offset: flat.offset, coefficients: keeps.map((axis) => flat.coefficients[axis]!) }, kept);
}

/** Axes a value of the loop has at a step. */
export const axesAt = ({ extents, along }: Loop, step: ScanStep): readonly number[] =>
  extents.flatMap((_, axis) => (axis === along && step !== "each" ? [] : [axis]));

/**
 * The region behind some values of the loop.
 * @param seeds States, and cotangents of decay and drive.
 * @param excluded Tensors that may not be read inside: they follow from results of this loop.
 * @param taken Sums, and tensors behind sums, that another loop computes.
 */
export function growRegion(
  seeds: ReadonlyMap<Tensor, Place>,
  loop: Loop,
  graph: ScanGraph,
  excluded: ReadonlySet<Tensor>,
  taken: { has(x: Tensor): boolean } = new Set(),
): Region {
  const { calls, resolve, isKept } = graph;
  const values = new Map(seeds);
  const sums = new Map<Tensor, Call>();
  const tails = new Map<Tensor, Tail>();
  const inside = new Set<Call>();
  for (const call of calls) {
    if (call.outputs.length !== 1 || seeds.has(call.outputs[0]!)) continue;
    const x = call.outputs[0]!;
    if (taken.has(x)) continue;
    const inputs = inputsRead(call).map(resolve);
    const within = inputs.filter((input) => values.has(input) && !isKept(input));
    if (within.length > 0) {
      if (inputs.some((input) => !within.includes(input) && excluded.has(input))) continue;
      const sum = summed(call, values.get(within[0]!)!, loop);
      const place =
        sum ??
        follow(
          call,
          within.map((input) => values.get(input)!),
          inputs[0]!,
          loop,
        );
      if (!place) continue;
      if (sum) {
        sums.set(x, call);
        tails.set(x, sum);
      } else values.set(x, place);
      inside.add(call);
      continue;
    }
    const behind = inputs.filter((input) => tails.has(input) && !isKept(input));
    if (behind.length === 0 || inputs.some((input) => !behind.includes(input) && excluded.has(input))) continue;
    const tail = followTail(
      call,
      behind.map((input) => tails.get(input)!),
      inputs[0]!,
      loop,
    );
    if (!tail) continue;
    tails.set(x, tail);
    inside.add(call);
  }
  trimTails(tails, sums, inside, graph);
  return { values, sums, tails, calls: inside };
}

/** Leaves out what one reader elsewhere computes as well from results that have memory anyway. */
function trimTails(
  tails: Map<Tensor, Tail>,
  sums: ReadonlyMap<Tensor, Call>,
  inside: Set<Call>,
  { users, resolve, isKept }: ScanGraph,
): void {
  const readers = (x: Tensor): readonly Call[] => (users.get(x) ?? []).filter((call) => !inside.has(call));
  const isStored = (x: Tensor): boolean => isKept(x) || readers(x).length > 0;
  const sources = (x: Tensor): Tensor[] =>
    inputsRead(callOf(x)!)
      .map(resolve)
      .filter((input) => tails.has(input));
  const isAtHand = (x: Tensor): boolean => isStored(x) || (!sums.has(x) && sources(x).every(isAtHand));
  for (const x of [...tails.keys()].reverse()) {
    if (
      sums.has(x) ||
      isKept(x) ||
      readers(x).length > 1 ||
      (users.get(x) ?? []).some((call) => inside.has(call)) ||
      callOf(x)!.op.rule.kind !== "elementwise" ||
      !sources(x).every(isAtHand)
    )
      continue;
    tails.delete(x);
    inside.delete(callOf(x)!);
  }
}

/**
 * The tensors of a region that need memory.
 * @param elsewhere Calls that compute the region's values again for themselves.
 */
export function resultsOf(
  { values, tails, calls }: Region,
  loop: Loop,
  { resolve, users, isKept }: ScanGraph,
  elsewhere: ReadonlySet<Call>,
  others?: Region,
): Map<Tensor, Tail> {
  const results = new Map<Tensor, Tail>();
  const isRead = (x: Tensor, except: ReadonlySet<Call>): boolean =>
    isKept(x) || (users.get(x) ?? []).some((call) => !calls.has(call) && !except.has(call));
  /** A view is read in the memory of what it shows, unless it is asked for itself. */
  const source = (x: Tensor): Tensor => {
    let current = x;
    while (!isKept(current) && callOf(current)!.op.name === "reshape") current = resolve(callOf(current)!.inputs[0]!);
    return current;
  };
  for (const x of tails.keys()) if (isRead(x, NONE)) results.set(source(x), tails.get(source(x))!);
  const need = (x: Tensor): void => {
    const place = values.get(x)!;
    const keeps = axesAt(loop, place.step);
    const call = callOf(x)!;
    const sources = inputsRead(call)
      .map(resolve)
      .filter((input) => values.has(input));
    const isView = call.op.rule.kind === "movement" && sources.some((input) => values.get(input)!.step === place.step);
    if (sources.length === 0 || ((isKept(x) || !isView) && covers(place, x.shape, keeps, loop)))
      results.set(x, { ...place, keeps });
    else for (const input of sources) need(input);
  };
  for (const x of values.keys()) if (!others?.values.has(x) && isRead(x, elsewhere)) need(x);
  return results;
}

const NONE: ReadonlySet<Call> = new Set();

/** A sum of a value over some of its axes, which are all of the loop's unless they are given. */
export function summed(
  { op, inputs, attributes }: Call,
  place: Place,
  loop: Loop,
  all: readonly number[] = axesAt(loop, place.step),
): Tail | undefined {
  if (op.rule.kind !== "reduce" || op.rule.combine !== "sum" || inputs[0]!.dtype !== "f32") return undefined;
  const { axes } = attributes as { readonly axes: readonly number[] };
  const { shape } = inputs[0]!;
  if (!covers(place, shape, all, loop)) return undefined;
  // An axis of extent 1 is kept: it is summed nowhere, and all values of a step keep the same ones.
  const gone = new Set(
    axes.flatMap((axis) =>
      place.index[axis]!.coefficients.flatMap((c, k) => (c === 0 || loop.extents[k] === 1 ? [] : [k])),
    ),
  );
  const keeps = all.filter((axis) => !gone.has(axis));
  const index = place.index.filter((_, k) => !axes.includes(k));
  const left = shape.filter((_, k) => !axes.includes(k));
  return covers({ index, step: place.step }, left, keeps, loop) ? { index, step: place.step, keeps } : undefined;
}

export const sameAffines = (a: readonly Affine[], b: readonly Affine[], { extents }: Loop): boolean =>
  a.length === b.length &&
  a.every(
    ({ offset, coefficients }, k) =>
      offset === b[k]!.offset && coefficients.every((c, axis) => c === b[k]!.coefficients[axis] || extents[axis] === 1),
  );

/** The place of a call's result, given those of its inputs inside the loop. */
function follow(call: Call, [place, ...others]: readonly Place[], input: Tensor, loop: Loop): Place | undefined {
  const { op, attributes, outputs } = call;
  const [x] = outputs as [Tensor];
  if (others.some((other) => other.step !== place!.step || !sameAffines(other.index, place!.index, loop)))
    return undefined;
  const { index, step } = place!;
  // The states of a single step are small: what is computed from them reads them in memory.
  if (step !== "each" && op.name !== "reshape" && op.name !== "permute") return undefined;
  switch (op.rule.kind) {
    case "elementwise":
      return place;
    case "concat":
      // Shifted by a step: whether every element is that of this point or the one before is seen when it is lowered.
      return place;
    case "movement": {
      if (op.name === "reshape" || op.name === "broadcast") {
        if (x.size !== input.size) return undefined;
        const at = reshapedIndex(index, input.shape, x.shape, loop.extents);
        if (!at || !("inner" in at)) return at && { index: at, step };
        if (at.axis === loop.along) return undefined;
        throw new SplitLoop(at);
      }
      if (op.name === "permute")
        return { index: (attributes as { axes: readonly number[] }).axes.map((axis) => index[axis]!), step };
      if (op.name === "slice") return sliced(call, place!, input, loop);
      return op.name === "pad" ? place : undefined;
    }
    default:
      return undefined;
  }
}

/** A slice is of one step, or shifted. */
function sliced(
  { attributes, outputs }: Call,
  place: Place,
  input: Tensor,
  { extents, along, reverse }: Loop,
): Place | undefined {
  const { start, step, size } = attributes as {
    readonly start: readonly number[];
    readonly step: readonly number[];
    readonly size: readonly number[];
  };
  if (step.some((s) => s !== 1)) return undefined;
  const axis = place.index.findIndex(({ coefficients }) => coefficients[along] === 1);
  const cut = input.shape.flatMap((extent, k) => (size[k] === extent ? [] : [k]));
  if (place.step !== "each" || axis < 0 || cut.some((k) => k !== axis) || input.shape[axis] !== extents[along])
    return undefined;
  if (outputs[0]!.shape[axis] !== 1) return place;
  const s = reverse ? extents[along]! - 1 - start[axis]! : start[axis]!;
  if (s !== 0 && s !== extents[along]! - 1) return undefined;
  return {
    index: place.index.map((affine, k) => (k === axis ? constant(0, extents.length) : affine)),
    step: s === 0 ? "first" : "last",
  };
}

/** What follows elementwise from sums over the last axes alone; any sum under another shape. */
function followTail(call: Call, [tail, ...others]: readonly Tail[], input: Tensor, loop: Loop): Tail | undefined {
  const { keeps, step, index } = tail!;
  if (call.op.name === "reshape") {
    const at = reshapedIndex(index, input.shape, call.outputs[0]!.shape, loop.extents);
    return at && !("inner" in at) ? { index: at, step, keeps } : undefined;
  }
  if (
    call.op.rule.kind !== "elementwise" ||
    step !== "each" ||
    !keeps.includes(loop.along) ||
    keeps.some((axis, k) => axis !== k)
  )
    return undefined;
  return others.every((other) => other.keeps.length === keeps.length && sameAffines(other.index, index, loop))
    ? tail
    : undefined;
}
