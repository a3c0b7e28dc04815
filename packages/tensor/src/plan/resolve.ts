/** The graph that is planned: marks looked through, and other graphs in the place of calls that have no program here. */
import { callOf, sortCalls } from "../graph/calls.js";
import { inputsRead } from "../graph/op.js";
import { callOp, type Call, type Tensor } from "../graph/tensor.js";
import type { Planning } from "./planning.js";
import { isReasons, noteReasons, variantFor } from "./variants.js";
import { isScan, isScanGradient, levelOf } from "./scan-levels.js";

/** Inputs of a `concat` that one kernel puts together. */
const MOST_JOINED = 32;
const MARKS = new Set(["identity", "stopGradient", "checkpoint"]);

export function resolveGraph(planning: Planning): Planning {
  const known = new Map<Tensor, Tensor>();
  const resolve = (x: Tensor): Tensor => {
    const passed: Tensor[] = [];
    let end = known.get(x);
    for (let current = x; !end; end = known.get(current)) {
      passed.push(current);
      const next = standIn(current, planning);
      if (!next) {
        end = current;
        break;
      }
      current = next;
    }
    for (const each of passed) known.set(each, end);
    return end;
  };
  const roots = planning.asked.map(resolve);
  const calls = sortCalls(roots, (call) => inputsRead(call).map(resolve));
  return { ...planning, roots, isRoot: new Set(roots), resolve, calls, users: usersOf(calls, resolve) };
}

/** The tensor that stands directly for another, if one does. */
function standIn(x: Tensor, planning: Planning): Tensor | undefined {
  const call = callOf(x);
  if (!call) return undefined;
  if (MARKS.has(call.op.name)) return call.inputs[0]!;
  const { replaced } = planning.replacements;
  const make = replaced.has(call) ? () => replaced.get(call)! : replacementOf(call, planning);
  if (!make) return undefined;
  const graph = make();
  replaced.set(call, graph);
  return graph[(x.source as { index: number }).index]!;
}

/** How to make the graph in a call's place; undefined for a call that is planned as it is. */
function replacementOf(
  call: Call,
  { options, decisions, replacements: { expansions, pieces, notes } }: Planning,
): (() => readonly Tensor[]) | undefined {
  const { rule, expand } = call.op;
  const { fuse, scans } = options;
  if (rule.kind === "kernel") {
    const choice = fuse ? variantFor(call, options) : [];
    if (!isReasons(choice)) return undefined;
    if (fuse) noteReasons(call, choice, options, notes);
    return () => rule.expand(call, expansions);
  }
  if (rule.kind === "concat" && call.inputs.length > MOST_JOINED) return () => [inPieces(call, pieces)];
  if (options.natives?.has(call.op.name)) return undefined;
  const fusible = scans !== undefined && (isScan(call) || isScanGradient(call));
  return expand && (!fusible || levelOf(call, decisions, fuse) === "refused")
    ? () => expand(call.inputs, call.attributes)
    : undefined;
}

/** A `concat` of many inputs as one of few, each put together before and with memory of its own. */
function inPieces({ op, inputs, attributes }: Call, pieces: Set<Tensor>): Tensor {
  let level = inputs;
  while (level.length > MOST_JOINED) {
    const joined: Tensor[] = [];
    for (let k = 0; k < level.length; k += MOST_JOINED) {
      const piece = callOp(op, level.slice(k, k + MOST_JOINED), attributes)[0]!;
      pieces.add(piece);
      joined.push(piece);
    }
    level = joined;
  }
  return callOp(op, level, attributes)[0]!;
}

/** The calls that read each tensor that comes from a call. */
function usersOf(calls: readonly Call[], resolve: (x: Tensor) => Tensor): Map<Tensor, Call[]> {
  const users = new Map<Tensor, Call[]>();
  for (const call of calls)
    for (const x of new Set(inputsRead(call).map(resolve))) {
      if (!callOf(x)) continue;
      const list = users.get(x);
      if (list) list.push(call);
      else users.set(x, [call]);
    }
  return users;
}
