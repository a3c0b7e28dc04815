/** How the operands of a product on matrix units are read. */
import type { MatmulSpec } from "@seqmix/tensor/backend";
import type { GpuParameters } from "@seqmix/tensor/wgsl";
import type { OperandReading } from "./operand-texts.js";

/** An operand, and the parameters of its reading. */
export interface OperandRead {
  readonly reading: OperandReading;
  readonly parameters: GpuParameters;
}

/** Both operands; undefined for those of f16 that are not in whole vectors. */
export const operandsOf = (shape: MatmulSpec): [OperandRead | undefined, OperandRead | undefined] => [
  operandOf("a", shape.a.row, shape.a.column, shape, shape.operands ?? "f32"),
  operandOf("b", shape.b.column, shape.b.row, shape, shape.operands ?? "f32"),
];

/** How an operand is read, with its strides from line (row of a, column of b) to line and along k; undefined for f16 that is not in whole vectors. */
function operandOf(
  name: "a" | "b",
  line: number,
  inner: number,
  shape: MatmulSpec,
  stored: "f16" | "f32",
): OperandRead | undefined {
  const {
    m,
    n,
    k,
    [name]: { offset = 0, batch },
  } = shape;
  const lineStride = (name === "a" ? m : n) === 1 ? 0 : line;
  const innerStride = k === 1 ? 0 : inner;
  const vector = stored === "f16" ? 8 : 4;
  const aligned = (...strides: readonly number[]): boolean => strides.every((stride) => stride % vector === 0);
  const whole = aligned(offset, ...batch);
  // f16 vectors at the end of k are read whole.
  const depthFirst = whole && innerStride === 1 && aligned(lineStride) && (stored === "f32" || k % vector === 0);
  const vectors = depthFirst || (whole && lineStride === 1 && aligned(innerStride));
  if (!vectors && stored === "f16") return undefined;
  const unit = vectors ? vector : 1;
  const alongDepth = vectors ? depthFirst : Math.abs(innerStride) === 1;
  return {
    reading: { stored, alongDepth, unit },
    parameters: {
      [`${name}Offset`]: offset / unit,
      // where vectors follow it, the unit stride itself is not used
      [`${name}Line`]: vectors && !alongDepth ? 1 : lineStride / unit,
      [`${name}Inner`]: vectors && alongDepth ? 1 : innerStride / unit,
      ...Object.fromEntries(batch.map((stride, axis) => [`${name}Batch${axis}`, stride / unit])),
    },
  };
}
