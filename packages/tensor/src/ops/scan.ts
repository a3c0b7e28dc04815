/** Rows that run along an axis: each result depends on all before it. */
import { DTypeError, ShapeError } from "../errors.js";
import type { Op } from "../op.js";
import { formatShape, normalizeAxis, sameShape, sizeOf, type Shape } from "../shape.js";
import { callOp, type Tensor } from "../tensor.js";
import { mul } from "./elementwise.js";
import { concat, expandDims, reshape, sliceAxis } from "./movement.js";
import { zeros } from "./generators.js";

/** @internal */
export interface CumsumAttributes {
  readonly axis: number;
  readonly reverse: boolean;
}

/** @internal */
export interface LinearScanAttributes {
  readonly axis: number;
  readonly reverse: boolean;
}

/** Extents before, of, and after the axis of a scan. @internal */
export function aroundAxis(shape: Shape, axis: number): { outer: number; length: number; inner: number } {
  return { outer: sizeOf(shape.slice(0, axis)), length: shape[axis]!, inner: sizeOf(shape.slice(axis + 1)) };
}

/** The rows of this file. @internal */
export const scanRows: Record<"cumsum" | "linearScan", Op> = {
  cumsum: {
    name: "cumsum",
    rule: { kind: "native" },
    infer([x]) {
      if (x!.dtype !== "f32") throw new DTypeError(`cumsum: expected f32, got ${x!.dtype} ${formatShape(x!.shape)}; convert it with cast`);
      return [{ shape: x!.shape, dtype: "f32" }];
    },
    reference([x], { axis, reverse }: CumsumAttributes) {
      const { outer, length, inner } = aroundAxis(x!.shape, axis);
      const out = new Float64Array(x!.data.length);
      for (let o = 0; o < outer; o++)
        for (let i = 0; i < inner; i++) {
          let total = 0;
          for (let s = 0; s < length; s++) {
            const at = (o * length + (reverse ? length - 1 - s : s)) * inner + i;
            out[at] = total += x!.data[at]!;
          }
        }
      return [out];
    },
    gradient({ attributes }, [g]) {
      const { axis, reverse } = attributes as CumsumAttributes;
      return [cumsum(g!, axis, { reverse: !reverse })];
    },
    samples: [[5], [3, 4], [2, 3, 4], [2, 3, 2, 5]].flatMap((shape) => shape.flatMap((_, axis) => [false, true].map((reverse) => ({
      name: `${formatShape(shape)} axis ${axis}${reverse ? " reversed" : ""}`, inputs: [{ shape }], apply: (x: Tensor) => cumsum(x, axis, { reverse }),
    })))).concat([
      { name: "long", inputs: [{ shape: [2, 1037] }], apply: (x: Tensor) => cumsum(x, 1) },
      { name: "length 1", inputs: [{ shape: [3, 1, 2] }], apply: (x: Tensor) => cumsum(x, 1) },
      { name: "empty", inputs: [{ shape: [3, 0] }], apply: (x: Tensor) => cumsum(x, 1) },
    ]),
  },
  /** inputs a, b [..., L, ...] and h0 [..., ...] -> h [..., L, ...]. */
  linearScan: {
    name: "linearScan",
    rule: { kind: "native" },
    infer: ([, b]) => [{ shape: b!.shape, dtype: "f32" }],
    reference([a, b, h0], { axis, reverse }: LinearScanAttributes) {
      const { outer, length, inner } = aroundAxis(b!.shape, axis);
      const out = new Float64Array(b!.data.length);
      for (let o = 0; o < outer; o++)
        for (let i = 0; i < inner; i++) {
          let h = h0 ? h0.data[o * inner + i]! : 0;
          for (let s = 0; s < length; s++) {
            const at = (o * length + (reverse ? length - 1 - s : s)) * inner + i;
            out[at] = h = a!.data[at]! * h + b!.data[at]!;
          }
        }
      return [out];
    },
    gradient({ inputs: [a, , h0], outputs: [h], attributes }, [g]): readonly (Tensor | undefined)[] {
      const { axis, reverse } = attributes as LinearScanAttributes;
      const L = h!.shape[axis]!;
      if (L === 0) return [a!, g!, h0 && zeros(h0.shape)];
      // s_t = g_t + a_(t+1) s_(t+1) is the cotangent of b; that of a is s_t h_(t-1).
      const edge = [...h!.shape.slice(0, axis), 1, ...h!.shape.slice(axis + 1)];
      const next = reverse ? concat([zeros(edge), sliceAxis(a!, axis, 0, L - 1)], axis) : concat([sliceAxis(a!, axis, 1, L), zeros(edge)], axis);
      const s = linearScan({ a: next, b: g!, axis, reverse: !reverse });
      const start = h0 ? expandDims(h0, axis) : zeros(edge);
      const previous = reverse ? concat([sliceAxis(h!, axis, 1, L), start], axis) : concat([start, sliceAxis(h!, axis, 0, L - 1)], axis);
      const first = reverse ? L - 1 : 0;
      const dh0 = h0 && reshape(mul(sliceAxis(a!, axis, first, first + 1), sliceAxis(s, axis, first, first + 1)), h0.shape);
      return [mul(s, previous), s, dh0];
    },
    samples: [[5], [3, 4], [2, 3, 4], [2, 3, 2, 5]].flatMap((shape: Shape) => shape.flatMap((_, axis) => [false, true].map((reverse) => ({
      name: `${formatShape(shape)} axis ${axis}${reverse ? " reversed" : ""}`,
      inputs: [{ shape, low: -1, high: 1 }, { shape }, { shape: shape.filter((_, k) => k !== axis) }],
      apply: (a: Tensor, b: Tensor, h0: Tensor) => linearScan({ a, b, h0, axis, reverse }),
    })))).concat([
      { name: "from zero", inputs: [{ shape: [2, 7], low: -1, high: 1 }, { shape: [2, 7] }], apply: (a: Tensor, b: Tensor) => linearScan({ a, b, axis: 1 }) },
      { name: "long", inputs: [{ shape: [2, 1037], low: 0.5, high: 1 }, { shape: [2, 1037] }], apply: (a: Tensor, b: Tensor) => linearScan({ a, b, axis: 1 }) },
      { name: "length 1", inputs: [{ shape: [2, 1, 3] }, { shape: [2, 1, 3] }, { shape: [2, 3] }], apply: (a: Tensor, b: Tensor, h0: Tensor) => linearScan({ a, b, h0, axis: 1 }) },
      { name: "empty", inputs: [{ shape: [2, 0] }, { shape: [2, 0] }], apply: (a: Tensor, b: Tensor) => linearScan({ a, b, axis: 1 }) },
    ]),
  },
};

