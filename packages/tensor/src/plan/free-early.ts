/**
 * Kernels that give back at least as much memory as they take run as soon as they can: a weight's gradient, for example,
 * right behind what it is made of, and not after the whole backward pass. The others keep their order.
 */
import type { Tensor } from "../graph/tensor.js";
import { readersOf, readsOf, type Draft } from "./draft.js";
import { makersOf } from "./order.js";
import type { Planning } from "./planning.js";

export function freeEarly(planning: Planning): Planning {
  const { drafts, isRoot, options } = planning;
  return options.fuse ? { ...planning, drafts: new Schedule(drafts, isRoot).run() } : planning;
}

class Schedule {
  readonly #drafts: readonly Draft[];
  readonly #readers: ReadonlyMap<Tensor, readonly Draft[]>;
  /** Tensors with memory between kernels alone, and the kernels that have still to read them. */
  readonly #left = new Map<Tensor, number>();
  /** Results that a kernel still waits for. */
  readonly #missing = new Map<Draft, number>();
  readonly #done = new Set<Draft>();
  readonly #order: Draft[] = [];

  constructor(drafts: readonly Draft[], isRoot: ReadonlySet<Tensor>) {
    this.#drafts = drafts;
    this.#readers = readersOf(drafts);
    const makers = makersOf(drafts);
    for (const x of makers.keys()) if (!isRoot.has(x)) this.#left.set(x, this.#readers.get(x)?.length ?? 0);
    for (const draft of drafts)
      this.#missing.set(
        draft,
        new Set(readsOf(draft).flatMap((x) => (makers.has(x) && makers.get(x) !== draft ? [x] : []))).size,
      );
  }

  run(): Draft[] {
    for (const draft of this.#drafts) this.#runWithFollowers(draft);
    return this.#order;
  }

  /** Runs a kernel, and what is worth while then and can run. */
  #runWithFollowers(first: Draft): void {
    const queue = [first];
    for (let next = queue.pop(); next; next = queue.pop()) {
      if (this.#done.has(next) || (next !== first && !this.#isWorthwhile(next))) continue;
      this.#done.add(next);
      this.#order.push(next);
      const changed = new Set<Draft>();
      for (const x of next.outputs)
        for (const reader of this.#readers.get(x) ?? []) {
          this.#missing.set(reader, this.#missing.get(reader)! - 1);
          changed.add(reader);
        }
      for (const x of new Set(readsOf(next))) {
        const left = this.#left.get(x);
        if (left === undefined) continue;
        this.#left.set(x, left - 1);
        if (left === 2) for (const reader of this.#readers.get(x)!) changed.add(reader);
      }
      for (const draft of [...changed].reverse())
        if (!this.#done.has(draft) && this.#missing.get(draft) === 0) queue.push(draft);
    }
  }

  /** Whether all that a kernel reads is there, and it gives back what it takes. */
  #isWorthwhile(draft: Draft): boolean {
    if (this.#missing.get(draft)! > 0) return false;
    const bytes = (x: Tensor): number => x.size * (x.dtype === "f16" ? 2 : 4);
    let balance = 0;
    for (const x of new Set(readsOf(draft))) if (this.#left.get(x) === 1) balance += bytes(x);
    if (balance === 0) return false;
    for (const x of draft.outputs) if (this.#left.has(x)) balance -= bytes(x);
    return balance >= 0;
  }
}
