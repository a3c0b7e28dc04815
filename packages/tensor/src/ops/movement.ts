/** Rows that move elements: each result element is an element of the input, or a constant. */
import { assertList, assertShape, assertTensor } from "../graph/assert.js";
import { isReal } from "../graph/dtype.js";
import { describeValue, DTypeError, ShapeError } from "../graph/errors.js";
import { roundToHalf } from "../graph/half.js";
import type { Affine } from "../ir/loop.js";
import type { Op, Samples } from "../graph/op.js";
import { formatShape, normalizeAxes, normalizeAxis, sameShape, sizeOf, type Shape } from "../graph/shape.js";
import { callOp, type Tensor } from "../graph/tensor.js";
import { sum } from "./reduce.js";

interface ShapeAttributes {
  readonly shape: Shape;
}
/** Of permute. @internal */
export interface PermuteAttributes {
  readonly axes: readonly number[];
}
/** Elements start[k] + i step[k], i < size[k], on each axis k. */
export interface SliceAttributes {
  /** First element. */
  readonly start: readonly number[];
  /** Distance of neighbours; negative runs backwards. */
  readonly step: readonly number[];
  /** Number of elements. */
  readonly size: Shape;
}
interface PadAttributes {
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly value: number;
}
interface ConcatAttributes {
  readonly axis: number;
}

/** factor * index + offset. */
const scaled = (index: Affine, factor: number, offset: number): Affine => ({
  offset: index.offset * factor + offset,
  coefficients: index.coefficients.map((c) => c * factor),
});
const zero = (like: Affine): Affine => ({ offset: 0, coefficients: like.coefficients.map(() => 0) });

