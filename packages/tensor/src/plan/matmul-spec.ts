/** What a matrix product is asked for, as every device's program takes it. */
import type { NativeOperand } from "./draft.js";
import type { NativeCall } from "./plan.js";

/** Strides in elements; any value, 0 repeats. */
export interface MatmulOperand {
  /** Position of the first element; 0 by default. */
  readonly offset?: number;
  /** One stride per batch axis; 0 broadcasts. */
  readonly batch: readonly number[];
  /** From one row (axis before the last) to the next. */
  readonly row: number;
  /** From one column to the next. */
  readonly column: number;
}

/** C[batch.., m, n] = A[batch.., m, k] B[batch.., k, n] in f32; C is contiguous. */
export interface MatmulSpec {
  /** How the operands are stored; f32 by default. */
  readonly operands?: "f32" | "f16";
  readonly batch: readonly number[];
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: MatmulOperand;
  readonly b: MatmulOperand;
}

/** The product a matmul call stands for. */
export function matmulSpecOf({ inputs: [a, b], outputs: [c] }: NativeCall): MatmulSpec {
  const { shape } = c!;
  const rank = shape.length;
  const operand = ({ offset, strides }: NativeOperand): MatmulOperand => ({
    offset,
    batch: strides.slice(0, -2),
    row: strides[rank - 2]!,
    column: strides[rank - 1]!,
  });
  return {
    ...(a!.dtype === "f16" && { operands: "f16" }),
    batch: shape.slice(0, -2),
    m: shape[rank - 2]!,
    n: shape[rank - 1]!,
    k: a!.shape[rank - 1]!,
    a: operand(a!),
    b: operand(b!),
  };
}
