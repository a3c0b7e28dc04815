/** Matrix products of f16 copies, as a transformation of functions: nothing in a layer or a model knows of it. */
import { callOf, sortCalls } from "./calls.js";
import type { CheckpointAttributes } from "./grad.js";
import { kernelOp, type KernelAttributes } from "./kernel.js";
import type { Op } from "./op.js";
import { callOp, Tensor, type Call } from "./tensor.js";
import { leavesOf, replaceLeaves, type Tree } from "./tree.js";
import { cast } from "../ops/elementwise.js";
import { gatherRows } from "../ops/gather.js";
import { matmulRows, type MatmulAttributes } from "../ops/matmul.js";
import { movementRows } from "../ops/movement.js";

/**
 * The same function, but the matrix products of f32 in it are taken of f16 copies, and added up in f32; so are those of its
 * gradient. All else stays f32: parameters, sums, norms, softmax, scans and the loss. Where the device multiplies f16 on
 * matrix units that is several times as fast. Gradients below 6e-8 are lost in f16 and those above 65504 infinite, so scale
 * the loss, as `trainer({ halfPrecision: true })` does. Compositions inside kernel records and steps of `sequentialScan`
 * are left as they are.
 *
 * @param f Takes anything, trees of tensors among it, and returns a tree of tensors.
 */
export function autocast<A extends readonly unknown[], R extends Tree>(f: (...args: A) => R): (...args: A) => R {
  return (...args) => {
    const given = new Set<Tensor>();
    args.forEach((each) => collect(each, given));
    const result = f(...args);
    const leaves = leavesOf(result);
    const instead = inHalf(leaves, given);
    return replaceLeaves(result, leaves.map(instead)) as R;
  };
}

function collect(value: unknown, into: Set<Tensor>): void {
  if (value instanceof Tensor) into.add(value);
  else if (typeof value === "object" && value !== null) for (const each of Object.values(value)) collect(each, into);
}

/** What stands for each tensor behind `roots`, down to those given. */
function inHalf(roots: readonly Tensor[], given: ReadonlySet<Tensor>): (x: Tensor) => Tensor {
  const isGiven = (call: Call): boolean => call.outputs.some((x) => given.has(x));
  const made = new Map<Tensor, Tensor>();
  const halves = new Map<Tensor, Tensor>();
  const instead = (x: Tensor): Tensor => made.get(x) ?? x;
  const half = (x: Tensor): Tensor => {
    let copy = halves.get(x);
    if (!copy) halves.set(x, (copy = halfOf(x)));
    return copy;
  };
  for (const call of sortCalls(roots, (each) => (isGiven(each) ? [] : each.inputs))) {
    if (isGiven(call)) continue;
    const inputs = call.inputs.map(instead);
    const again = rebuilt(call, inputs, half);
    again?.forEach((x, k) => made.set(call.outputs[k]!, x));
  }
  return instead;
}

/** The f16 numbers of a tensor; those it was made of, if it was f16 before. */
const halfOf = (x: Tensor): Tensor => beforeWidening(x) ?? cast(x, "f16");

/** The f16 tensor that a tensor has the numbers of. */
function beforeWidening(x: Tensor): Tensor | undefined {
  const call = callOf(x);
  return call?.op.name === "cast" && call.inputs[0]!.dtype === "f16" ? call.inputs[0] : undefined;
}

/** Ops that take numbers from where they are: of f16 they are done in f16, so that no wider copy of a whole table is made. */
const MOVING: ReadonlySet<Op> = new Set<Op>([
  movementRows.permute,
  movementRows.reshape,
  movementRows.slice,
  gatherRows.gather,
]);

/** The result of a call that only moves what was f16 before, widened behind it. */
function movedInHalf({ op, attributes }: Call, [x, ...others]: readonly Tensor[]): readonly Tensor[] | undefined {
  const narrow = MOVING.has(op) && x ? beforeWidening(x) : undefined;
  return narrow && [cast(callOp(op, [narrow, ...others], attributes)[0]!, "f32")];
}

/** The results of a kernel record that takes as f16 what was f16 before. */
function recordOfHalves({ op, attributes }: Call, inputs: readonly Tensor[]): readonly Tensor[] | undefined {
  if (op !== kernelOp) return undefined;
  const { record, kase } = attributes as KernelAttributes;
  const names = [...kase.present];
  const narrow = inputs.map((x, k) => (record.halves?.includes(names[k]!) ? beforeWidening(x) : undefined));
  if (narrow.every((x) => x === undefined)) return undefined;
  const halves = new Set([...kase.halves, ...names.filter((_, k) => narrow[k])]);
  const given = inputs.map((x, k) => narrow[k] ?? x);
  return callOp(op, given, { record, kase: { ...kase, halves } } satisfies KernelAttributes);
}

/** The results of a call of other inputs, or of a product in f16; undefined if nothing changes. */
function rebuilt(call: Call, inputs: readonly Tensor[], half: (x: Tensor) => Tensor): readonly Tensor[] | undefined {
  if (call.op === matmulRows.matmul && inputs[0]!.dtype === "f32")
    return callOp(call.op, inputs.map(half), { cotangents: "f16" } satisfies MatmulAttributes);
  const moved = movedInHalf(call, inputs) ?? recordOfHalves(call, inputs);
  if (moved) return moved;
  if (inputs.every((x, k) => x === call.inputs[k])) return undefined;
  if (call.op.name !== "checkpoint") return callOp(call.op, inputs, call.attributes);
  const { recompute, index } = call.attributes as CheckpointAttributes;
  const again = (leaves: readonly Tensor[]): readonly Tensor[] => autocast(recompute as never)(leaves) as never;
  return callOp(call.op, inputs, { recompute: again, index } satisfies CheckpointAttributes);
}
