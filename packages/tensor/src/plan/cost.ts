/** Work and compulsory memory traffic of a plan's steps: what the time of a kernel is measured against. */
import { nodesOf, product, roots } from "../ir/simplify.js";
import type { DType } from "../graph/dtype.js";
import type { KernelAttributes, KernelCost } from "../graph/kernel.js";
import type { LoopKernel, Scalar } from "../ir/loop.js";
import type { ScanKernel } from "../ir/scan-kernel.js";
import { sizeOf } from "../graph/shape.js";
import { sortCalls } from "../graph/calls.js";
import type { Call } from "../graph/tensor.js";
import { elementwiseRecords, intrinsics } from "../ops/elementwise-rows.js";
import type { SequentialScanAttributes } from "../ops/sequential-scan.js";
import { matmulSpecOf } from "./matmul-spec.js";
import type { NativeCall, Slot, Step } from "./plan.js";

/** Bytes of an element, as the plan stores it. */
const widthOf = ({ dtype }: { readonly dtype: DType }): number => (dtype === "f16" ? 2 : 4);
/** Choices, comparisons and changes of type are no arithmetic. */
const isFree = (node: Scalar): boolean => !("args" in node) || intrinsics[node.op].cost === "free";

/**
 * What a step computes (floating-point operations; a transcendental function counts as one) and must read and write
 * once (bytes), whatever the program does: of partial sums, what their sum takes. The backward program of a kernel record counts as twice its forward one.
 */
export function costOf(step: Step, slots: readonly Slot[]): KernelCost {
  const partsOf = (slot: number): number => slots[slot]!.parts ?? 1;
  if (step.kind === "loop") return loopCost(step.kernel, step.inputs.map(partsOf));
  const bytes = [...new Set([...step.inputs, ...step.outputs])].reduce(
    (sum, slot) => sum + (widthOf(slots[slot]!) * slots[slot]!.size) / partsOf(slot),
    0,
  );
  if (step.kind === "scan") return { flops: scanFlops(step.kernel), bytes };
  return nativeCost(step.call, bytes);
}

const operations = (values: readonly Scalar[]): number =>
  [...nodesOf(values)].filter((node) => node.dtype === "f32" && !isFree(node)).length;

function loopCost(kernel: LoopKernel, parts: readonly number[]): KernelCost {
  const { extents, reduceExtents, reductions, outputs, inputs } = kernel;
  const points = product(extents);
  const reduced = reductions.length === 0 ? 0 : points * product(reduceExtents);
  const all = [...extents, ...reduceExtents];
  /** By input, elements that its loads reach. */
  const read = new Map<number, number>();
  for (const node of nodesOf(roots(kernel))) {
    if (node.op !== "load") continue;
    const { size } = inputs[node.input]!;
    const distinct = node.gather ? all : all.filter((_, axis) => node.index.coefficients[axis] !== 0);
    read.set(node.input, Math.min(size, (read.get(node.input) ?? 0) + product(distinct)));
  }
  // Outputs of a row kernel may have an element for every point of the row.
  const along = outputs.filter(({ index }) => index);
  const alone = outputs.filter(({ index }) => !index);
  const computed = [
    { count: points, of: alone },
    { count: points * product(reduceExtents), of: along },
  ];
  return {
    flops:
      computed.reduce((sum, { count, of }) => sum + count * operations(of.map((o) => o.value)), 0) +
      reduced * (operations(reductions.map((r) => r.value)) + reductions.length),
    bytes:
      [...read].reduce((sum, [input, count]) => sum + (widthOf(inputs[input]!) * count) / parts[input]!, 0) +
      computed.reduce((sum, { count, of }) => sum + count * of.reduce((bytes, o) => bytes + widthOf(o), 0), 0),
  };
}

/** Two operations a step of a real recurrence, eight of a complex one, for each direction. */
function scanFlops({ extents, decay, drive, initial, adjoint, sums, outputs }: ScanKernel): number {
  const values = [
    ...decay,
    ...drive,
    ...(initial ?? []),
    ...(adjoint?.seed ?? []),
    ...sums.filter((s) => !s.of).map((s) => s.value),
    ...outputs.map((o) => o.value),
  ];
  return product(extents) * (operations(values) + sums.length + (decay.length === 2 ? 8 : 2) * (adjoint ? 2 : 1));
}

/** Of a call in the step of a recurrence. */
function callFlops({ op, inputs, outputs }: Call): number {
  const out = sizeOf(outputs[0]!.shape);
  if (op.name === "matmul") return 2 * out * inputs[0]!.shape.at(-1)!;
  if (op.rule.kind === "reduce") return sizeOf(inputs[0]!.shape);
  const record = op.rule.kind === "elementwise" ? elementwiseRecords[op.name] : undefined;
  return record && record.cost !== "free" ? out : 0;
}

function nativeCost(call: NativeCall, bytes: number): KernelCost {
  const out = sizeOf(call.outputs[0]!.shape);
  switch (call.op) {
    case "matmul": {
      const { batch, m, n, k } = matmulSpecOf(call);
      return { flops: 2 * product(batch) * m * n * k, bytes };
    }
    case "cumsum":
      return { flops: out, bytes };
    case "linearScan":
      return { flops: 2 * out, bytes };
    case "sequentialScan": {
      const { body, length } = call.attributes as SequentialScanAttributes;
      return { flops: length * sortCalls(body.results).reduce((sum, each) => sum + callFlops(each), 0), bytes };
    }
    case "scatterAdd":
      return { flops: sizeOf(call.inputs[0]!.shape), bytes };
    default: {
      const { record, kase, gradient } = call.attributes as KernelAttributes & { readonly gradient: boolean };
      const { flops } = record.cost(kase.dims, kase.options);
      return { flops: gradient ? 2 * flops : flops, bytes };
    }
  }
}