/** The rows of this file. @internal */
export const movementRows = {
  /** The same values as a tensor of their own: marks where a gradient stops or is asked for. */
  identity: {
    name: "identity",
    rule: { kind: "movement", map: (index) => ({ index }) },
    infer: ([x]) => [x!],
    gradient: (_, [g]) => [g],
  },
  stopGradient: {
    name: "stopGradient",
    rule: { kind: "movement", map: (index) => ({ index }) },
    infer: ([x]) => [x!],
    gradient: false,
  },
  reshape: {
    name: "reshape",
    rule: { kind: "movement", map: () => "reshape" },
    infer: ([x], attributes) => [{ shape: (attributes as ShapeAttributes).shape, dtype: x!.dtype }],
    gradient: ({ inputs: [x] }, [g]) => [reshape(g!, x!.shape)],
  },
  permute: {
    name: "permute",
    rule: {
      kind: "movement",
      map: (index, { axes }: PermuteAttributes) => {
        const input = new Array<Affine>(axes.length);
        axes.forEach((axis, k) => (input[axis] = index[k]!));
        return { index: input };
      },
    },
    infer: ([x], attributes) => [
      { shape: (attributes as PermuteAttributes).axes.map((axis) => x!.shape[axis]!), dtype: x!.dtype },
    ],
    gradient: ({ attributes }, [g]) => {
      const { axes } = attributes as PermuteAttributes;
      return [
        transpose(
          g!,
          axes.map((_, k) => axes.indexOf(k)),
        ),
      ];
    },
  },
  broadcast: {
    name: "broadcast",
    rule: {
      kind: "movement",
      map: (index, _, input) => {
        const skipped = index.length - input.length;
        return { index: input.map((extent, k) => (extent === 1 ? zero(index[skipped + k]!) : index[skipped + k]!)) };
      },
    },
    infer: ([x], attributes) => [{ shape: (attributes as ShapeAttributes).shape, dtype: x!.dtype }],
    gradient: ({ inputs: [x], outputs: [y] }, [g]) => {
      const skipped = y!.shape.length - x!.shape.length;
      const axes = y!.shape
        .map((_, k) => k)
        .filter((k) => k < skipped || (x!.shape[k - skipped] === 1 && y!.shape[k] !== 1));
      return [reshape(sum(g!, axes), x!.shape)];
    },
  },
  slice: {
    name: "slice",
    rule: {
      kind: "movement",
      map: (index, { start, step }: SliceAttributes) => ({
        index: index.map((affine, k) => scaled(affine, step[k]!, start[k]!)),
      }),
    },
    infer: ([x], attributes) => [{ shape: (attributes as SliceAttributes).size, dtype: x!.dtype }],
    gradient: ({ inputs: [x], attributes }, [g]) => [unslice(g!, x!.shape, attributes as SliceAttributes)],
  },
  pad: {
    name: "pad",
    rule: {
      kind: "movement",
      map: (index, { before, after, value }: PadAttributes, input) => ({
        index: index.map((affine, k) => scaled(affine, 1, -before[k]!)),
        conditions: index.flatMap((affine, k) =>
          before[k]! > 0 || after[k]! > 0 ? [{ index: scaled(affine, 1, -before[k]!), lo: 0, hi: input[k]! }] : [],
        ),
        fill: value,
      }),
    },
    infer: ([x], attributes) => {
      const { before, after } = attributes as PadAttributes;
      return [{ shape: x!.shape.map((extent, k) => before[k]! + extent + after[k]!), dtype: x!.dtype }];
    },
    gradient: ({ inputs: [x], attributes }, [g]) => {
      const { before } = attributes as PadAttributes;
      return [
        slice(
          g!,
          before,
          x!.shape.map((extent, k) => before[k]! + extent),
        ),
      ];
    },
  },
  concat: {
    name: "concat",
    rule: { kind: "concat" },
    infer(inputs, attributes) {
      const { axis } = attributes as ConcatAttributes;
      const first = inputs[0]!;
      for (const x of inputs) {
        if (x.dtype !== first.dtype)
          throw new DTypeError(
            `concat: expected tensors of one type, got ${first.dtype} and ${x.dtype}; convert one with cast`,
          );
        if (x.shape.length !== first.shape.length)
          throw new ShapeError(
            `concat: expected tensors of one rank, got ${formatShape(first.shape)} and ${formatShape(x.shape)}; reshape one`,
          );
        first.shape.forEach((extent, k) => {
          if (k !== axis && x.shape[k] !== extent)
            throw new ShapeError(
              `concat: axis ${k} is ${extent} in ${formatShape(first.shape)} but ${x.shape[k]} in ${formatShape(x.shape)}; only axis ${axis} may differ`,
            );
        });
      }
      return [
        {
          shape: first.shape.map((extent, k) =>
            k === axis ? inputs.reduce((total, x) => total + x.shape[axis]!, 0) : extent,
          ),
          dtype: first.dtype,
        },
      ];
    },
    reference(inputs, { axis }: ConcatAttributes, [result]) {
      const outer = sizeOf(result!.shape.slice(0, axis));
      const row = sizeOf(result!.shape.slice(axis));
      const out = new (inputs[0]!.data.constructor as Float64ArrayConstructor)(outer * row);
      let offset = 0;
      for (const { shape, data } of inputs) {
        const part = sizeOf(shape.slice(axis));
        for (let o = 0; o < outer; o++) out.set(data.subarray(o * part, (o + 1) * part), o * row + offset);
        offset += part;
      }
      return [out];
    },
    gradient: ({ inputs, attributes }, [g]) => {
      const { axis } = attributes as ConcatAttributes;
      let offset = 0;
      return inputs.map((x) => sliceAxis(g!, axis, offset, (offset += x.shape[axis]!)));
    },
  },
} satisfies Record<string, Op>;

