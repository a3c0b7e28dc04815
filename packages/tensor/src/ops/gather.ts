/** Rows that look elements up, or add them up, by index. */
import { assertShape, assertTensor } from "../graph/assert.js";
import { isDebug } from "../graph/debug.js";
import type { HostArray } from "../graph/dtype.js";
import { DTypeError, ShapeError } from "../graph/errors.js";
import type { Op, Samples, ReferenceValue } from "../graph/op.js";
import { formatShape, normalizeAxis, sameShape, sizeOf, type Shape } from "../graph/shape.js";
import { callOp, type Tensor } from "../graph/tensor.js";
import { cast, equal, where } from "./elementwise.js";
import { iota } from "./generators.js";
import { broadcastTo, movementRows, reshape, transpose } from "./movement.js";
import { sum } from "./reduce.js";

interface GatherAttributes {
  readonly axis: number;
}
interface ScatterAttributes {
  readonly size: number;
}

const clamp = (value: number, size: number): number => Math.max(0, Math.min(size - 1, value));

/** The rows of `source` are [outer, size, inner] around the axis. */
function around(shape: Shape, axis: number): { outer: number; size: number; inner: number } {
  return { outer: sizeOf(shape.slice(0, axis)), size: shape[axis]!, inner: sizeOf(shape.slice(axis + 1)) };
}

/** The rows of this file. @internal */
export const gatherRows = {
  gather: {
    name: "gather",
    rule: { kind: "gather" },
    infer([x, indices], attributes) {
      const { axis } = attributes as GatherAttributes;
      if (indices!.dtype !== "i32")
        throw new DTypeError(
          `gather: expected i32 indices, got ${indices!.dtype} ${formatShape(indices!.shape)}; convert them with cast`,
        );
      if (x!.shape[axis] === 0 && indices!.size > 0)
        throw new ShapeError(
          `gather: axis ${axis} of ${formatShape(x!.shape)} is empty but ${indices!.size} elements were asked`,
        );
      return [{ shape: [...x!.shape.slice(0, axis), ...indices!.shape, ...x!.shape.slice(axis + 1)], dtype: x!.dtype }];
    },
    reference([x, indices], { axis }: GatherAttributes, [result]) {
      const { outer, size, inner } = around(x!.shape, axis);
      const out = new (x!.data.constructor as Float64ArrayConstructor)(sizeOf(result!.shape));
      const count = indices!.data.length;
      for (let o = 0; o < outer; o++)
        for (let i = 0; i < count; i++) {
          const from = (o * size + clamp(indices!.data[i]!, size)) * inner;
          out.set(x!.data.subarray(from, from + inner), (o * count + i) * inner);
        }
      return [out];
    },
    gradient({ inputs: [x, indices], attributes }, [g]) {
      const { axis } = attributes as GatherAttributes;
      const rank = indices!.shape.length;
      // [outer..., indices..., inner...] -> [indices..., outer..., inner...]
      const front = Array.from({ length: rank }, (_, k) => axis + k);
      const others = g!.shape.map((_, k) => k).filter((k) => k < axis || k >= axis + rank);
      // sums are f32; without f16 the casts are none
      const rows = cast(
        scatterAdd(cast(transpose(g!, [...front, ...others]), "f32"), indices!, x!.shape[axis]!),
        g!.dtype,
      );
      const back = x!.shape.map((_, k) => (k < axis ? k + 1 : k === axis ? 0 : k));
      return [transpose(rows, back), undefined];
    },
  },
  /** updates [indices..., inner...] added into zeros [size, inner...]. */
  scatterAdd: {
    name: "scatterAdd",
    rule: { kind: "native" },
    infer([updates, indices], attributes) {
      const { size } = attributes as ScatterAttributes;
      if (indices!.dtype !== "i32")
        throw new DTypeError(
          `scatterAdd: expected i32 indices, got ${indices!.dtype} ${formatShape(indices!.shape)}; convert them with cast`,
        );
      if (updates!.dtype !== "f32")
        throw new DTypeError(`scatterAdd: expected f32 updates, got ${updates!.dtype}; convert them with cast`);
      indices!.shape.forEach((extent, k) => {
        if (updates!.shape[k] !== extent)
          throw new ShapeError(
            `scatterAdd: axis ${k} is ${extent} in indices ${formatShape(indices!.shape)} but ${updates!.shape[k]} in updates ${formatShape(updates!.shape)}; the updates begin with the axes of the indices`,
          );
      });
      return [{ shape: [size, ...updates!.shape.slice(indices!.shape.length)], dtype: "f32" }];
    },
    reference([updates, indices]: readonly ReferenceValue[], { size }: ScatterAttributes, [result]) {
      const out = new Float64Array(sizeOf(result!.shape));
      const inner = sizeOf(result!.shape.slice(1));
      indices!.data.forEach((index, i) => {
        for (let k = 0; k < inner; k++) out[clamp(index, size) * inner + k]! += updates!.data[i * inner + k]!;
      });
      return [out];
    },
    gradient: ({ inputs: [, indices] }, [g]) => [gather(g!, indices!, 0), undefined],
  },
} satisfies Record<string, Op>;

