/** Running sums along an axis. */
import { assertSettings, assertTensor } from "../graph/assert.js";
import { DTypeError } from "../graph/errors.js";
import type { Op, Samples } from "../graph/op.js";
import { formatShape, normalizeAxis, sizeOf, type Shape } from "../graph/shape.js";
import { callOp, type Tensor } from "../graph/tensor.js";
import { concat, sliceAxis } from "./movement.js";
import { zeros } from "./generators.js";

/** @internal */
export interface CumsumAttributes {
  readonly axis: number;
  readonly reverse: boolean;
}

/** Extents before, of, and after the axis of a scan. @internal */
export function aroundAxis(shape: Shape, axis: number): { outer: number; length: number; inner: number } {
  return { outer: sizeOf(shape.slice(0, axis)), length: shape[axis]!, inner: sizeOf(shape.slice(axis + 1)) };
}

/** The rows of this file. @internal */
export const cumsumRows: Record<"cumsum", Op> = {
  cumsum: {
    name: "cumsum",
    rule: { kind: "native" },
    infer([x]) {
      if (x!.dtype !== "f32")
        throw new DTypeError(`cumsum: expected f32, got ${x!.dtype} ${formatShape(x!.shape)}; convert it with cast`);
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
  },
};

/** What `checkOp` runs them on. @internal */
export const cumsumSamples = (): Samples<typeof cumsumRows> => ({
  cumsum: [[5], [3, 4], [2, 3, 4], [2, 3, 2, 5]]
    .flatMap((shape) =>
      shape.flatMap((_, axis) =>
        [false, true].map((reverse) => ({
          name: `${formatShape(shape)} axis ${axis}${reverse ? " reversed" : ""}`,
          inputs: [{ shape }],
          apply: (x: Tensor) => cumsum(x, axis, { reverse }),
        })),
      ),
    )
    .concat([
      { name: "long", inputs: [{ shape: [2, 1037] }], apply: (x: Tensor) => cumsum(x, 1) },
      { name: "length 1", inputs: [{ shape: [3, 1, 2] }], apply: (x: Tensor) => cumsum(x, 1) },
      { name: "empty", inputs: [{ shape: [3, 0] }], apply: (x: Tensor) => cumsum(x, 1) },
    ]),
});

/** How {@link cumsum} runs. */
export interface CumsumOptions {
  /** Sum from the end. */
  readonly reverse?: boolean;
  /** Leave the element itself out: the first result is 0. */
  readonly exclusive?: boolean;
}

/** Running sums along an axis. */
export function cumsum(x: Tensor, axis: number, options: CumsumOptions = {}): Tensor {
  assertTensor("cumsum", x);
  assertSettings("cumsum", options, { reverse: "flag", exclusive: "flag" });
  const { reverse = false, exclusive = false } = options;
  const along = normalizeAxis(axis, x.shape.length, "cumsum");
  const out = callOp(cumsumRows.cumsum, [x], { axis: along, reverse } satisfies CumsumAttributes)[0]!;
  const L = x.shape[along]!;
  if (!exclusive || L === 0) return out;
  const first = zeros(x.shape.map((extent, k) => (k === along ? 1 : extent)));
  return reverse
    ? concat([sliceAxis(out, along, 1, L), first], along)
    : concat([first, sliceAxis(out, along, 0, L - 1)], along);
}
