/** Operands of native programs: views of tensors that have memory. */
import { isRowMajor } from "../ir/affine.js";
import type { Affine } from "../ir/loop.js";
import { stridesOf, type Shape } from "../graph/shape.js";
import { callOf } from "../graph/calls.js";
import type { Call, Tensor } from "../graph/tensor.js";
import type { Draft, NativeOperand, PlanOptions } from "./draft.js";
import { tablesFor } from "./variants.js";
import { lowerLoop, NeedsMemory, tryLowerLoop, type LoweringContext } from "./lower.js";

/** Ops whose native programs read strided views of their operands. */
export const READS_VIEWS: ReadonlySet<string> = new Set(["matmul"]);

/** The kernel of a call that a native program runs. @throws NeedsMemory naming an operand that is no view. */
export function nativeDraft(call: Call, context: LoweringContext, options: PlanOptions, note?: string): Draft {
  const operands: NativeOperand[] = [];
  const sources: Tensor[] = [];
  for (const input of [...call.inputs, ...tablesFor(call, options)]) {
    const x = context.resolve(input);
    const { source, offset, strides } = viewOf(x, context, READS_VIEWS.has(call.op.name));
    sources.push(source);
    operands.push({ shape: x.shape, dtype: x.dtype, offset, strides });
  }
  return { kind: "native", call, operands, sources, outputs: call.outputs, note };
}

/** x as a view of a tensor with memory: any strides, or row-major only. */
function viewOf(
  x: Tensor,
  context: LoweringContext,
  anyStrides: boolean,
): { source: Tensor; offset: number; strides: readonly number[] } {
  if (context.isStored(x)) return { source: x, offset: 0, strides: stridesOf(x.shape) };
  if (x.size === 0) throw new NeedsMemory(x);
  const { extents, parts, inputs, outputs } = lowerLoop([x], [], context);
  const value = outputs[0]!.value;
  if (value.op !== "load" || value.gather) throw new NeedsMemory(x);
  const source = inputs[value.input]!;
  // a cast from f16 is no more than a load
  if (source.dtype !== x.dtype) throw new NeedsMemory(x);
  const strides = joinParts(value.index, extents, parts);
  if (!strides || (!anyStrides && !(isRowMajor(value.index, extents) && source.size === x.size)))
    throw new NeedsMemory(x);
  return { source, offset: value.index.offset, strides };
}

/** Whether x is a strided view of what lies behind movements in front of it. */
export function isViewOf(x: Tensor, source: Tensor, resolve: (x: Tensor) => Tensor): boolean {
  const context = { resolve, isStored: (y: Tensor) => y === source || !callOf(y) };
  const lowered = tryLowerLoop([x], [], context);
  const value = lowered?.outputs[0]!.value;
  return (
    value?.op === "load" && !value.gather && joinParts(value.index, lowered!.extents, lowered!.parts) !== undefined
  );
}

/** One stride per axis, if the parts an axis was split into follow each other evenly. */
function joinParts({ coefficients }: Affine, extents: Shape, parts: readonly number[]): readonly number[] | undefined {
  let first = 0;
  const strides: number[] = [];
  for (const count of parts) {
    const last = first + count - 1;
    for (let k = first; k < last; k++) if (coefficients[k] !== coefficients[k + 1]! * extents[k + 1]!) return undefined;
    strides.push(coefficients[last]!);
    first += count;
  }
  return strides;
}
