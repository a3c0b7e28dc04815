/**
 * For packages that bring a device: the planner, the kernel IR with its simplifications, and placement of leaves.
 *
 * @packageDocumentation
 */
export type { RunOptions } from "./devices/device.js";
export type * from "./ir/loop.js";
export type * from "./ir/scan-kernel.js";
export type { Graph } from "./plan/signature.js";
export { makePlan } from "./plan/planner.js";
export { describePeak, showPasses } from "./plan/show.js";
export type { NativeCall, Plan, Slot, Step } from "./plan/plan.js";
export type { NativeOperand, PlanOptions } from "./plan/draft.js";
export type { ScanSupport } from "./plan/scan-draft.js";
export { mayRecur } from "./plan/scan-levels.js";
export { scanPasses, type ScanPasses } from "./plan/scan-passes.js";
export type { Epilogue } from "./plan/matmul-epilogue.js";
export { matmulSpecOf, type MatmulSpec } from "./plan/matmul-spec.js";
export { costOf } from "./plan/cost.js";
export { storedInF32 } from "./plan/half-storage.js";
export { fromHalfBits, toHalfBits } from "./graph/half.js";
export { firstOfSlots, takeovers } from "./plan/donation.js";
export { isRowMajor } from "./ir/affine.js";
export { beside, guard } from "./ir/loop.js";
export { isAtMostOne } from "./ir/decay-size.js";
export { checked, checkLoop, chunkChecks } from "./ir/chunk-checks.js";
export { bufferOn } from "./devices/placement.js";
export { onDemand, whenLoaded } from "./graph/on-demand.js";
export { divideReduction } from "./ir/divide-reduction.js";
export { affinesOf, identity, nodesOf, parts, product, roots, simplifyLoop } from "./ir/simplify.js";
export { rewriting } from "./ir/interning.js";
export { isRowKernel, rowStages, stageValues, variesAlongRow, type RowStage } from "./ir/row-stages.js";
export { semiseparable, type OuterProduct, type Semiseparable, type StateSum } from "./ir/semiseparable.js";
export {
  chunkedParts,
  type ChunkedParts,
  type Layout,
  type Operand,
  type OuterOperands,
  type Result,
} from "./ir/chunked-parts.js";
export { interpretLoop, interpretScan, type Numbers } from "./ir/interpreter.js";
export { aroundAxis, type CumsumAttributes } from "./ops/cumsum.js";
export type { SequentialScanAttributes } from "./ops/sequential-scan.js";
export type { LinearScanAttributes } from "./ops/linear-scan.js";
export { chooseVariant, type KernelStep } from "./graph/kernel-variant.js";
export { randomSemiseparable } from "./ir/random-semiseparable.js";
export { elementwiseRecords, intrinsics } from "./ops/elementwise-rows.js";
export { SPECIAL, type IntrinsicRecord } from "./ops/intrinsic.js";
