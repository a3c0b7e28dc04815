/**
 * From graph to scalar expressions. A tensor that has no memory of its own is computed at the place it is
 * used: movement ops become changes of the index, elementwise ops become expressions.
 */
import { callOf } from "../graph/calls.js";
import { beside, guard, scalarType, type Affine, type Output, type Reduction, type Scalar } from "../ir/loop.js";
import { sameShape, sizeOf, stridesOf, type Shape } from "../graph/shape.js";
import type { Call, Tensor } from "../graph/tensor.js";
import { combine, constant, keyOf, reshapedIndex } from "../ir/affine.js";

/** What the planner knows when it lowers. */
export interface LoweringContext {
  /** The tensor that stands for x: marks and expanded kernels are looked through. */
  resolve(x: Tensor): Tensor;
  /** Whether x has memory of its own (a leaf, or computed by another kernel) and is to be loaded. */
  isStored(x: Tensor): boolean;
  /** What stands for x at an index, where the kernel has it at hand; else undefined. */
  place?(x: Tensor, index: readonly Affine[], lower: Lower): Scalar | undefined;
  /** A tensor whose element at the row-major position of the outputs' is at hand, as `reduced` 0; its other elements are not. */
  readonly element?: Tensor;
}

/** The expression of a tensor's element. */
export type Lower = (x: Tensor, index: readonly Affine[]) => Scalar;

/** A loop kernel with tensors in the place of buffers. */
export interface LoweredLoop {
  readonly extents: Shape;
  /** Into how many of `extents` each axis of the outputs was split. */
  readonly parts: readonly number[];
  readonly reduceExtents: Shape;
  readonly inputs: readonly Tensor[];
  readonly reductions: readonly Reduction[];
  readonly outputs: readonly Output[];
}

/** The rows of a row kernel: of a tensor of this shape, along these axes. */
export interface RowSpace {
  readonly shape: Shape;
  readonly axes: readonly number[];
}

/** Thrown when a tensor cannot be computed in place: it needs memory of its own. */
export class NeedsMemory extends Error {
  constructor(readonly tensor: Tensor) {
    super("a tensor cannot be computed where it is used");
  }
}

/** Thrown when an axis of the loops has to be split for an index to be affine. */
export class NeedsSplit extends Error {
  constructor(
    readonly axis: number,
    readonly inner: number,
    /** The tensor whose index it is. */
    readonly tensor: Tensor,
  ) {
    super("a loop axis has to be split");
  }
}

/**
 * Lowers tensors of one shape to one kernel that stores them. An output may be used by the others at the same position.
 * @param reductions The reduce calls, over axes of the same extents, whose results the outputs are computed from.
 * @throws NeedsMemory naming a tensor that has to be stored first.
 */
export function lowerLoop(
  outputs: readonly Tensor[],
  reductions: readonly Call[],
  context: LoweringContext,
): LoweredLoop {
  const reduced = reductions[0] ? reducedExtents(reductions[0]) : [];
  // Each loop axis as the parts it was split into, outermost first.
  const parts: number[][] = [...outputs[0]!.shape, ...reduced].map((extent) => [extent]);
  const outer = outputs[0]!.shape.length;
  return splitting(parts, () => lowerWith({ parts, outer, outputs, calls: reductions, context }));
}

/** {@link lowerLoop}, or undefined where something has to be stored first: the outputs do not fit into one set of loops. */
export function tryLowerLoop(
  outputs: readonly Tensor[],
  reductions: readonly Call[],
  context: LoweringContext,
): LoweredLoop | undefined {
  try {
    return lowerLoop(outputs, reductions, context);
  } catch (request) {
    if (request instanceof NeedsMemory) return undefined;
    throw request;
  }
}

/**
 * Lowers a row kernel that stores `outputs`: tensors with an element for every element of the rows, or for every row.
 * @param members Tensors that the kernel computes, with or without storing them.
 * @param reductions The reduce calls, all of tensors of the space's shape over its axes.
 * @throws NeedsMemory where a member is used at another place than its own.
 */
export function lowerRows(
  space: RowSpace,
  members: ReadonlySet<Tensor>,
  outputs: readonly Tensor[],
  reductions: readonly Call[],
  context: LoweringContext,
): LoweredLoop {
  const kept = space.shape.filter((_, k) => !space.axes.includes(k));
  const parts = [...kept, ...space.axes.map((axis) => space.shape[axis]!)].map((extent) => [extent]);
  return splitting(parts, () =>
    lowerWith({ parts, outer: kept.length, outputs, calls: reductions, context, rows: { ...space, members } }),
  );
}

/** Splits axes as often as `lower` asks for it. */
function splitting(parts: number[][], lower: () => LoweredLoop): LoweredLoop {
  for (;;) {
    try {
      return lower();
    } catch (request) {
      if (!(request instanceof NeedsSplit)) throw request;
      splitParts(parts, request);
    }
  }
}

