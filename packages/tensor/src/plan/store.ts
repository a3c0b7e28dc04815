/**
 * Which tensors have memory: beside what is kept anyway, results of reductions (with the elementwise tail computed behind
 * them), and elementwise values that several kernels use or that a broadcast would compute many times over.
 */
import { callOf } from "../graph/calls.js";
import { BYTES_PER_ELEMENT } from "../graph/dtype.js";
import { inputsRead } from "../graph/op.js";
import type { Call, Tensor } from "../graph/tensor.js";
import { computedAgain } from "./computed-again.js";
import { inOnePlace } from "./one-place.js";
import { outgrownValues } from "./outgrown.js";
import type { Planning } from "./planning.js";
import { sumsSoFar } from "./sums-of-products.js";
import { ownWork } from "./work.js";

/** A value made of constants and positions by at most this much work is computed again at each use. */
const CHEAP = 8;
/** Calls behind a reduction that its kernel computes. */
const LONGEST_TAIL = 128;
/** Calls looked at before an answer is taken as yes. */
const LOOKED_AT = 1024;

export function storeResults(planning: Planning): Planning {
  const { calls, kept, scans, options } = planning;
  const stored = new Map<Tensor, Call | undefined>(
    [...kept, ...scans.results, ...scans.stored].map((x) => [x, undefined]),
  );
  if (!options.fuse) {
    for (const call of calls)
      for (const x of call.outputs) stored.set(x, call.op.rule.kind === "reduce" ? call : undefined);
    return { ...planning, stored };
  }
  // Nothing of a scan step is computed elsewhere.
  const claimed = new Set<Tensor>([...scans.inside, ...scans.results]);
  const sums = sumsSoFar(planning, claimed);
  for (const x of sums) stored.set(x, undefined);
  for (const call of calls) {
    if (call.op.rule.kind !== "reduce" || scans.calls.has(call)) continue;
    const top = reductionTail(call.outputs[0]!, planning, claimed, stored);
    claimed.add(top);
    stored.set(top, call);
  }
  const weights = weigh(calls, planning.resolve);
  const open = usedOften(planning, weights).filter((x) => !stored.has(x) && !claimed.has(x));
  const inOne = inOnePlace(calls, planning.users, new Set(open), (x) => stored.has(x) || claimed.has(x));
  // Random numbers are much work, and are no readings spared.
  const often = open.filter((x) => !inOne.has(x) || weights.get(x)! < Infinity);
  const again = computedAgain(
    calls,
    planning.resolve,
    new Set(often),
    (x) => stored.has(x) || claimed.has(x),
    options.computedAgain ?? 0,
    (x) => BYTES_PER_ELEMENT * x.size <= (options.maxBindingBytes ?? Infinity) && !isSpread(x, planning.users),
    (x) => readsOf(x, planning).some((call) => scans.calls.has(call) || call.outputs.some((y) => scans.inside.has(y))),
    options.besideSmall,
  );
  for (const x of often) if (!again.has(x)) stored.set(x, undefined);
  return { ...planning, stored, claimed, sums };
}

/** Values computed elementwise that several kernels use, or a broadcast, and that are too much work to compute at each use; last first. */
function usedOften({ calls, resolve, users }: Planning, weights: ReadonlyMap<Tensor, number>): Tensor[] {
  const outgrown = outgrownValues(calls, resolve, (x) => isUsedOften(x, users));
  const often: Tensor[] = [];
  for (let k = calls.length - 1; k >= 0; k--) {
    const call = calls[k]!;
    const { kind } = call.op.rule;
    if (kind !== "elementwise" && kind !== "concat" && kind !== "gather") continue;
    const x = call.outputs[0]!;
    if (weights.get(x)! > CHEAP && !outgrown.has(x) && isUsedOften(x, users)) often.push(x);
  }
  return often;
}