/** What `checkOp` runs them on. @internal */
export const gatherSamples = (): Samples<typeof gatherRows> => ({
  gather: [
    {
      name: "rows",
      inputs: [{ shape: [7, 3] }, { shape: [4], dtype: "i32", low: 0, high: 7 }],
      apply: (x, i) => gather(x!, i!, 0),
    },
    {
      name: "rows by a matrix",
      inputs: [{ shape: [7, 3] }, { shape: [4, 2], dtype: "i32", low: 0, high: 7 }],
      apply: (x, i) => gather(x!, i!, 0),
    },
    {
      name: "f16 rows",
      inputs: [
        { shape: [7, 3], dtype: "f16" },
        { shape: [4], dtype: "i32", low: 0, high: 7 },
      ],
      apply: (x, i) => gather(x!, i!, 0),
    },
    {
      name: "last axis",
      inputs: [{ shape: [2, 3, 5] }, { shape: [6], dtype: "i32", low: 0, high: 5 }],
      apply: (x, i) => gather(x!, i!, -1),
    },
    {
      name: "middle axis, one index",
      inputs: [{ shape: [2, 3, 5] }, { shape: [], dtype: "i32", low: 0, high: 3 }],
      apply: (x, i) => gather(x!, i!, 1),
    },
    {
      name: "clamped",
      inputs: [{ shape: [3, 2] }, { shape: [6], dtype: "i32", low: -5, high: 9 }],
      apply: (x, i) => gather(x!, i!, 0),
    },
  ],
  scatterAdd: [
    {
      name: "rows, some twice",
      inputs: [{ shape: [6, 3] }, { shape: [6], dtype: "i32", low: 0, high: 4 }],
      apply: (u, i) => scatterAdd(u!, i!, 4),
    },
    {
      name: "by a matrix",
      inputs: [{ shape: [2, 3, 5] }, { shape: [2, 3], dtype: "i32", low: 0, high: 4 }],
      apply: (u, i) => scatterAdd(u!, i!, 4),
    },
    {
      name: "single numbers",
      inputs: [{ shape: [9] }, { shape: [9], dtype: "i32", low: 0, high: 3 }],
      apply: (u, i) => scatterAdd(u!, i!, 3),
    },
  ],
});

/**
 * The same indices, which must be 0..size-1, checked where they are at hand: at once if they are host data, and in debug mode when
 * they are computed.
 * @param ignore A value that may stand besides.
 * @param mask The shape of the indices: where it is 0 or false, there may be any.
 * @throws RangeError naming the first that is outside.
 */
export function checkIndices(name: string, indices: Tensor, size: number, ignore?: number, mask?: Tensor): Tensor {
  assertTensor(name, indices);
  const check: IndexCheck = { name, size, ...(ignore !== undefined && { ignore }) };
  const [source, counted] = [indices.source, mask?.source];
  if (source.kind === "host" && (!counted || counted.kind === "host")) assertIndices(source.data, check, counted?.data);
  else if (isDebug()) {
    const seen = mask ? where(cast(mask, "bool"), indices, 0) : indices;
    return callOp(movementRows.identity, [seen], check)[0]!;
  }
  return indices;
}

/** @throws RangeError naming the first index that is outside. @internal */
export function assertIndices(data: HostArray, { name, size, ignore }: IndexCheck, mask?: HostArray): void {
  for (let k = 0; k < data.length; k++)
    if (!(data[k]! >= 0 && data[k]! < size) && data[k] !== ignore && mask?.[k] !== 0)
      throw new RangeError(
        `${name}: expected whole numbers from 0 to ${size - 1}${ignore === undefined ? "" : ` or ${ignore}`}, got ${data[k]} at element ${k}; check the vocabulary, or mask that position`,
      );
}

/** What {@link checkIndices} asks for. @internal */
export interface IndexCheck {
  readonly name: string;
  readonly size: number;
  readonly ignore?: number;
}

/**
 * Elements of x at the given indices along one axis; that axis is replaced by the axes of `indices`.
 * Indices outside 0..extent-1 are clamped.
 * @param x [..., V, ...]
 * @param indices i32, any shape
 */
export function gather(x: Tensor, indices: Tensor, axis = 0): Tensor {
  assertTensor("gather", x);
  return callOp(gatherRows.gather, [x, indices], {
    axis: normalizeAxis(axis, x.shape.length, "gather"),
  } satisfies GatherAttributes)[0]!;
}

/**
 * Adds rows into zeros: result[v] is the sum of the updates whose index is v. Indices are clamped.
 * @param updates f32 [...axes of indices, ...inner]
 * @param indices i32
 * @param size V, the extent of the first result axis
 * @returns f32 [V, ...inner]
 */
export function scatterAdd(updates: Tensor, indices: Tensor, size: number): Tensor {
  for (const x of [updates, indices]) assertTensor("scatterAdd", x);
  assertShape("scatterAdd", [size]);
  return callOp(gatherRows.scatterAdd, [updates, indices], { size } satisfies ScatterAttributes)[0]!;
}

/**
 * The element of each row that its index names; 0 for an index that names none.
 * @param x f32 or f16 [..., V]
 * @param indices i32 [...]
 * @returns [...]
 */
export function pick(x: Tensor, indices: Tensor): Tensor {
  for (const given of [x, indices]) assertTensor("pick", given);
  if (!sameShape(indices.shape, x.shape.slice(0, -1)))
    throw new ShapeError(
      `pick: expected indices ${formatShape(x.shape.slice(0, -1))}, one for each row of ${formatShape(x.shape)}, got ${formatShape(indices.shape)}; broadcast them`,
    );
  const positions = broadcastTo(reshape(indices, [...indices.shape, 1]), x.shape);
  return sum(where(equal(positions, iota(x.shape, x.shape.length - 1)), x, 0), -1);
}
