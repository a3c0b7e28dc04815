/** x^y of real numbers. */
import { elementwise, elementwiseRow, type Operand } from "./elementwise-row.js";
import { log, mul, sub } from "./elementwise.js";
import { SINGLE, type IntrinsicRecord } from "./intrinsic.js";
import type { Intrinsic, Scalar } from "../ir/loop.js";
import type { Op } from "../graph/op.js";
import type { Tensor } from "../graph/tensor.js";

const record: IntrinsicRecord = {
  arity: 2,
  accepts: SINGLE,
  cost: "dear",
  // the rounding of y log x, up to 6 in the samples, is that of the exponential's argument
  ulp: 30,
  low: 0.2,
  high: 4,
  number: (x, y) => x ** y,
  // by x^(y - 1): x^y over x would be 0 / 0 at 0, and infinite where x^y alone is
  derivative: (g, [x, y], out) => [mul(g, mul(y!, powerOf(x!, sub(y!, 1)))), mul(g, mul(out, log(x!)))],
};

/** e^(y log x). */
const row: Op = elementwiseRow("power", record, ([x, y]) => {
  const f = (op: Intrinsic, ...args: Scalar[]): Scalar => ({ op, dtype: "f32", args });
  return f("exp", f("mul", y!, f("log", x!)));
});

/** x^y of f32 numbers, x at least 0 and y other than 0. @internal */
export const powerOf = Object.assign((x: Tensor, y: Operand): Tensor => elementwise(row, [x, y]), { record, row });
