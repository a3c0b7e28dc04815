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
  const holes = new Holes();
  let top = MARGIN;
  const take = (bytes: number): number => {
    const found = holes.take(bytes);
    if (found !== undefined) return found;
    const start = holes.takeEndingAt(top) ?? top;
    top = start + bytes;
    return start;
  };
  const blockOf = (slot: number): number => Math.ceil((slots[slot]!.size * 4 + MARGIN) / ALIGNMENT) * ALIGNMENT;
  const isTemporary = (slot: number): boolean => slot >= leafCount && !fixed.has(slot);

  steps.forEach(({ inputs, outputs }, k) => {
    // Recurrences that need the same value may both compute it: the second writes the place of the first.
    for (const slot of outputs) if (isTemporary(slot)) offsets[slot] ??= take(blockOf(slot));
    for (const slot of new Set([...inputs, ...outputs])) {
      const start = offsets[slot];
      // One without elements that no step makes has no place.
      if (start !== undefined && lastUse[slot] === k) holes.give(start, start + blockOf(slot));
    }
  });
  return { offsets, bytes: top };
}

/** Free bytes below the top, none beside another. */
class Holes {
  /** By size, smallest first; of one size in the order they came. */
  readonly #bySize: { start: number; readonly end: number }[] = [];
  readonly #byStart = new Map<number, { start: number; readonly end: number }>();
  readonly #byEnd = new Map<number, { start: number; readonly end: number }>();

  /** The start of the smallest hole that is large enough; the rest of it stays. */
  take(bytes: number): number | undefined {
    const hole = this.#bySize[this.#firstOf(bytes)];
    if (!hole) return undefined;
    this.#remove(hole);
    if (hole.end - hole.start > bytes) this.#add(hole.start + bytes, hole.end);
    return hole.start;
  }

  takeEndingAt(end: number): number | undefined {
    const hole = this.#byEnd.get(end);
    if (hole) this.#remove(hole);
    return hole?.start;
  }

  give(start: number, end: number): void {
    const below = this.#byEnd.get(start);
    const above = this.#byStart.get(end);
    for (const hole of [below, above]) if (hole) this.#remove(hole);
    this.#add(below?.start ?? start, above?.end ?? end);
  }

  #add(start: number, end: number): void {
    const hole = { start, end };
    this.#bySize.splice(this.#firstOf(end - start + 1), 0, hole);
    this.#byStart.set(start, hole);
    this.#byEnd.set(end, hole);
  }

  #remove(hole: { readonly start: number; readonly end: number }): void {
    let at = this.#firstOf(hole.end - hole.start);
    while (this.#bySize[at] !== hole) at++;
    this.#bySize.splice(at, 1);
    this.#byStart.delete(hole.start);
    this.#byEnd.delete(hole.end);
  }

  /** Number of the first hole of at least so many bytes. */
  #firstOf(bytes: number): number {
    let [low, high] = [0, this.#bySize.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const { start, end } = this.#bySize[middle]!;
      if (end - start < bytes) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
