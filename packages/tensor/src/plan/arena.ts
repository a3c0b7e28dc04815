/** Places of a plan's temporaries in one block of memory: slots whose lives do not overlap share bytes. */
import type { Plan } from "./plan.js";

export interface Arena {
  /** Byte offset of each temporary slot; undefined for leaves, constants and roots. */
  readonly offsets: readonly (number | undefined)[];
  readonly bytes: number;
}

/** Bytes between two slots: kernels may read a little beyond either end. */
const MARGIN = 64;
const ALIGNMENT = 64;

/** Assigns offsets in the order of the steps, best fit first. */
export function layOut({ slots, leafCount, constants, steps, roots }: Plan): Arena {
  const fixed = new Set([...roots, ...constants.map(({ slot }) => slot)]);
  const lastUse = new Array<number>(slots.length).fill(-1);
  steps.forEach(({ inputs, outputs }, k) => {
    for (const slot of [...inputs, ...outputs]) lastUse[slot] = k;
  });
  const offsets = new Array<number | undefined>(slots.length).fill(undefined);
  const free: { start: number; end: number }[] = [];
  let top = MARGIN;

  const take = (bytes: number): number => {
    let best = -1;
    free.forEach(({ start, end }, k) => {
      if (end - start >= bytes && (best < 0 || end - start < free[best]!.end - free[best]!.start)) best = k;
    });
    if (best < 0) {
      const last = free.findIndex(({ end }) => end === top);
      const start = last < 0 ? top : free.splice(last, 1)[0]!.start;
      top = start + bytes;
      return start;
    }
    const hole = free[best]!;
    const { start } = hole;
    if (hole.end - start === bytes) free.splice(best, 1);
    else hole.start += bytes;
    return start;
  };
  const give = (start: number, bytes: number): void => {
    let end = start + bytes;
    for (let k = free.length - 1; k >= 0; k--) {
      const hole = free[k]!;
      if (hole.end === start) start = hole.start;
      else if (hole.start === end) end = hole.end;
      else continue;
      free.splice(k, 1);
    }
    free.push({ start, end });
  };
  const blockOf = (slot: number): number => Math.ceil((slots[slot]!.size * 4 + MARGIN) / ALIGNMENT) * ALIGNMENT;
  const isTemporary = (slot: number): boolean => slot >= leafCount && !fixed.has(slot);

  steps.forEach(({ inputs, outputs }, k) => {
    for (const slot of outputs) if (isTemporary(slot)) offsets[slot] = take(blockOf(slot));
    for (const slot of new Set([...inputs, ...outputs]))
      if (isTemporary(slot) && lastUse[slot] === k) give(offsets[slot]!, blockOf(slot));
  });
  return { offsets, bytes: top };
}
