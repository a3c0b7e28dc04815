/** From a recurrence and the region around it to a scan kernel. */
import { guard, scalarType, type Affine, type Scalar } from "../ir/loop.js";
import type { LinearScanAttributes } from "../ops/linear-scan.js";
import type { ScanKernel, ScanOutput, ScanSum, ScanValue } from "../ir/scan-kernel.js";
import { stridesOf } from "../graph/shape.js";
import type { Call, Tensor } from "../graph/tensor.js";
import { constant } from "../ir/affine.js";
import { lowerExpressions, NeedsMemory, type Lower, type LoweringContext } from "./lower.js";
import { axesAt, sameAffines, type Loop, type Region, type Tail } from "./scan-region.js";

/** One scan step in the making. */
export interface ScanUnit {
  /** The recurrence; none where its states are in memory and the gradient runs by itself, the other way. */
  readonly scan?: Call | undefined;
  readonly gradient?: Call | undefined;
  /** Each axis of the recurrence's tensors as the parts it was split into. */
  readonly parts: readonly (readonly number[])[];
  readonly loop: Loop;
  readonly region: Region;
  /** What it stores. */
  readonly results: ReadonlyMap<Tensor, Tail>;
}

/** The inputs of a call as values of one part (real) or two (complex). */
export const valuesOf = (call: Call): readonly (readonly Tensor[])[] =>
  grouped(call.inputs, call.op.name.startsWith("complex") ? 2 : 1);
const grouped = <T>(list: readonly T[], parts: number): readonly (readonly T[])[] =>
  Array.from({ length: list.length / parts }, (_, k) => list.slice(k * parts, (k + 1) * parts));

/** Each axis as an index over the parts. */
export function positionsOf(parts: readonly (readonly number[])[]): readonly Affine[] {
  const axes = parts.flat().length;
  let start = 0;
  return parts.map((list) => {
    const coefficients = constant(0, axes).coefficients.slice();
    stridesOf(list).forEach((stride, k) => (coefficients[start + k] = stride));
    start += list.length;
    return { offset: 0, coefficients };
  });
}

const op = (name: "add" | "sub" | "mul", a: Scalar, b: Scalar): Scalar => ({ op: name, dtype: "f32", args: [a, b] });
const negative = (a: Scalar): Scalar => ({ op: "neg", dtype: "f32", args: [a] });
const conjugate = (x: ScanValue): ScanValue => (x.length === 1 ? x : [x[0], negative(x[1])]);
/** x conj(y). */
const timesConjugate = ([a, b]: ScanValue, [c, d]: ScanValue): ScanValue =>
  b && d
    ? [op("add", op("mul", a, c), op("mul", b, d)), op("sub", op("mul", b, c), op("mul", a, d))]
    : [op("mul", a, c)];

/** The product of a decay, or 0 where the decay is. */
function unlessZero(decay: ScanValue, product: ScanValue): ScanValue {
  const zero: Scalar = { op: "constant", dtype: "f32", value: 0 };
  const isZero = decay
    .map((part): Scalar => ({ op: "equal", dtype: "bool", args: [part, zero] }))
    .reduce((a, b) => ({ op: "and", dtype: "bool", args: [a, b] }));
  return product.map((part): Scalar => ({
    op: "where",
    dtype: "f32",
    args: [isZero, zero, part],
  })) as unknown as ScanValue;
}

/** A kernel with tensors in the place of buffers. */
export interface LoweredScan {
  readonly kernel: ScanKernel;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
}

/** The recurrence's tensors and states as values at the points of the loop. */
interface Frame {
  readonly attributes: LinearScanAttributes;
  /** Steps. */
  readonly length: number;
  /** Parts of a value: one, or two if complex. */
  readonly count: number;
  readonly states: Readonly<Record<"current" | "previous" | "adjoint", ScanValue>>;
  readonly positions: readonly Affine[];
  /** Those of the axes beside the recurrence's. */
  readonly without: readonly Affine[];
  /** The positions `by` steps later. */
  stepped(by: 1 | -1): readonly Affine[];
  isAt(index: readonly Affine[], at: readonly Affine[]): boolean;
}