/** What `checkOp` runs them on. @internal */
export const movementSamples = (): Samples<typeof movementRows> => ({
  identity: [{ name: "rank 2", inputs: [{ shape: [2, 3] }], apply: (x) => identity(x!) }],
  stopGradient: [
    { name: "rank 2", inputs: [{ shape: [2, 3] }], apply: (x) => stopGradient(x!), differentiable: false },
  ],
  reshape: [
    { name: "merge", inputs: [{ shape: [2, 3, 4] }], apply: (x) => reshape(x!, [6, 4]) },
    {
      name: "split a transposed array",
      inputs: [{ shape: [4, 6] }],
      apply: (x) => reshape(transpose(x!), [3, 2, 4]),
    },
    {
      name: "across axes of a transposed array",
      inputs: [{ shape: [4, 6] }],
      apply: (x) => reshape(transpose(x!), [3, 8]),
    },
    { name: "to rank 0", inputs: [{ shape: [1, 1] }], apply: (x) => reshape(x!, []) },
    { name: "empty", inputs: [{ shape: [0, 4] }], apply: (x) => reshape(x!, [2, 0]) },
  ],
  permute: [
    { name: "rank 2", inputs: [{ shape: [3, 5] }], apply: (x) => transpose(x!) },
    { name: "f16", inputs: [{ shape: [3, 5], dtype: "f16" }], apply: (x) => transpose(x!) },
    { name: "rank 4", inputs: [{ shape: [2, 3, 4, 5] }], apply: (x) => transpose(x!, [2, 0, 3, 1]) },
  ],
  broadcast: [
    { name: "new axes", inputs: [{ shape: [3] }], apply: (x) => broadcastTo(x!, [2, 4, 3]) },
    { name: "stretched axes", inputs: [{ shape: [2, 1, 3] }], apply: (x) => broadcastTo(x!, [2, 5, 3]) },
    { name: "rank 0", inputs: [{ shape: [] }], apply: (x) => broadcastTo(x!, [2, 2]) },
    { name: "to empty", inputs: [{ shape: [1, 3] }], apply: (x) => broadcastTo(x!, [0, 3]) },
  ],
  slice: [
    { name: "ranges", inputs: [{ shape: [4, 6] }], apply: (x) => slice(x!, [1, 2], [3, 6]) },
    {
      name: "steps",
      inputs: [{ shape: [4, 7] }],
      apply: (x) => strided(x!, { start: [0, 1], step: [2, 3], size: [2, 2] }),
    },
    { name: "reversed", inputs: [{ shape: [3, 5] }], apply: (x) => flip(x!, [0, 1]) },
    { name: "empty", inputs: [{ shape: [3] }], apply: (x) => slice(x!, [1], [1]) },
  ],
  pad: [
    { name: "both sides", inputs: [{ shape: [3, 5] }], apply: (x) => pad(x!, [1, 0], [0, 2]) },
    { name: "f16 with a value", inputs: [{ shape: [5], dtype: "f16" }], apply: (x) => pad(x!, [1], [3], 0.1) },
    { name: "with a value, twice", inputs: [{ shape: [5] }], apply: (x) => pad(pad(x!, [1], [1], 7), [2], [0], -1) },
    {
      name: "sliced again",
      inputs: [{ shape: [4, 9] }],
      apply: (x) => slice(pad(x!, [0, 3], [0, 0]), [1, 1], [3, 10]),
    },
  ],
  concat: [
    {
      name: "last axis",
      inputs: [{ shape: [2, 3] }, { shape: [2, 1] }, { shape: [2, 4] }],
      apply: (...x) => concat(x, -1),
    },
    {
      name: "f16",
      inputs: [
        { shape: [2, 3], dtype: "f16" },
        { shape: [2, 2], dtype: "f16" },
      ],
      apply: (...x) => concat(x, -1),
    },
    {
      name: "first axis, one empty",
      inputs: [{ shape: [2, 3] }, { shape: [0, 3] }, { shape: [5, 3] }],
      apply: (...x) => concat(x, 0),
    },
  ],
});

/** The same values as a tensor of its own, so that a gradient can be asked for at this place. */
export const identity = (x: Tensor): Tensor => callOp(movementRows.identity, [x])[0]!;

/** The same values, treated as a constant by gradients. */
export const stopGradient = (x: Tensor): Tensor => callOp(movementRows.stopGradient, [x])[0]!;

/**
 * The same elements, row-major, under another shape. One extent may be -1 and is then inferred.
 * @throws ShapeError if the sizes differ.
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  assertTensor("reshape", x);
  assertList("reshape", shape, "[2,3]");
  const known = shape.reduce((product, extent) => (extent === -1 ? product : product * extent), 1);
  const target = shape.map((extent) => (extent === -1 ? (known === 0 ? 0 : x.size / known) : extent));
  if (
    shape.filter((extent) => extent === -1).length > 1 ||
    sizeOf(target) !== x.size ||
    target.some((extent) => !Number.isInteger(extent) || extent < 0)
  )
    throw new ShapeError(
      `reshape: expected a shape of ${x.size} elements for ${formatShape(x.shape)}, got ${formatShape(shape)}`,
    );
  return sameShape(target, x.shape)
    ? x
    : callOp(movementRows.reshape, [x], { shape: target } satisfies ShapeAttributes)[0]!;
}

/** Axes in another order: result axis k is axis axes[k] of x. By default the last two are swapped. */
export function transpose(x: Tensor, axes?: readonly number[]): Tensor {
  assertTensor("transpose", x);
  if (axes !== undefined) assertList("transpose", axes, "[0,2,1]");
  const rank = x.shape.length;
  if (!axes && rank < 2)
    throw new ShapeError(`transpose: expected at least rank 2, got shape ${formatShape(x.shape)}; name the axes`);
  const order = (axes ?? [...Array(rank - 2).keys(), rank - 1, rank - 2]).map((axis) =>
    normalizeAxis(axis, rank, "transpose"),
  );
  if (order.length !== rank || new Set(order).size !== rank)
    throw new ShapeError(`transpose: expected each of the ${rank} axes once, got [${axes!.join(",")}]`);
  return order.every((axis, k) => axis === k)
    ? x
    : callOp(movementRows.permute, [x], { axes: order } satisfies PermuteAttributes)[0]!;
}

