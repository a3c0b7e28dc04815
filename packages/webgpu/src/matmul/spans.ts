/** What a product reads and writes of its operands' memory, and whether a pass may bind it. */
import { product, type MatmulSpec } from "@seqmix/tensor/backend";
import { bytesOf, widthOf, WINDOW_ALIGNMENT } from "@seqmix/tensor/wgsl";

export type MatmulOperand = MatmulSpec["a"];

/** Elements from an aligned place on. */
export interface OperandSpan {
  readonly from: number;
  readonly size: number;
}

/** The elements that a product spans of both operands, and those of its result. */
export interface Spans {
  readonly a: OperandSpan;
  readonly b: OperandSpan;
  readonly c: number;
}

export const spansOf = ({ a, b, batch, m, n, k, operands = "f32" }: MatmulSpec): Spans => ({
  a: spanOf(a, batch, m, k, operands),
  b: spanOf(b, batch, k, n, operands),
  c: product(batch) * m * n,
});

/** Elements a strided operand of `rows` x `columns` spans: from the first aligned place before it. */
function spanOf(
  { offset = 0, batch, row, column }: MatmulOperand,
  extents: readonly number[],
  rows: number,
  columns: number,
  dtype: "f32" | "f16",
): OperandSpan {
  let [low, high] = [offset, offset];
  [...batch, row, column].forEach((stride, k) => {
    const reach = stride * ([...extents, rows, columns][k]! - 1);
    if (reach < 0) low += reach;
    else high += reach;
  });
  const step = WINDOW_ALIGNMENT / widthOf(dtype);
  const from = Math.floor(low / step) * step;
  return { from, size: high + 1 - from };
}

/** What does not fit into a binding of so many bytes. */
export function tooLarge(spec: MatmulSpec, bytes: number): { readonly [operand in keyof Spans]: boolean } {
  const { a, b, c } = spansOf(spec);
  return {
    a: bytesOf(a.size, spec.operands) > bytes,
    b: bytesOf(b.size, spec.operands) > bytes,
    c: bytesOf(c) > bytes,
  };
}

/** Whether a pass may bind all of a product. */
export function fitsBindings(spec: MatmulSpec, bytes: number): boolean {
  const { a, b, c } = tooLarge(spec, bytes);
  return !a && !b && !c;
}