function frameOf({ scan, gradient, parts, loop }: ScanUnit): Frame {
  const call = (scan ?? gradient)!;
  const attributes = call.attributes as LinearScanAttributes;
  const { axis, reverse } = attributes;
  const count = call.op.name.startsWith("complex") ? 2 : 1;
  const state = (which: "current" | "previous" | "adjoint"): ScanValue =>
    (["re", "im"] as const)
      .slice(0, count)
      .map((part): Scalar => ({ op: "state", dtype: "f32", which, part })) as unknown as ScanValue;
  const positions = positionsOf(parts);
  return {
    attributes,
    length: loop.extents[loop.along]!,
    count,
    states: { current: state("current"), previous: state("previous"), adjoint: state("adjoint") },
    positions,
    without: positions.filter((_, k) => k !== axis),
    stepped: (by) =>
      positions.map((affine, k) => (k === axis ? { ...affine, offset: affine.offset + (reverse ? -by : by) } : affine)),
    isAt: (index, at) => sameAffines(index, at, loop),
  };
}

const lowered = (x: readonly Tensor[], index: readonly Affine[], lower: Lower): ScanValue =>
  x.map((part) => lower(part, index)) as unknown as ScanValue;

/** A value, 0 where the recurrence's axis is outside of [lo, hi). */
const guarded = (value: ScanValue, index: Affine, lo: number, hi: number): ScanValue =>
  value.map((part) => guard([{ index, lo, hi }], part, 0)) as unknown as ScanValue;

/** A value of the step `by` later, 0 where there is none. */
const guardedStep = (value: ScanValue, { stepped, attributes: { axis }, length }: Frame, by: 1 | -1): ScanValue =>
  guarded(value, stepped(by)[axis]!, 0, length);

/** The state that h at an index is. */
function stateAt(index: readonly Affine[], frame: Frame): "current" | "previous" | undefined {
  const { isAt, positions, stepped, without, length } = frame;
  const { axis } = frame.attributes;
  if (isAt(index, positions)) return "current";
  if (isAt(index, stepped(-1))) return "previous";
  // At a single step the index along the axis is fixed; the region knows which step it is.
  const { offset, coefficients } = index[axis]!;
  const fixed = coefficients.every((c) => c === 0) && (offset === 0 || offset === length - 1);
  const others = index.filter((_, k) => k !== axis);
  return fixed && isAt(others, without) ? "current" : undefined;
}

/** The cotangent of the decay (0), the drive (1) or the initial state (2). */
function cotangentOf(group: number, { scan, gradient }: ScanUnit, frame: Frame, lower: Lower): ScanValue {
  const { states, positions, without, stepped, length } = frame;
  const { axis, reverse, forgets } = frame.attributes;
  const g = scan ? states.adjoint : states.current;
  if (group === 1) return g;
  const [a, h, , h0] = valuesOf(gradient!);
  if (group === 2) {
    const decay = lowered(a!, positions, lower);
    const product = timesConjugate(g, decay);
    return forgets ? unlessZero(decay, product) : product;
  }
  if (scan) return timesConjugate(g, states.previous);
  const before = guardedStep(lowered(h!, stepped(-1), lower), frame, -1);
  if (!h0) return timesConjugate(g, before);
  const first = reverse ? length - 1 : 0;
  const start = guarded(lowered(h0, without, lower), positions[axis]!, first, first + 1);
  return timesConjugate(g, before.map((part, k) => op("add", part, start[k]!)) as unknown as ScanValue);
}