/**
 * Repeats x along new leading axes and axes of extent 1.
 * @throws ShapeError if an axis has another extent.
 */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  assertTensor("broadcastTo", x);
  assertShape("broadcastTo", shape);
  if (sameShape(x.shape, shape)) return x;
  const skipped = shape.length - x.shape.length;
  x.shape.forEach((extent, k) => {
    if (extent !== 1 && extent !== shape[skipped + k])
      throw new ShapeError(
        `broadcastTo: axis ${k} is ${extent} in ${formatShape(x.shape)} but ${shape[skipped + k] ?? "absent"} in ${formatShape(shape)}; only axes of extent 1 stretch`,
      );
  });
  return callOp(movementRows.broadcast, [x], { shape: [...shape] } satisfies ShapeAttributes)[0]!;
}

/** Elements start[k] <= i_k < end[k] on each axis. Negative bounds count from the end. */
export function slice(x: Tensor, start: readonly number[], end: readonly number[]): Tensor {
  assertTensor("slice", x);
  for (const bounds of [start, end]) {
    assertList("slice", bounds, "[0,1]");
    if (bounds.length > x.shape.length)
      throw new ShapeError(
        `slice: expected at most ${x.shape.length} bounds for ${formatShape(x.shape)}, got [${bounds.join(",")}]; give one for each axis`,
      );
  }
  const bound = (value: number, k: number): number => (value < 0 ? value + x.shape[k]! : value);
  const from = x.shape.map((_, k) => bound(start[k] ?? 0, k));
  const to = x.shape.map((extent, k) => bound(end[k] ?? extent, k));
  return strided(x, { start: from, step: from.map(() => 1), size: to.map((stop, k) => stop - from[k]!) });
}

/** Elements start <= i < end along one axis. */
export function sliceAxis(x: Tensor, axis: number, start: number, end: number): Tensor {
  assertTensor("sliceAxis", x);
  const along = normalizeAxis(axis, x.shape.length, "sliceAxis");
  return slice(
    x,
    x.shape.map((_, k) => (k === along ? start : 0)),
    x.shape.map((extent, k) => (k === along ? end : extent)),
  );
}

/** Elements start[k] + i step[k], i < size[k], on each axis; steps may be negative. */
export function strided(x: Tensor, { start, step, size }: SliceAttributes): Tensor {
  assertTensor("strided", x);
  if (start.length !== x.shape.length || step.length !== x.shape.length || size.length !== x.shape.length)
    throw new ShapeError(
      `slice: expected bounds for ${x.shape.length} axes of ${formatShape(x.shape)}, got ${start.length}`,
    );
  for (const list of [start, step, size])
    for (const value of list)
      if (!Number.isInteger(value))
        throw new ShapeError(
          `slice: expected bounds and steps that are whole numbers for ${formatShape(x.shape)}, got ${value}; round it`,
        );
  x.shape.forEach((extent, k) => {
    const last = start[k]! + (size[k]! - 1) * step[k]!;
    if (
      size[k]! < 0 ||
      step[k] === 0 ||
      (size[k]! > 0 && (Math.min(start[k]!, last) < 0 || Math.max(start[k]!, last) >= extent))
    )
      throw new ShapeError(
        `slice: axis ${k} has extent ${extent} but elements ${start[k]} to ${last} were asked (${size[k]} in steps of ${step[k]}); stay inside`,
      );
  });
  return sameShape(size, x.shape) && step.every((s) => s === 1)
    ? x
    : callOp(movementRows.slice, [x], { start, step, size } satisfies SliceAttributes)[0]!;
}

/** The cotangent of a slice: zeros but for the places taken. */
function unslice(g: Tensor, shape: Shape, { start, step, size }: SliceAttributes): Tensor {
  const reversed = step.flatMap((s, k) => (s < 0 ? [k] : []));
  if (reversed.length > 0) {
    const forward = start.map((s, k) => (step[k]! < 0 ? s + (size[k]! - 1) * step[k]! : s));
    return unslice(flip(g, reversed), shape, { start: forward, step: step.map(Math.abs), size });
  }
  // Steps above 1 spread the elements: [size] -> [size, 1] -> padded to [size, step] -> [size * step].
  let spread = g;
  step.forEach((s, k) => {
    if (s === 1 || spread.shape[k] === 0) return;
    const before = spread.shape.slice(0, k);
    const after = spread.shape.slice(k + 1);
    const column = reshape(spread, [...before, spread.shape[k]!, 1, ...after]);
    const padded = pad(
      column,
      column.shape.map(() => 0),
      column.shape.map((_, a) => (a === k + 1 ? s - 1 : 0)),
    );
    const all = reshape(padded, [...before, spread.shape[k]! * s, ...after]);
    spread = sliceAxis(all, k, 0, (size[k]! - 1) * s + 1);
  });
  return pad(
    spread,
    start.map((s, k) => (size[k] === 0 ? 0 : s)),
    shape.map((extent, k) => (size[k] === 0 ? extent : extent - start[k]! - spread.shape[k]!)),
  );
}

