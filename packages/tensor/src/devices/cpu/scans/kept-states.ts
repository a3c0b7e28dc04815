/**
 * States handed on from a recurrence to its gradient. A plan that has both as fused steps computes the states in the
 * first and once more in the second, all of them to find the state before each chunk: the first keeps those instead.
 */
import { rewriting } from "../../../ir/interning.js";
import type { ScanKernel } from "../../../ir/scan-kernel.js";
import { structureKey } from "../../../ir/structure-key.js";
import type { Plan, Slot, Step } from "../../../plan/plan.js";
import { keptLayout } from "./fused/kept.js";
import { runsInChunks } from "./recurrence.js";

type ScanStep = Step & { readonly kind: "scan" };

/** The plan with such pairs of steps joined by a buffer of states. */
export function withKeptStates(plan: Plan): Plan {
  const forward = new Map<string, number>();
  const slots: Slot[] = [...plan.slots];
  const steps: Step[] = [...plan.steps];
  plan.steps.forEach((step, k) => {
    if (step.kind !== "scan" || runsInChunks(step.kernel)) return;
    const key = recurrenceOf(step);
    if (step.kernel.adjoint === undefined) {
      if (!forward.has(key)) forward.set(key, k);
      return;
    }
    const first = forward.get(key);
    const layout = first === undefined ? undefined : keptLayout((steps[first] as ScanStep).kernel, step.kernel);
    if (first === undefined || layout === undefined) return;
    const { kept, size } = layout;
    const slot = slots.push({ dtype: "f32", size, shape: [size] }) - 1;
    const before = steps[first] as ScanStep;
    steps[first] = {
      ...before,
      kernel: { ...before.kernel, keptStates: kept },
      outputs: [...before.outputs, slot],
    };
    steps[k] = {
      ...step,
      kernel: { ...step.kernel, keptStates: kept, inputs: [...step.kernel.inputs, { dtype: "f32", size }] },
      inputs: [...step.inputs, slot],
    };
    forward.delete(key);
  });
  return slots.length === plan.slots.length ? plan : { ...plan, slots, steps };
}

/** What a step's states follow from, by the plan's blocks of memory. */
function recurrenceOf({ kernel, inputs }: ScanStep): string {
  const { extents, along, reverse, forgets, decay, drive, initial } = kernel satisfies ScanKernel;
  const bySlot = rewriting(
    (a) => a,
    undefined,
    (node) => (node.op === "load" ? { ...node, input: inputs[node.input]! } : node),
  );
  const states = [decay, drive, initial ?? []].map((values) => values.map(bySlot));
  return structureKey({ extents, along, reverse, forgets, states });
}
