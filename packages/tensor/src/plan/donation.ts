/** Which results may be written over which inputs. */
import type { LoopKernel, Scalar } from "../ir/loop.js";
import { isRowMajor } from "../ir/affine.js";
import type { Plan, Step } from "./plan.js";

/** Leaves looked at for a root; of more of one size, those about as far along as it is. */
const MOST_CANDIDATES = 512;

/**
 * For each root, the leaf slots whose memory it may take over: of as many elements and bytes, and read for the last time
 * before the root is written, or by the kernel that writes it and only at the element it writes.
 * @param groups By step, the number of its group, in their order: steps of a group run at once.
 */
export function takeovers(
  { slots, leafCount, steps, roots }: Plan,
  groups: readonly number[] = steps.map((_, k) => k),
): readonly (readonly number[])[] {
  /** Of each leaf, the last step that reads it, and the first of that step's group to do so. */
  const lastRead = new Array<number>(leafCount).fill(-1);
  const firstBeside = new Array<number>(leafCount).fill(-1);
  const maker = new Map<number, number>();
  steps.forEach(({ inputs, outputs }, k) => {
    for (const slot of inputs) {
      if (slot >= leafCount) continue;
      if (groups[lastRead[slot]!] !== groups[k]) firstBeside[slot] = k;
      lastRead[slot] = k;
    }
    for (const slot of outputs) maker.set(slot, k);
  });
  const isFree = (leaf: number, made: number): boolean => {
    const last = lastRead[leaf]!;
    if (last < 0 || groups[last]! < groups[made]!) return true;
    return last === made && firstBeside[leaf] === made && readsInPlace(steps[made]!, leaf);
  };
  const sizeOf = (slot: number): string => `${slots[slot]!.size} ${slots[slot]!.dtype === "f16"}`;
  const asked = new Set(roots);
  const leaves = new Map<string, number[]>();
  for (let leaf = 0; leaf < leafCount; leaf++) {
    if (asked.has(leaf)) continue;
    const list = leaves.get(sizeOf(leaf));
    if (list) list.push(leaf);
    else leaves.set(sizeOf(leaf), [leaf]);
  }
  const ranks = new Map<string, number>();
  return roots.map((root) => {
    const made = maker.get(root);
    const size = sizeOf(root);
    const rank = ranks.get(size) ?? 0;
    ranks.set(size, rank + 1);
    const list = leaves.get(size) ?? [];
    const first = list.length <= MOST_CANDIDATES ? 0 : Math.max(0, rank - MOST_CANDIDATES / 2);
    return made === undefined ? [] : list.slice(first, first + MOST_CANDIDATES).filter((leaf) => isFree(leaf, made));
  });
}

/** By root, whether it is computed and the first of its slot, whose memory it takes: a leaf, or a second one, is copied. */
export function firstOfSlots({ roots, leafCount, constants }: Plan): boolean[] {
  const taken = new Set(constants.map(({ slot }) => slot));
  return roots.map((slot) => slot >= leafCount && !taken.has(slot) && Boolean(taken.add(slot)));
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
