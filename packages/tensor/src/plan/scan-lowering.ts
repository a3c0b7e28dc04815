/** From a recurrence and the region around it to a scan kernel. */
import { scalarType, type Affine, type Scalar } from "../ir/loop.js";
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

/**
 * @param unstored Tensors computed inside though they have memory: the results, and more where another step stores them.
 * @throws NeedsMemory naming a tensor that cannot be computed inside; NeedsSplit.
 */
export function lowerUnit(
  { scan, gradient, parts, loop, region, results }: ScanUnit,
  context: LoweringContext,
  unstored: ReadonlyMap<Tensor, unknown> = results,
): LoweredScan {
  const call = (scan ?? gradient)!;
  const { axis, reverse, forgets } = call.attributes as LinearScanAttributes;
  const length = loop.extents[loop.along]!;
  const count = call.op.name.startsWith("complex") ? 2 : 1;
  const state = (which: "current" | "previous" | "adjoint"): ScanValue =>
    (["re", "im"] as const)
      .slice(0, count)
      .map((part): Scalar => ({ op: "state", dtype: "f32", which, part })) as unknown as ScanValue;
  const states = { current: state("current"), previous: state("previous"), adjoint: state("adjoint") };
  const positions = positionsOf(parts);
  const without = positions.filter((_, k) => k !== axis);
  /** The positions `by` steps later. */
  const stepped = (by: 1 | -1): readonly Affine[] =>
    positions.map((affine, k) => (k === axis ? { ...affine, offset: affine.offset + (reverse ? -by : by) } : affine));
  const inside = (by: 1 | -1) => ({ index: stepped(by)[axis]!, lo: 0, hi: length });
  const lowered = (x: readonly Tensor[], index: readonly Affine[], lower: Lower): ScanValue =>
    x.map((part) => lower(part, index)) as unknown as ScanValue;
  const guarded = (value: ScanValue, by: 1 | -1): ScanValue =>
    value.map((part): Scalar => ({
      op: "guard",
      dtype: "f32",
      conditions: [inside(by)],
      value: part,
      fill: 0,
    })) as unknown as ScanValue;

  const isAt = (index: readonly Affine[], at: readonly Affine[]): boolean => sameAffines(index, at, loop);
  /** The state that h at an index is. */
  const stateAt = (index: readonly Affine[]): "current" | "previous" | undefined => {
    if (isAt(index, positions)) return "current";
    if (isAt(index, stepped(-1))) return "previous";
    // At a single step the index along the axis is fixed; the region knows which step it is.
    const { offset, coefficients } = index[axis]!;
    const fixed = coefficients.every((c) => c === 0) && (offset === 0 || offset === length - 1);
    return fixed &&
      isAt(
        index.filter((_, k) => k !== axis),
        without,
      )
      ? "current"
      : undefined;
  };

  const sums: ScanSum[] = [];
  const gradientAt = new Map<string, ScanValue>();
  /** Cotangents of decay, drive and initial state. */
  const cotangent = (group: number, index: readonly Affine[], lower: Lower): ScanValue | undefined => {
    if (!isAt(index, group === 2 ? without : positions)) return undefined;
    const known = gradientAt.get(String(group));
    if (known) return known;
    const g = scan ? states.adjoint : states.current;
    const make = (): ScanValue => {
      if (group === 1) return g;
      const [a, h, , h0] = valuesOf(gradient!);
      if (group === 2) {
        const first = lowered(a!, positions, lower);
        const product = timesConjugate(g, first);
        return forgets ? unlessZero(first, product) : product;
      }
      if (scan) return timesConjugate(g, states.previous);
      const before = guarded(lowered(h!, stepped(-1), lower), -1);
      if (!h0) return timesConjugate(g, before);
      const first = reverse ? length - 1 : 0;
      const start = lowered(h0, without, lower).map((part): Scalar => ({
        op: "guard",
        dtype: "f32",
        conditions: [{ index: positions[axis]!, lo: first, hi: first + 1 }],
        value: part,
        fill: 0,
      }));
      return timesConjugate(g, before.map((part, k) => op("add", part, start[k]!)) as unknown as ScanValue);
    };
    const value = make();
    gradientAt.set(String(group), value);
    return value;
  };
  /** A sum of what has all axes is one of states. */
  const isTotal = ({ keeps }: Tail): boolean => keeps.length < loop.extents.length;
  const reducedNodes = new Map<Tensor, Scalar>();
  const place = (x: Tensor, index: readonly Affine[], lower: Lower): Scalar | undefined => {
    context.place?.(x, index, lower);
    const part = scan ? scan.outputs.indexOf(x) : -1;
    if (part >= 0) {
      const which = stateAt(index);
      if (!which) throw new NeedsMemory(x);
      return states[which][part]!;
    }
    const k = gradient ? gradient.outputs.indexOf(x) : -1;
    if (k >= 0) {
      const value = cotangent(Math.floor(k / count), index, lower);
      if (!value) throw new NeedsMemory(x);
      return value[k % count]!;
    }
    const sum = region.sums.get(x);
    if (!sum) return undefined;
    const tail = region.tails.get(x)!;
    if (!isAt(index, tail.index)) throw new NeedsMemory(x);
    let node = reducedNodes.get(x);
    if (!node) {
      const input = context.resolve(sum.inputs[0]!);
      const total = region.totals?.get(x);
      const value = lower(input, (total ?? region.values.get(input)!).index);
      // A sum over axes of extent 1.
      if (tail.keeps.length === axesAt(loop, tail.step).length) return value;
      node = {
        op: "reduced",
        dtype: scalarType(x.dtype),
        reduction:
          sums.push({
            value,
            keeps: tail.keeps,
            step: tail.step,
            ...(total && isTotal(total) && { of: total.keeps }),
          }) - 1,
      };
      reducedNodes.set(x, node);
    }
    return node;
  };

  const own: LoweringContext = {
    resolve: (x) => context.resolve(x),
    isStored: (x) => !unstored.has(x) && context.isStored(x),
    place,
  };
  const { built, inputs } = lowerExpressions(parts, own, (lower) => {
    const [a, b, h0] = valuesOf(call);
    const seed = (): ScanValue => lowered(valuesOf(gradient!)[2]!, positions, lower);
    const recurrence = scan
      ? {
          reverse,
          ...(forgets && { forgets }),
          decay: lowered(a!, positions, lower),
          drive: lowered(b!, positions, lower),
          ...(h0 && { initial: lowered(h0, without, lower) }),
          ...(gradient && { adjoint: { seed: seed() } }),
        }
      : {
          reverse: !reverse,
          ...(forgets && { forgets }),
          decay: guarded(conjugate(lowered(a!, stepped(1), lower)), 1),
          drive: seed(),
        };
    const outputs = [...results].map(([x, { index, keeps, step }]): ScanOutput => ({
      dtype: x.dtype,
      keeps,
      step,
      value: lower(x, index),
    }));
    return { ...recurrence, outputs };
  });
  return {
    kernel: {
      extents: loop.extents,
      along: loop.along,
      ...built,
      sums,
      inputs: inputs.map(({ dtype, size }) => ({ dtype, size })),
    },
    inputs,
    outputs: [...results.keys()],
  };
}