/** What stands for a tensor of the unit at an index: states, cotangents, and sums, which are added to `sums` as they come. */
function placing(unit: ScanUnit, frame: Frame, context: LoweringContext, sums: ScanSum[]): LoweringContext["place"] {
  const { scan, gradient, loop, region } = unit;
  const cotangents = new Map<number, ScanValue>();
  const reduced = new Map<Tensor, Scalar>();
  const placeState = (part: number, x: Tensor, index: readonly Affine[]): Scalar => {
    const which = stateAt(index, frame);
    if (!which) throw new NeedsMemory(x);
    return frame.states[which][part]!;
  };
  const placeCotangent = (k: number, x: Tensor, index: readonly Affine[], lower: Lower): Scalar => {
    const group = Math.floor(k / frame.count);
    if (!frame.isAt(index, group === 2 ? frame.without : frame.positions)) throw new NeedsMemory(x);
    const value = cotangents.get(group) ?? cotangentOf(group, unit, frame, lower);
    cotangents.set(group, value);
    return value[k % frame.count]!;
  };
  const placeSum = (sum: Call, x: Tensor, lower: Lower): Scalar => {
    const { keeps, step } = region.tails.get(x)!;
    const input = context.resolve(sum.inputs[0]!);
    const total = region.totals?.get(x);
    const value = lower(input, (total ?? region.values.get(input)!).index);
    // A sum over axes of extent 1.
    if (keeps.length === axesAt(loop, step).length) return value;
    // What has all axes is summed as states are.
    const of = total && total.keeps.length < loop.extents.length ? total.keeps : undefined;
    const reduction = sums.push({ value, keeps, step, ...(of && { of }) }) - 1;
    const node: Scalar = { op: "reduced", dtype: scalarType(x.dtype), reduction };
    reduced.set(x, node);
    return node;
  };
  return (x, index, lower) => {
    context.place?.(x, index, lower);
    const part = scan ? scan.outputs.indexOf(x) : -1;
    if (part >= 0) return placeState(part, x, index);
    const k = gradient ? gradient.outputs.indexOf(x) : -1;
    if (k >= 0) return placeCotangent(k, x, index, lower);
    const sum = region.sums.get(x);
    if (!sum) return undefined;
    if (!frame.isAt(index, region.tails.get(x)!.index)) throw new NeedsMemory(x);
    return reduced.get(x) ?? placeSum(sum, x, lower);
  };
}

/** Decay, drive and what else makes the recurrence; the gradient of stored states runs the other way by itself. */
function recurrenceIn({ scan, gradient }: ScanUnit, frame: Frame, lower: Lower) {
  const { positions, without, stepped } = frame;
  const { reverse, forgets } = frame.attributes;
  const [a, b, h0] = valuesOf((scan ?? gradient)!);
  const seed = (): ScanValue => lowered(valuesOf(gradient!)[2]!, positions, lower);
  if (!scan)
    return {
      reverse: !reverse,
      ...(forgets && { forgets }),
      decay: guardedStep(conjugate(lowered(a!, stepped(1), lower)), frame, 1),
      drive: seed(),
    };
  return {
    reverse,
    ...(forgets && { forgets }),
    decay: lowered(a!, positions, lower),
    drive: lowered(b!, positions, lower),
    ...(h0 && { initial: lowered(h0, without, lower) }),
    ...(gradient && { adjoint: { seed: seed() } }),
  };
}

/**
 * @param unstored Tensors computed inside though they have memory: the results, and more where another step stores them.
 * @throws NeedsMemory naming a tensor that cannot be computed inside; NeedsSplit.
 */
export function lowerUnit(
  unit: ScanUnit,
  context: LoweringContext,
  unstored: ReadonlyMap<Tensor, unknown> = unit.results,
): LoweredScan {
  const { parts, loop, results } = unit;
  const frame = frameOf(unit);
  const sums: ScanSum[] = [];
  const place = placing(unit, frame, context, sums)!;
  const own: LoweringContext = {
    resolve: (x) => context.resolve(x),
    isStored: (x) => !unstored.has(x) && context.isStored(x),
    place,
  };
  const { built, inputs } = lowerExpressions(parts, own, (lower) => ({
    ...recurrenceIn(unit, frame, lower),
    outputs: [...results].map(([x, { index, keeps, step }]): ScanOutput => ({
      dtype: x.dtype,
      keeps,
      step,
      value: lower(x, index),
    })),
  }));
  const kernel = {
    extents: loop.extents,
    along: loop.along,
    ...built,
    sums,
    inputs: inputs.map(({ dtype, size }) => ({ dtype, size })),
  };
  return { kernel, inputs, outputs: [...results.keys()] };
}
