/** Which calls are recurrences, and how much of what is around them their steps take in. */
import { sortCalls } from "../graph/calls.js";
import type { Call, Tensor } from "../graph/tensor.js";
import type { Decisions, ScanLevel } from "./decisions.js";

export const isScan = (call: Call): boolean => call.op.name === "linearScan" || call.op.name === "complexLinearScan";
export const isScanGradient = (call: Call): boolean =>
  call.op.name === "linearScanGradient" || call.op.name === "complexLinearScanGradient";

export const levelOf = (call: Call, { levels }: Pick<Decisions, "levels">, fuse: boolean): ScanLevel =>
  levels.get(call)?.level ?? (fuse ? (isScan(call) ? "recompute" : "stored") : "bare");

/** Whether a graph may have recurrences: they stand in it, or in the reference of a kernel record. */
export const mayRecur = (roots: readonly Tensor[]): boolean =>
  sortCalls(roots).some(({ op }) => op.rule.kind === "kernel" || /scan/i.test(op.name));

/** Whether the call becomes a scan step that may compute its operands itself. */
export function isFusedScan(call: Call, decisions: Decisions, fuse: boolean): boolean {
  const level = isScan(call) || isScanGradient(call) ? levelOf(call, decisions, fuse) : "refused";
  return level === "recompute" || level === "stored";
}