/** Splits one part of an axis in two. */
export function splitParts(
  parts: number[][],
  { axis: split, inner }: { readonly axis: number; readonly inner: number },
): void {
  let axis = 0;
  let part = split;
  while (part >= parts[axis]!.length) part -= parts[axis++]!.length;
  parts[axis]!.splice(part, 1, parts[axis]![part]! / inner, inner);
}

/** Expressions over the axes of a loop, given in parts, and the tensors they load. @throws NeedsMemory, NeedsSplit */
export function lowerExpressions<T>(
  parts: readonly (readonly number[])[],
  context: LoweringContext,
  build: (lower: Lower, positions: readonly Affine[]) => T,
): { readonly built: T; readonly inputs: readonly Tensor[] } {
  const inputs: Tensor[] = [];
  let built: T | undefined;
  lowerWith({
    parts,
    outer: parts.length,
    outputs: [],
    calls: [],
    context,
    inputs,
    extra: (lower, positions) => (built = build(lower, positions)),
  });
  return { built: built!, inputs };
}

/** Extents of the axes that a reduce call combines over. */
export const reducedExtents = (call: Call): readonly number[] =>
  reducedAxes(call).map((axis) => call.inputs[0]!.shape[axis]!);

export const reducedAxes = (call: Call): readonly number[] =>
  (call.attributes as { readonly axes: readonly number[] }).axes;

/** What is lowered together. */
interface LoweringTask {
  /** Each axis of the loops as the parts it was split into. */
  readonly parts: readonly (readonly number[])[];
  /** Axes that are not reduced over. */
  readonly outer: number;
  readonly outputs: readonly Tensor[];
  readonly calls: readonly Call[];
  readonly context: LoweringContext;
  readonly inputs?: Tensor[];
  readonly extra?: (lower: Lower, positions: readonly Affine[]) => void;
  readonly rows?: RowSpace & { readonly members: ReadonlySet<Tensor> };
}

const lowerWith = (task: LoweringTask): LoweredLoop => new Lowering(task).run(task.extra);

/** One lowering: the loops' axes, what is known of them, and the expressions met so far. */
class Lowering {
  /** Of the context and of expressions around. */
  readonly lower: Lower = (x, index) => this.#lower(x, index);
  readonly inputs: Tensor[];
  readonly #all: readonly number[];
  readonly #axes: number;
  /** Each original axis as an index over the split ones. */
  readonly #positions: readonly Affine[];
  readonly #reductions: Reduction[] = [];
  /** Reductions met; a second use at another index would have to run the loop again. */
  readonly #reduced = new Set<Call>();
  readonly #rowReductions = new Map<Call, Scalar>();
  /** Expressions by tensor and index. Inside a reduction the results around it do not exist yet, so it has a table of its own. */
  readonly #around = new Map<Tensor, Map<string, Scalar>>();
  readonly #within = new Map<Tensor, Map<string, Scalar>>();
  #memo = this.#around;
  readonly #loads = new Map<string, Scalar>();
  readonly #whole: readonly Affine[] | undefined;
  /** Where a row kernel's tensor lies as it walks the rows: with an element a point, or an element a row. */
  readonly #places: readonly Affine[];
  readonly #parts: readonly (readonly number[])[];
  readonly #outer: number;
  readonly #outputs: readonly Tensor[];
  readonly #calls: readonly Call[];
  readonly #context: LoweringContext;
  readonly #rows: (RowSpace & { readonly members: ReadonlySet<Tensor> }) | undefined;

