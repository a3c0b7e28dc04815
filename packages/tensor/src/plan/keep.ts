/** Tensors that have memory whatever is fused: roots, operands and results of programs, tables that are gathered from. */
import { callOf } from "../graph/calls.js";
import type { Tensor } from "../graph/tensor.js";
import type { Planning } from "./planning.js";
import { isFusedScan } from "./scan-levels.js";
import { isViewOf, READS_VIEWS } from "./views.js";

export function keepMemory(planning: Planning): Planning {
  const { roots, calls, resolve, decisions, options, replacements } = planning;
  const kept = new Set<Tensor>();
  const keep = (x: Tensor): void => {
    if (callOf(x)) kept.add(x);
  };
  for (const x of [...roots, ...decisions.forced]) keep(x);
  for (const call of calls) {
    const { kind } = call.op.rule;
    if (replacements.pieces.has(call.outputs[0]!)) keep(call.outputs[0]!);
    if (options.scans && isFusedScan(call, decisions, options.fuse)) continue;
    if (kind === "native" || kind === "kernel") {
      call.outputs.forEach(keep);
      const behind = !READS_VIEWS.has(call.op.name)
        ? behindReshapes
        : (options.computedAgain ?? 0) > 0
          ? behindStrides
          : behindMovements;
      for (const input of call.inputs) keep(behind(resolve(input), resolve));
    }
    if (kind === "gather") keep(resolve(call.inputs[0]!));
  }
  return { ...planning, kept };
}

/** The tensor behind reshapes, which native programs read in place. */
function behindReshapes(x: Tensor, resolve: (x: Tensor) => Tensor): Tensor {
  let current = x;
  for (let call = callOf(current); call?.op.name === "reshape"; call = callOf(current))
    current = resolve(call.inputs[0]!);
  return current;
}

/** The tensor behind movements. */
function behindMovements(x: Tensor, resolve: (x: Tensor) => Tensor): Tensor {
  let current = x;
  for (
    let call = callOf(current);
    call && call.op.rule.kind === "movement" && call.op.name !== "pad";
    call = callOf(current)
  )
    current = resolve(call.inputs[0]!);
  return current;
}

/**
 * The tensor behind movements that only change strides. Where a reshape does more, its result has memory in any case: what is
 * behind it is computed in that order at once, instead of being stored twice.
 */
function behindStrides(x: Tensor, resolve: (x: Tensor) => Tensor): Tensor {
  const base = behindMovements(x, resolve);
  let behind = x;
  for (let current = x; current !== base; current = resolve(callOf(current)!.inputs[0]!)) {
    if (callOf(current)!.op.name !== "reshape") continue;
    if (current !== x && !isViewOf(x, current, resolve)) return behind;
    behind = current;
  }
  return base === x || isViewOf(x, base, resolve) ? base : behind;
}
