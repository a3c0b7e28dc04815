/** Operands whose batch elements lie among each other: cutting the batch would make none of what is bound smaller, so they are copied apart. */
import { product, type LoopKernel, type MatmulSpec } from "@seqmix/tensor/backend";
import { stridesOf } from "@seqmix/tensor";
import type { MatmulOperand } from "./spans.js";

/** Whether the elements of one matrix lie among those of others. */
export function isInterleaved({ batch, row, column }: MatmulOperand, spec: MatmulSpec, rows: number, columns: number) {
  const reach = Math.abs(row) * (rows - 1) + Math.abs(column) * (columns - 1);
  return batch.some((stride, k) => spec.batch[k]! > 1 && stride !== 0 && Math.abs(stride) < reach);
}

/** The operand as it lies in a copy, matrix behind matrix, and the loop that makes the copy from so many elements. */
export function copyOf(
  { offset = 0, batch, row, column }: MatmulOperand,
  spec: MatmulSpec,
  rows: number,
  columns: number,
  size: number,
): { readonly operand: MatmulOperand; readonly loop: LoopKernel; readonly size: number } {
  // matrices that are the same for a batch axis stay so
  const axes = batch.flatMap((stride, k) => (stride !== 0 && spec.batch[k]! > 1 ? [k] : []));
  const extents = [...axes.map((k) => spec.batch[k]!), rows, columns];
  const strides = stridesOf(extents);
  const index = { offset, coefficients: [...axes.map((k) => batch[k]!), row, column] };
  const dtype = spec.operands ?? "f32";
  return {
    operand: {
      offset: 0,
      batch: batch.map((_, k) => (axes.includes(k) ? strides[axes.indexOf(k)]! : 0)),
      row: columns,
      column: 1,
    },
    loop: {
      extents,
      reduceExtents: [],
      inputs: [{ dtype, size }],
      reductions: [],
      outputs: [{ dtype, value: { op: "load", dtype: "f32", input: 0, index } }],
    },
    size: product(extents),
  };
}