/** How {@link cumsum} runs. */
export interface CumsumOptions {
  /** Sum from the end. */
  readonly reverse?: boolean;
  /** Leave the element itself out: the first result is 0. */
  readonly exclusive?: boolean;
}

/** Running sums along an axis. */
export function cumsum(x: Tensor, axis: number, { reverse = false, exclusive = false }: CumsumOptions = {}): Tensor {
  const along = normalizeAxis(axis, x.shape.length, "cumsum");
  const out = callOp(scanRows.cumsum, [x], { axis: along, reverse } satisfies CumsumAttributes)[0]!;
  const L = x.shape[along]!;
  if (!exclusive || L === 0) return out;
  const first = zeros(x.shape.map((extent, k) => (k === along ? 1 : extent)));
  return reverse ? concat([sliceAxis(out, along, 1, L), first], along) : concat([first, sliceAxis(out, along, 0, L - 1)], along);
}

/** What {@link linearScan} takes. */
export interface LinearScanArguments {
  /** Decays, f32, the shape of b. */
  readonly a: Tensor;
  /** Inputs, f32 [..., L, ...]. */
  readonly b: Tensor;
  /** State before the first step, f32, the shape of b without the axis; zeros by default. */
  readonly h0?: Tensor | undefined;
  /** The axis L. */
  readonly axis: number;
  /** Run from the last element to the first: h_t = a_t h_(t+1) + b_t. */
  readonly reverse?: boolean;
}

/**
 * The linear recurrence h_t = a_t h_(t-1) + b_t along an axis.
 * @returns h, the shape of b.
 * @throws ShapeError if the shapes do not fit.
 */
export function linearScan({ a, b, h0, axis, reverse = false }: LinearScanArguments): Tensor {
  const along = normalizeAxis(axis, b.shape.length, "linearScan");
  const state = b.shape.filter((_, k) => k !== along);
  for (const [name, x] of Object.entries({ a, b, ...(h0 && { h0 }) })) if (x.dtype !== "f32") throw new DTypeError(`linearScan: expected f32, got ${x.dtype} for ${name} ${formatShape(x.shape)}; convert it with cast`);
  if (!sameShape(a.shape, b.shape)) throw new ShapeError(`linearScan: expected a and b of one shape, got ${formatShape(a.shape)} and ${formatShape(b.shape)}; broadcast one with broadcastTo`);
  if (h0 && !sameShape(h0.shape, state)) throw new ShapeError(`linearScan: expected h0 ${formatShape(state)} (b without axis ${along}), got ${formatShape(h0.shape)}`);
  return callOp(scanRows.linearScan, h0 ? [a, b, h0] : [a, b], { axis: along, reverse } satisfies LinearScanAttributes)[0]!;
}
