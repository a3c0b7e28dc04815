/** Which temporaries of a plan share memory: those whose lives do not overlap. */
import type { Plan } from "@seqmix/tensor/backend";
import { bytesOf, type GpuProgram } from "@seqmix/tensor/wgsl";

export interface Temporaries {
  /** Sizes of the blocks to take for a run. */
  readonly blocks: readonly number[];
  /** By slot, the number of its block; undefined for leaves, constants and roots. */
  readonly slots: readonly (number | undefined)[];
  /** By step, the blocks of its program's scratch. */
  readonly scratch: readonly (readonly number[])[];
}

/** A value does not move into a block so many times as large: if it stays long, large values have to get new ones. */
const ROOMY = 16;

/**
 * Assigns blocks in the order of the steps: the smallest free one that is large enough, else the largest is made larger.
 * @param groups By step, the number of its group: steps of a group run at once, so none takes what another one gives back.
 */
export function placeTemporaries(
  { slots, leafCount, constants, steps, roots }: Plan,
  programs: readonly GpuProgram[],
  groups: readonly number[] = steps.map((_, k) => k),
): Temporaries {
  const fixed = new Set([...roots, ...constants.map(({ slot }) => slot)]);
  const lastUse = new Map<number, number>();
  steps.forEach(({ inputs, outputs }, k) => {
    for (const slot of [...inputs, ...outputs]) lastUse.set(slot, groups[k]!);
  });
  const blocks: number[] = [];
  const free: number[] = [];
  /** How many free blocks are smaller; `free` is in the order of their sizes. */
  const smallerThan = (bytes: number): number => {
    let [low, high] = [0, free.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (blocks[free[middle]!]! < bytes) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const give = (block: number): void => void free.splice(smallerThan(blocks[block]! + 1), 0, block);
  const take = (bytes: number): number => {
    let at = smallerThan(bytes);
    if (at === free.length) at = free.length - 1;
    if (at < 0 || blocks[free[at]!]! > ROOMY * bytes) return blocks.push(bytes) - 1;
    const block = free.splice(at, 1)[0]!;
    blocks[block] = Math.max(blocks[block]!, bytes);
    return block;
  };
  const bySlot = new Array<number | undefined>(slots.length).fill(undefined);
  /** What the steps of a group give back once all of them are done. */
  let ending: number[] = [];
  const scratch = steps.map(({ inputs, outputs }, k) => {
    for (const slot of outputs)
      // Recurrences that need the same value may both compute it: the second writes the block of the first.
      if (slot >= leafCount && !fixed.has(slot)) bySlot[slot] ??= take(bytesOf(slots[slot]!.size, slots[slot]!.dtype));
    const own = programs[k]!.scratch.map(take);
    ending.push(...own);
    for (const slot of [...inputs, ...outputs])
      if (bySlot[slot] !== undefined && lastUse.get(slot) === groups[k]) ending.push(bySlot[slot]);
    if (groups[k + 1] !== groups[k]) {
      new Set(ending).forEach(give);
      ending = [];
    }
    return own;
  });
  return { blocks, slots: bySlot, scratch };
}
