/** The op of an intrinsic's record, and its application to tensors and numbers. */
import { isReal } from "../graph/dtype.js";
import { describeValue, DTypeError } from "../graph/errors.js";
import type { Op, Sample } from "../graph/op.js";
import { broadcastShapes, formatShape, sameShape } from "../graph/shape.js";
import { callOp, Tensor } from "../graph/tensor.js";
import type { Scalar } from "../ir/loop.js";
import { full } from "./generators.js";
import type { IntrinsicRecord } from "./intrinsic.js";
import { broadcastTo } from "./movement.js";

/** What an elementwise function takes: a tensor, or a number that is constant over the shape. */
export type Operand = Tensor | number;

/** The op of a record, which the kernel IR computes as `scalar`. */
export function elementwiseRow(
  name: string,
  record: IntrinsicRecord,
  scalar: (args: readonly Scalar[], dtype: Scalar["dtype"]) => Scalar,
  dear = record.cost === "dear",
): Op {
  const { derivative, accepts, result, ulp = 0, near = 0 } = record;
  return {
    name,
    rule: {
      kind: "elementwise",
      scalar,
      number: record.number,
      ...(record.integer && { integer: record.integer }),
      dear,
      tolerance: { relative: ulp * 2 ** -23, absolute: near },
    },
    infer(inputs) {
      const first = inputs[0]!;
      for (const input of inputs) {
        if (!accepts.includes(input.dtype))
          throw new DTypeError(
            `${name}: expected ${accepts.join(" or ")}, got ${input.dtype} ${formatShape(input.shape)}; convert it with cast`,
          );
        if (input.dtype !== first.dtype)
          throw new DTypeError(
            `${name}: expected operands of one type, got ${first.dtype} ${formatShape(first.shape)} and ${input.dtype} ${formatShape(input.shape)}; convert one with cast`,
          );
      }
      return [{ shape: first.shape, dtype: result ?? first.dtype }];
    },
    gradient: derivative && ((call, [cotangent]) => derivative(cotangent!, call.inputs, call.outputs[0]!)),
  };
}

/** What `checkOp` runs a row on. */
export function elementwiseSamples(op: Op, record: IntrinsicRecord): Sample[] {
  const apply = (...inputs: Tensor[]): Tensor => elementwise(op, inputs);
  const shapes =
    record.arity === 1
      ? [[[5]], [[2, 3, 4]], [[1, 1]], [[]], [[0, 3]]]
      : [
          [[5], [5]],
          [[1], [1, 1]],
          [[2, 3], [3]],
          [
            [4, 1, 3],
            [2, 1],
          ],
          [[], [2, 2]],
          [
            [0, 3],
            [1, 3],
          ],
        ];
  // what differs in f16 is how elements are stored, in vectors or singly
  const halfShapes =
    record.arity === 1
      ? [[[5]], [[2, 3, 4]]]
      : [
          [[5], [5]],
          [
            [4, 1, 3],
            [2, 1],
          ],
        ];
  const { low = -2, high = 2, derivative } = record;
  return record.accepts.flatMap((dtype) =>
    (dtype === "f16" ? halfShapes : shapes).map((list) => ({
      name: `${dtype} ${list.map(formatShape).join(" ")}`,
      inputs: list.map((shape) =>
        isReal(dtype)
          ? { shape, dtype, low, high }
          : dtype === "i32"
            ? { shape, dtype, low: Math.max(low, -9), high: Math.max(high, 9) }
            : { shape, dtype, low: 0, high: 2 },
      ),
      apply,
      differentiable: derivative !== false && dtype === "f32",
    })),
  );
}

/** @throws DTypeError for anything but tensors and numbers. */
export function assertOperands(name: string, operands: readonly unknown[]): void {
  for (const x of operands)
    if (!(x instanceof Tensor) && typeof x !== "number")
      throw new DTypeError(
        `${name}: expected a tensor or a number, got ${describeValue(x)}${Array.isArray(x) || ArrayBuffer.isView(x) ? "; make a tensor of it with tensor(...)" : "; check the arguments"}`,
      );
}

/** Makes numbers constants of the tensors' type and broadcasts all operands to one shape. */
export function elementwise(op: Op, operands: readonly Operand[]): Tensor {
  assertOperands(op.name, operands);
  const tensors = operands.filter((x) => x instanceof Tensor);
  const dtype = tensors[0]?.dtype ?? "f32";
  const shape = tensors.map((x) => x.shape).reduce((a, b) => broadcastShapes(a, b, op.name), []);
  const inputs = operands.map((x) => {
    if (typeof x === "number") {
      if (!isReal(dtype) && !Number.isInteger(x))
        throw new DTypeError(
          `${op.name}: expected an integer beside an ${dtype} tensor, got ${x}; cast the tensor to f32 first`,
        );
      return full(shape, x, dtype);
    }
    return sameShape(x.shape, shape) ? x : broadcastTo(x, shape);
  });
  return callOp(op, inputs)[0]!;
}
