/** Lowering of scan steps that notes what has to be otherwise before it can be done. */
import { callOf } from "../graph/calls.js";
import type { Call, Tensor } from "../graph/tensor.js";
import type { SplitRequest } from "../ir/affine.js";
import { force, type OpenDecisions } from "./decisions.js";
import { NeedsMemory, NeedsSplit, splitParts, type LoweringContext } from "./lower.js";
import { lowerUnit, type LoweredScan, type ScanUnit } from "./scan-lowering.js";
import type { ScanGraph } from "./scan-region.js";

/** Notes that an axis of a recurrence is to be split. */
export function split(
  call: Call,
  parts: readonly (readonly number[])[],
  decisions: OpenDecisions,
  request: SplitRequest,
): void {
  const finer = parts.map((list) => [...list]);
  splitParts(finer, request);
  decisions.parts.set(call, finer);
}

const IN_PLACE = new Set(["elementwise", "generator", "movement", "concat"]);

/** Whether a tensor has memory if all that can be is computed in the units. */
export const storedAround =
  (results: ReadonlySet<Tensor>, { isKept }: ScanGraph) =>
  (x: Tensor): boolean => {
    const call = callOf(x);
    return !call || isKept(x) || results.has(x) || !IN_PLACE.has(call.op.rule.kind);
  };

/** The unit's kernel, or undefined after a decision was added: axes to split, a tensor to store. */
export function lowerNoting(
  unit: ScanUnit,
  context: LoweringContext,
  decisions: OpenDecisions,
  unstored: ReadonlyMap<Tensor, unknown> = unit.results,
): LoweredScan | undefined {
  try {
    return lowerUnit(unit, context, unstored);
  } catch (request) {
    if (request instanceof NeedsSplit && request.axis !== unit.loop.along)
      split((unit.scan ?? unit.gradient)!, unit.parts, decisions, request);
    else if (request instanceof NeedsSplit || request instanceof NeedsMemory) force(request.tensor, decisions);
    else throw request;
    return undefined;
  }
}
