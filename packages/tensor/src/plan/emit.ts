/** The end of the line: blocks of memory get numbers, and the plan lets go of the graph. */
import { callOf } from "../graph/calls.js";
import type { KernelAttributes } from "../graph/kernel.js";
import type { KernelStep } from "../graph/kernel-variant.js";
import type { Tensor } from "../graph/tensor.js";
import type { LoopKernel } from "../ir/loop.js";
import { readsOf, type Draft, type LoopDraft } from "./draft.js";
import type { NativeCall, Plan, Slot, Step } from "./plan.js";
import type { Planning } from "./planning.js";

export function emitPlan({ drafts, roots, leaves, replacements }: Planning): Plan {
  const slots: Slot[] = [];
  const numbers = new Map<Tensor, number>();
  const constants: { slot: number; tensor: Tensor }[] = [];
  const slotOf = (x: Tensor): number => {
    let slot = numbers.get(x);
    if (slot === undefined) {
      slot = slots.push(slotFor(x)) - 1;
      numbers.set(x, slot);
      if (!callOf(x) && slot >= leaves.length) constants.push({ slot, tensor: x });
    }
    return slot;
  };
  leaves.forEach(slotOf);
  const steps = drafts.map((draft) => stepOf(draft, readsOf(draft).map(slotOf), draft.outputs.map(slotOf)));
  return {
    slots,
    leafCount: leaves.length,
    constants,
    steps,
    roots: roots.map(slotOf),
    notes: [...replacements.notes],
  };
}

function slotFor(x: Tensor): Slot {
  const line = callOf(x)?.line;
  return { dtype: x.dtype, size: x.size, shape: x.shape, ...(line !== undefined && { line }) };
}

function stepOf(draft: Draft, inputs: readonly number[], outputs: readonly number[]): Step {
  if (draft.kind === "native") {
    const { op, attributes } = draft.call;
    const call: NativeCall = {
      op: op.name,
      attributes: withoutGraph(attributes, draft.rounded),
      inputs: draft.operands,
      outputs: draft.call.outputs.map(({ shape, dtype }, k) => ({
        shape,
        dtype: draft.rounded ? draft.outputs[k]!.dtype : dtype,
      })),
      ...(draft.epilogue && { epilogue: draft.epilogue }),
    };
    return { kind: "native", name: nameOf(draft), call, inputs, outputs };
  }
  if (draft.kind === "scan") return { kind: "scan", name: nameOf(draft), kernel: draft.kernel, inputs, outputs };
  const { extents, reduceExtents, reductions, outputs: results } = draft.lowered;
  const kernel: LoopKernel = {
    extents,
    reduceExtents,
    reductions,
    outputs: results,
    inputs: draft.lowered.inputs.map(({ dtype, size }) => ({ dtype, size })),
  };
  return { kind: "loop", name: nameOf(draft), kernel, inputs, outputs };
}

/** A gradient's attributes lead to its forward call and so to the whole graph: keep that it is one, drop the call. */
function withoutGraph(attributes: unknown, rounded: ReadonlySet<string> | undefined): unknown {
  const kernel = attributes as Partial<KernelAttributes> | undefined;
  if (!kernel?.record || !kernel.kase) return attributes;
  const kase = rounded ? { ...kernel.kase, rounded } : kernel.kase;
  return { record: kernel.record, kase, gradient: kernel.forward !== undefined } satisfies KernelStep;
}

/** What a kernel stores, as `explain` prints it: "exp+mul+sum" are the ops of its results. */
export function nameOf(draft: Draft): string {
  if (draft.kind === "loop") return loopName(draft);
  if (draft.kind === "scan") return draft.name;
  const { op, attributes } = draft.call;
  const name =
    op.rule.kind === "kernel"
      ? (attributes as KernelAttributes).record.name + (op.name === "kernelGradient" ? " backward" : "")
      : op.name;
  return draft.note
    ? `${name} (${draft.note})`
    : draft.epilogue
      ? `${name}>${callOf(draft.outputs[0]!)!.op.name}`
      : name;
}

function loopName({ outputs, reductions }: LoopDraft): string {
  const results = outputs.map((x) => callOf(x)!.op.name).join("+");
  const inner = reductions.map((call) => call.op.name).join("+");
  return inner === "" || inner === results ? results : `${inner}>${results}`;
}
