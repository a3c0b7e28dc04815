/** Rows that choose or convert, whose operands differ in type. */
import { isReal, type DType } from "../graph/dtype.js";
import { DTypeError } from "../graph/errors.js";
import type { Op, Samples } from "../graph/op.js";
import { formatShape } from "../graph/shape.js";
import { cast, where } from "./elementwise.js";

/** (bool, T, T) -> T. */
export const whereRow: Op = makeWhere();
/** Any type to the one of the call. */
export const castRow: Op = makeCast();

function makeWhere(): Op {
  return {
    name: "where",
    rule: {
      kind: "elementwise",
      scalar: (args, dtype) => ({ op: "where", dtype, args }),
      number: (c, x, y) => (c ? x! : y!),
      dear: false,
      tolerance: {},
    },
    infer([condition, x, y]) {
      if (condition!.dtype !== "bool")
        throw new DTypeError(
          `where: expected a bool condition, got ${condition!.dtype} ${formatShape(condition!.shape)}; compare it with something`,
        );
      if (x!.dtype !== y!.dtype)
        throw new DTypeError(
          `where: expected branches of one type, got ${x!.dtype} and ${y!.dtype}; convert one with cast`,
        );
      return [{ shape: x!.shape, dtype: x!.dtype }];
    },
    gradient: ({ inputs: [condition] }, [g]) => [undefined, where(condition!, g!, 0), where(condition!, 0, g!)],
  };
}

function makeCast(): Op {
  return {
    name: "cast",
    // f16 is f32 once it is loaded, and rounded as every f16 result
    rule: {
      kind: "elementwise",
      scalar: (args, dtype) => (args[0]!.dtype === dtype ? args[0]! : { op: "cast", dtype, args }),
      number: (x) => x,
      dear: false,
      tolerance: {},
    },
    infer: ([x], attributes) => [{ shape: x!.shape, dtype: (attributes as { dtype: DType }).dtype }],
    gradient: ({ inputs: [x] }, [g]) => [isReal(x!.dtype) && isReal(g!.dtype) ? cast(g!, x!.dtype) : undefined],
  };
}

const bool = { dtype: "bool", low: 0, high: 2 } as const;

/** What `checkOp` runs them on. */
export const whereAndCastSamples = (): Samples<Record<"where" | "cast", Op>> => ({
  where: [
    {
      name: "same shape",
      inputs: [{ shape: [2, 5], ...bool }, { shape: [2, 5] }, { shape: [2, 5] }],
      apply: (c, x, y) => where(c!, x!, y!),
    },
    {
      name: "broadcast condition",
      inputs: [{ shape: [5], ...bool }, { shape: [2, 5] }, { shape: [2, 1] }],
      apply: (c, x, y) => where(c!, x!, y!),
    },
  ],
  cast: [
    {
      name: "f32 to i32 truncates",
      inputs: [{ shape: [9], low: -4, high: 4 }],
      apply: (x) => cast(x!, "i32"),
      differentiable: false,
    },
    { name: "i32 to f32", inputs: [{ shape: [9], dtype: "i32", low: -9, high: 9 }], apply: (x) => cast(x!, "f32") },
    { name: "bool to f32", inputs: [{ shape: [9], dtype: "bool", low: 0, high: 2 }], apply: (x) => cast(x!, "f32") },
    { name: "f32 to bool", inputs: [{ shape: [9] }], apply: (x) => cast(x!, "bool"), differentiable: false },
    {
      name: "f32 to f16 rounds to nearest",
      inputs: [{ shape: [9] }],
      apply: (x) => cast(x!, "f16"),
      differentiable: false,
    },
    { name: "f16 to f32", inputs: [{ shape: [9], dtype: "f16" }], apply: (x) => cast(x!, "f32") },
    {
      name: "f16 to i32 truncates",
      inputs: [{ shape: [9], dtype: "f16", low: -4, high: 4 }],
      apply: (x) => cast(x!, "i32"),
      differentiable: false,
    },
    {
      name: "i32 to f16",
      inputs: [{ shape: [9], dtype: "i32", low: -5000, high: 5000 }],
      apply: (x) => cast(x!, "f16"),
    },
  ],
});
