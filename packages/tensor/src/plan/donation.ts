/** Which results may be written over which inputs. */
import type { LoopKernel, Scalar } from "../ir/loop.js";
import { isRowMajor } from "../ir/affine.js";
import type { Plan, Step } from "./plan.js";

/**
 * For each root, the leaf slots whose memory it may take over: of as many elements and bytes, and read for the last time
 * before the root is written, or by the kernel that writes it and only at the element it writes.
 */
export function takeovers({ slots, leafCount, steps, roots }: Plan): readonly (readonly number[])[] {
  const lastRead = new Array<number>(leafCount).fill(-1);
  const maker = new Map<number, number>();
  steps.forEach(({ inputs, outputs }, k) => {
    for (const slot of inputs) if (slot < leafCount) lastRead[slot] = k;
    for (const slot of outputs) maker.set(slot, k);
  });
  return roots.map((root) => {
    const made = maker.get(root);
    if (made === undefined) return [];
    return lastRead.flatMap((read, leaf) => {
      const fits =
        slots[leaf]!.size === slots[root]!.size &&
        (slots[leaf]!.dtype === "f16") === (slots[root]!.dtype === "f16") &&
        !roots.includes(leaf);
      return fits && (read < made || (read === made && readsInPlace(steps[made]!, leaf))) ? [leaf] : [];
    });
  });
}

/** Whether the step reads the slot only at the element it is about to write. */
function readsInPlace(step: Step, slot: number): boolean {
  if (step.kind !== "loop" || step.kernel.reductions.length > 0) return false;
  const input = step.inputs.indexOf(slot);
  return step.kernel.outputs.every(({ value }) => everyLoad(value, step.kernel, input));
}

function everyLoad(root: Scalar, { extents }: LoopKernel, input: number): boolean {
  const seen = new Set<Scalar>();
  const stack = [root];
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (seen.has(node)) continue;
    seen.add(node);
    if (node.op === "load") {
      if (node.input === input && (node.gather || !isRowMajor(node.index, extents))) return false;
      for (const { value } of node.gather ?? []) stack.push(value);
    } else if (node.op === "guard") stack.push(node.value);
    else if ("args" in node) stack.push(...node.args);
  }
  return true;
}