/** Whether a broadcast spreads x, movements looked through. */
function isSpread(x: Tensor, users: ReadonlyMap<Tensor, readonly Call[]>): boolean {
  const stack = [x];
  while (stack.length > 0) {
    const y = stack.pop()!;
    for (const { op, outputs } of users.get(y) ?? []) {
      if (op.rule.kind !== "movement") continue;
      if (op.name === "broadcast" && outputs[0]!.size > y.size) return true;
      stack.push(outputs[0]!);
    }
  }
  return false;
}

/** Work behind values made of constants and positions alone; infinity for anything that reads memory. */
function weigh(calls: readonly Call[], resolve: (x: Tensor) => Tensor): Map<Tensor, number> {
  const weights = new Map<Tensor, number>();
  for (const call of calls) {
    const inputs = inputsRead(call).map((x) => weights.get(resolve(x)) ?? Infinity);
    const weight = inputs.reduce((a, b) => a + b, ownWork(call));
    for (const x of call.outputs) weights.set(x, weight);
  }
  return weights;
}

/** The calls that read x, movements looked through. */
function readsOf(x: Tensor, { users }: Planning): readonly Call[] {
  const found: Call[] = [];
  const stack = [x];
  while (stack.length > 0)
    for (const call of users.get(stack.pop()!) ?? [])
      if (call.op.rule.kind === "movement") stack.push(call.outputs[0]!);
      else found.push(call);
  return found;
}

/** Whether several calls use x, movements looked through, or a broadcast spreads it. */
function isUsedOften(x: Tensor, users: ReadonlyMap<Tensor, readonly Call[]>): boolean {
  let reader: Call | undefined;
  const stack = [x];
  while (stack.length > 0) {
    const y = stack.pop()!;
    for (const call of users.get(y) ?? []) {
      if (call.op.rule.kind === "movement") {
        const z = call.outputs[0]!;
        if (call.op.name === "broadcast" && z.size > y.size) return true;
        stack.push(z);
      } else if (reader && reader !== call) return true;
      else reader = call;
    }
  }
  return false;
}

/** Follows a reduction's result through elementwise calls that nothing else uses; they are computed in its kernel. */
function reductionTail(
  start: Tensor,
  { users, isRoot, resolve, options }: Planning,
  claimed: Set<Tensor>,
  stored: ReadonlyMap<Tensor, unknown>,
): Tensor {
  let top = start;
  let current = start;
  const passed: Tensor[] = [];
  while (passed.length < LONGEST_TAIL && !isRoot.has(current) && !stored.has(current)) {
    const next = users.get(current);
    if (next?.length !== 1) break;
    const call = next[0]!;
    const y = call.outputs[0]!;
    if (claimed.has(y)) break;
    if (call.op.name === "reshape") {
      current = y;
      passed.push(y);
      continue;
    }
    if (call.op.rule.kind !== "elementwise" || y.size !== current.size) break;
    // Another reduction computed in place would make two in one kernel.
    const others = inputsRead(call)
      .map(resolve)
      .filter((x) => x !== current);
    if (others.some((x) => isBehindReduction(x, stored, resolve))) break;
    // Sums that are added up would wait for each other, where all of them could run at once.
    if (options.together && current.size === 1 && others.some((x) => isBehindReduction(x, NONE, resolve))) break;
    passed.push(y);
    current = y;
    top = y;
  }
  for (const x of passed) claimed.add(x);
  return top;
}

const NONE: ReadonlyMap<Tensor, unknown> = new Map();

/** Whether x is computed in place from a reduction that has no memory yet. */
function isBehindReduction(x: Tensor, stored: ReadonlyMap<Tensor, unknown>, resolve: (x: Tensor) => Tensor): boolean {
  const seen = new Set<Tensor>();
  const stack = [x];
  while (stack.length > 0) {
    const y = stack.pop()!;
    const call = callOf(y);
    if (!call || stored.has(y) || seen.has(y)) continue;
    seen.add(y);
    const { kind } = call.op.rule;
    if (kind === "reduce" || seen.size > LOOKED_AT) return true;
    if (kind === "native" || kind === "kernel") continue;
    for (const input of inputsRead(call)) stack.push(resolve(input));
  }
  return false;
}
