/**
 * For packages that bring a device: the planner, the kernel IR with its simplifications, and placement of leaves.
 *
 * @packageDocumentation
 */
export type { RunOptions } from "./device.js";
export type * from "./loop.js";
export type * from "./scan-kernel.js";
export type { Graph } from "./plan/signature.js";
export {
  makePlan,
  type NativeCall,
  type NativeOperand,
  type Plan,
  type PlanOptions,
  type Slot,
  type Step,
} from "./plan/plan.js";
export type { ScanSupport } from "./plan/scan-draft.js";
export type { Epilogue } from "./plan/matmul-epilogue.js";
export { matmulSpecOf, type MatmulSpec } from "./plan/matmul-spec.js";
export { costOf } from "./plan/cost.js";
export { storedInF32 } from "./plan/half-storage.js";
export { fromHalfBits, toHalfBits } from "./half.js";
export { takeovers } from "./plan/donation.js";
export { isRowMajor } from "./plan/affine.js";
export { bufferOn } from "./placement.js";
export {
  affinesOf,
  divideReduction,
  identity,
  nodesOf,
  parts,
  product,
  roots,
  simplifyLoop,
} from "./cpu/loop-simplify.js";
export { isRowKernel, rowStages, stageValues, variesAlongRow, type RowStage } from "./cpu/row-stages.js";
export { interpretLoop, interpretScan, type Numbers } from "./plan/scan-interpreter.js";
export { aroundAxis, type CumsumAttributes } from "./ops/cumsum.js";
export type { LinearScanAttributes } from "./ops/linear-scan.js";