  constructor({ parts, outer, outputs, calls, context, inputs = [], rows }: LoweringTask) {
    this.#parts = parts;
    this.#outer = outer;
    this.#outputs = outputs;
    this.#calls = calls;
    this.#context = context;
    this.inputs = inputs;
    this.#rows = rows;
    this.#all = parts.flat();
    const axes = this.#all.length;
    this.#axes = axes;
    const starts = parts.map((_, k) => parts.slice(0, k).flat().length);
    this.#positions = parts.map((list, k): Affine => {
      const index = constant(0, axes).coefficients as number[];
      stridesOf(list).forEach((stride, j) => (index[starts[k]! + j] = stride));
      return { offset: 0, coefficients: index };
    });
    const around = this.#positions.slice(0, outer);
    this.#whole = rows && indicesOf(rows.shape.length, rows.axes, around, this.#positions.slice(outer));
    this.#places = this.#whole
      ? [
          combine(this.#whole, stridesOf(rows!.shape), axes),
          combine(around, stridesOf(parts.slice(0, outer).map(sizeOf)), axes),
        ]
      : [];
  }

  run(extra?: LoweringTask["extra"]): LoweredLoop {
    extra?.(this.lower, this.#positions);
    const outputs = this.#outputs.map((x) => this.#lowerOutput(x));
    const around = this.#parts.slice(0, this.#outer);
    const split = around.flat().length;
    return {
      extents: this.#all.slice(0, split),
      parts: around.map((list) => list.length),
      reduceExtents: this.#all.slice(split),
      inputs: this.inputs,
      reductions: this.#reductions,
      outputs,
    };
  }

  #isInPlace(tensor: Tensor, index: readonly Affine[], at: readonly Affine[]): boolean {
    const flat = combine(index, stridesOf(tensor.shape), this.#axes);
    return at.some(
      (place) =>
        place.offset === flat.offset &&
        place.coefficients.every((c, k) => c === flat.coefficients[k] || this.#all[k] === 1),
    );
  }

  #lower(x: Tensor, index: readonly Affine[]): Scalar {
    const tensor = this.#context.resolve(x);
    const key = index.map(keyOf).join(";");
    let known = this.#memo.get(tensor);
    if (!known) this.#memo.set(tensor, (known = new Map<string, Scalar>()));
    const before = known.get(key);
    if (before) return before;
    const member = this.#rows?.members.has(tensor) ?? false;
    if (member && !this.#isInPlace(tensor, index, this.#places)) throw new NeedsMemory(tensor);
    const value =
      this.#context.place?.(tensor, index, this.lower) ??
      (member
        ? this.#compute(tensor, index)
        : this.#memo === this.#around && this.#outputs.includes(tensor) && sameIndex(index, this.#positions)
          ? this.#compute(tensor, index)
          : this.#context.isStored(tensor)
            ? this.#load(tensor, index)
            : this.#compute(tensor, index));
    known.set(key, value);
    return value;
  }

  #loadAt(tensor: Tensor, index: Affine): Scalar {
    let input = this.inputs.indexOf(tensor);
    if (input < 0) input = this.inputs.push(tensor) - 1;
    const key = `${input} ${keyOf(index)}`;
    let value = this.#loads.get(key);
    if (!value) this.#loads.set(key, (value = { op: "load", dtype: scalarType(tensor.dtype), input, index }));
    return value;
  }

  #load(tensor: Tensor, index: readonly Affine[]): Scalar {
    return this.#loadAt(tensor, combine(index, stridesOf(tensor.shape), this.#axes));
  }

  #compute(tensor: Tensor, index: readonly Affine[]): Scalar {
    const call = callOf(tensor)!;
    const { rule } = call.op;
    switch (rule.kind) {
      case "elementwise":
        return inType(
          tensor,
          call.op.name,
          rule.scalar(
            call.inputs.map((x) => this.#lower(x, index)),
            scalarType(tensor.dtype),
          ),
        );
      case "generator":
        return rule.scalar(index, call.attributes as never, scalarType(tensor.dtype));
      case "movement": {
        const source = this.#context.resolve(call.inputs[0]!);
        const movement = rule.map(index, call.attributes as never, source.shape);
        if (movement === "reshape") {
          // Memory is row-major under any shape.
          const inMemory =
            this.#context.isStored(source) && !this.#outputs.includes(source) && !this.#rows?.members.has(source);
          return inMemory
            ? this.#loadAt(source, combine(index, stridesOf(tensor.shape), this.#axes))
            : this.#lower(source, this.#reshapeIndex(index, tensor, source));
        }
        const value = this.#lower(source, movement.index);
        return movement.conditions?.length ? guard(movement.conditions, value, movement.fill!) : value;
      }
      case "concat":
        return this.#lowerConcat(call, index);
      case "gather":
        return this.#lowerGather(call, tensor, index);
      case "reduce":
        if (!this.#calls.includes(call)) throw new NeedsMemory(tensor);
        return this.#rows
          ? this.#lowerRowReduce(call, tensor, index, rule.combine)
          : this.#lowerReduce(call, index, rule.combine);
      default:
        if (
          tensor === this.#context.element &&
          keyOf(combine(index, stridesOf(tensor.shape), this.#axes)) ===
            keyOf(combine(this.#positions.slice(0, this.#outer), stridesOf(this.#outputs[0]!.shape), this.#axes))
        )
          return { op: "reduced", dtype: scalarType(tensor.dtype), reduction: 0 };
        throw new NeedsMemory(tensor);
    }
  }

  #lowerConcat(call: Call, index: readonly Affine[]): Scalar {
    const { axis } = call.attributes as { readonly axis: number };
    const at = index[axis]!;
    let start = 0;
    let result: Scalar | undefined;
    for (const x of call.inputs) {
      const extent = x.shape[axis]!;
      if (extent === 0) continue;
      const local: Affine = { offset: at.offset - start, coefficients: at.coefficients };
      const value = guard(
        [{ index: local, lo: 0, hi: extent }],
        this.#lower(
          x,
          index.map((affine, k) => (k === axis ? local : affine)),
        ),
        0,
      );
      result = result ? beside(at, start, result, value) : value;
      start += extent;
    }
    return result ?? { op: "constant", dtype: scalarType(call.outputs[0]!.dtype), value: 0 };
  }

  #lowerGather(call: Call, tensor: Tensor, index: readonly Affine[]): Scalar {
    const { axis } = call.attributes as { readonly axis: number };
    const table = this.#context.resolve(call.inputs[0]!);
    const indices = call.inputs[1]!;
    if (!this.#context.isStored(table)) throw new NeedsMemory(table);
    const rank = indices.shape.length;
    const value = this.#lower(indices, index.slice(axis, axis + rank));
    const fixed = [...index.slice(0, axis), constant(0, this.#axes), ...index.slice(axis + rank)];
    if (tensor.size === 0) return { op: "constant", dtype: scalarType(tensor.dtype), value: 0 };
    return {
      ...this.#load(table, fixed),
      gather: [{ value, size: table.shape[axis]!, stride: stridesOf(table.shape)[axis]! }],
    } as Scalar;
  }

  #lowerReduce(call: Call, index: readonly Affine[], combination: "sum" | "max"): Scalar {
    if (this.#reduced.has(call)) throw new NeedsMemory(call.outputs[0]!);
    const gone = reducedAxes(call);
    const input = this.#context.resolve(call.inputs[0]!);
    const inner = indicesOf(input.shape.length, gone, index, this.#positions.slice(this.#outer));
    this.#reduced.add(call);
    if (this.#memo === this.#within) throw new NeedsMemory(call.outputs[0]!);
    this.#memo = this.#within;
    const value = this.#lower(input, inner);
    this.#memo = this.#around;
    const result = call.outputs[0]!;
    return inType(result, combination, {
      op: "reduced",
      dtype: scalarType(result.dtype),
      reduction: this.#reductions.push({ combine: combination, value }) - 1,
    });
  }

  #lowerRowReduce(call: Call, tensor: Tensor, index: readonly Affine[], combination: "sum" | "max"): Scalar {
    if (!this.#isInPlace(tensor, index, this.#places.slice(1))) throw new NeedsMemory(tensor);
    let result = this.#rowReductions.get(call);
    if (!result) {
      const value = this.#lower(call.inputs[0]!, this.#whole!);
      this.#rowReductions.set(
        call,
        (result = inType(tensor, combination, {
          op: "reduced",
          dtype: scalarType(tensor.dtype),
          reduction: this.#reductions.push({ combine: combination, value }) - 1,
        })),
      );
    }
    return result;
  }

  #reshapeIndex(index: readonly Affine[], target: { readonly shape: Shape }, source: Tensor): readonly Affine[] {
    const result = reshapedIndex(index, target.shape, source.shape, this.#all);
    if (!result) throw new NeedsMemory(source);
    if ("inner" in result) throw new NeedsSplit(result.axis, result.inner, source);
    return result;
  }

  #lowerOutput(x: Tensor): Output {
    const index = this.#positions.slice(0, this.#outer);
    if (!this.#whole) return { dtype: x.dtype, value: this.#lower(x, index) };
    const [from, shape] =
      x.size === sizeOf(this.#rows!.shape)
        ? [this.#whole, this.#rows!.shape]
        : [index, this.#parts.slice(0, this.#outer).map(sizeOf)];
    const value = this.#lower(x, sameShape(x.shape, shape) ? from : this.#reshapeIndex(from, { shape }, x));
    return from === this.#whole ? { dtype: x.dtype, value, index: this.#places[0]! } : { dtype: x.dtype, value };
  }
}

/** Ops whose f16 result is one of their operands, or is exact: it needs no rounding. */
const EXACT: ReadonlySet<string> = new Set(["neg", "abs", "minimum", "maximum", "floor", "where", "max"]);

/** The result of an op as an element of its tensor. */
const inType = ({ dtype }: Tensor, op: string, value: Scalar): Scalar =>
  dtype === "f16" && !EXACT.has(op) ? { op: "roundToHalf", dtype: "f32", args: [value] } : value;

/** An index for each axis: those in `gone` from `reduced`, the others from `kept`, in order. */
function indicesOf(
  rank: number,
  gone: readonly number[],
  kept: readonly Affine[],
  reduced: readonly Affine[],
): Affine[] {
  let next = 0;
  return Array.from({ length: rank }, (_, k) => (gone.includes(k) ? reduced[gone.indexOf(k)]! : kept[next++]!));
}

const sameIndex = (index: readonly Affine[], positions: readonly Affine[]): boolean =>
  index.every((affine, k) => keyOf(affine) === keyOf(positions[k]!));
