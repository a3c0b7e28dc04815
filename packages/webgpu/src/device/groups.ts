/**
 * Which kernels run together: loops that do not wait for each other, and of which none makes room for what runs between them.
 * The update of one parameter is a kernel of microseconds; those of a hundred are a few dispatches.
 */
import type { Plan, Step } from "@seqmix/tensor/backend";
import { bytesOf, type GpuProgram } from "@seqmix/tensor/wgsl";
import { canRunTogether } from "../loops/together.js";

/** Kernels of a group, and bytes between kernels that a group may keep longer than its kernels alone would. */
const MOST_KERNELS = 64,
  MOST_HELD = 1 << 25;

export interface Grouped {
  readonly plan: Plan;
  readonly programs: readonly GpuProgram[];
  /** By step, the number of its group, in their order: steps of a group follow each other. */
  readonly groups: readonly number[];
}

interface Open {
  readonly steps: number[];
  readonly made: Set<number>;
  held: number;
}

/** Waits with a kernel that could run together with others, until somebody reads what one of them makes. */
export function groupSteps(plan: Plan, programs: readonly GpuProgram[]): Grouped {
  const { steps, slots, leafCount } = plan;
  const lastUse = new Map<number, number>();
  steps.forEach(({ inputs, outputs }, k) => {
    for (const slot of [...inputs, ...outputs]) lastUse.set(slot, k);
  });
  const isRoot = new Set(plan.roots);
  /** Bytes that would be free behind a step. */
  const heldBy = (step: Step, k: number): number =>
    [...new Set(step.inputs)]
      .filter((slot) => slot >= leafCount && !isRoot.has(slot) && lastUse.get(slot) === k)
      .reduce((sum, slot) => sum + bytesOf(slots[slot]!.size, slots[slot]!.dtype), 0);
  const order: number[][] = [];
  const open = new Map<number, Open>();
  const close = (key: number): void => {
    order.push(open.get(key)!.steps);
    open.delete(key);
  };
  steps.forEach((step, k) => {
    const { passes } = programs[k]!;
    for (const [key, { made }] of open) if (step.inputs.some((slot) => made.has(slot))) close(key);
    const held = heldBy(step, k);
    const alone = step.kind !== "loop" || passes.length === 0 || held > MOST_HELD || !passes.every(canRunTogether);
    if (alone) return void order.push([k]);
    let group = open.get(passes.length);
    if (group && (group.steps.length >= MOST_KERNELS || group.held + held > MOST_HELD)) {
      close(passes.length);
      group = undefined;
    }
    if (!group) open.set(passes.length, (group = { steps: [], made: new Set(), held: 0 }));
    group.steps.push(k);
    group.held += held;
    for (const slot of step.outputs) group.made.add(slot);
  });
  for (const key of open.keys()) close(key);
  const flat = order.flat();
  return {
    plan: { ...plan, steps: flat.map((k) => steps[k]!) },
    programs: flat.map((k) => programs[k]!),
    groups: order.flatMap((group, number) => group.map(() => number)),
  };
}