/** The elements in reverse order along the given axes. */
export function flip(x: Tensor, axes: number | readonly number[]): Tensor {
  assertTensor("flip", x);
  const along = new Set(normalizeAxes(axes, x.shape.length, "flip"));
  return strided(x, {
    start: x.shape.map((extent, k) => (along.has(k) && extent > 0 ? extent - 1 : 0)),
    step: x.shape.map((_, k) => (along.has(k) ? -1 : 1)),
    size: x.shape,
  });
}

/** Adds before[k] and after[k] elements of one value on each axis. */
export function pad(x: Tensor, before: readonly number[], after: readonly number[], value = 0): Tensor {
  assertTensor("pad", x);
  for (const counts of [before, after]) assertList("pad", counts, "[0,1]");
  if (typeof value !== "number" || (!isReal(x.dtype) && (value | 0) !== value))
    throw new DTypeError(
      `pad: expected a number that ${x.dtype} has as the value, got ${describeValue(value)}; cast the tensor to f32 first`,
    );
  if (
    before.length !== x.shape.length ||
    after.length !== x.shape.length ||
    [...before, ...after].some((n) => !Number.isInteger(n) || n < 0)
  )
    throw new ShapeError(
      `pad: expected ${x.shape.length} counts of at least 0 before and after the axes of ${formatShape(x.shape)}, got [${before.join(",")}] and [${after.join(",")}]`,
    );
  return [...before, ...after].every((n) => n === 0)
    ? x
    : callOp(movementRows.pad, [x], {
        before: [...before],
        after: [...after],
        value: x.dtype === "f16" ? roundToHalf(value) : x.dtype === "bool" ? Number(value !== 0) : value,
      } satisfies PadAttributes)[0]!;
}

/** Joins tensors along an existing axis; the other extents agree. */
export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  assertList("concat", tensors, "[x, y]");
  for (const x of tensors) assertTensor("concat", x);
  if (tensors.length === 0) throw new ShapeError("concat: expected at least one tensor, got none");
  const along = normalizeAxis(axis, tensors[0]!.shape.length, "concat");
  return tensors.length === 1
    ? tensors[0]!
    : callOp(movementRows.concat, tensors, { axis: along } satisfies ConcatAttributes)[0]!;
}

/** Joins tensors of one shape along a new axis. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  assertList("stack", tensors, "[x, y]");
  for (const x of tensors) assertTensor("stack", x);
  if (tensors.length === 0) throw new ShapeError("stack: expected at least one tensor, got none");
  const along = normalizeAxis(axis, tensors[0]!.shape.length + 1, "stack");
  return concat(
    tensors.map((x) => expandDims(x, along)),
    along,
  );
}

/** Cuts x along an axis into parts of the given extents. */
export function split(x: Tensor, sizes: readonly number[], axis = -1): Tensor[] {
  assertTensor("split", x);
  assertList("split", sizes, "[2,1]");
  const along = normalizeAxis(axis, x.shape.length, "split");
  for (const size of sizes)
    if (!Number.isInteger(size) || size < 0)
      throw new ShapeError(
        `split: expected extents that are whole numbers of at least 0, got [${sizes.join(",")}]; write every extent`,
      );
  const total = sizes.reduce((a, b) => a + b, 0);
  if (total !== x.shape[along])
    throw new ShapeError(
      `split: axis ${along} of ${formatShape(x.shape)} is ${x.shape[along]} but the parts [${sizes.join(",")}] add up to ${total}; make them equal`,
    );
  let offset = 0;
  return sizes.map((size) => sliceAxis(x, along, offset, (offset += size)));
}

/** Adds an axis of extent 1. */
export function expandDims(x: Tensor, axis: number): Tensor {
  assertTensor("expandDims", x);
  const along = normalizeAxis(axis, x.shape.length + 1, "expandDims");
  return reshape(x, [...x.shape.slice(0, along), 1, ...x.shape.slice(along)]);
}
