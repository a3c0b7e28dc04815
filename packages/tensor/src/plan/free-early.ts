/**
 * Kernels that give back at least as much memory as they take run as soon as they can, alone or with the other readers of a
 * tensor: a weight's gradient, for example, right behind what it is made of, and not after the whole backward pass; the
 * gradients of a piece of the logits before the next piece. The others keep their order.
 */
import type { Tensor } from "../graph/tensor.js";
import { readersOf, readsOf, type Draft } from "./draft.js";
import { makersOf, sortDrafts } from "./order.js";
import type { Planning } from "./planning.js";

/** Readers of a tensor that are looked at together. */
const MOST_TOGETHER = 4;

export function freeEarly(planning: Planning): Planning {
  const { drafts, isRoot, options } = planning;
  if (!options.fuse) return planning;
  // Nothing runs before a result asks for it: then pieces of a tensor come one after another.
  const results = drafts.filter(({ outputs }) => outputs.some((x) => isRoot.has(x)));
  const onDemand = sortDrafts([...new Set([...results, ...drafts])], deepestFirst(drafts));
  return { ...planning, drafts: new Schedule(onDemand, isRoot).run() };
}

/**
 * Reads of a kernel, the one that most kernels come before first: a layer's activations that are computed again wait for the
 * cotangent that comes from all layers behind, and not in memory.
 */
function deepestFirst(drafts: readonly Draft[]): (draft: Draft) => readonly Tensor[] {
  const levels = new Map<Tensor, number>();
  const levelOf = (x: Tensor): number => levels.get(x) ?? 0;
  for (const draft of drafts) {
    const level = 1 + readsOf(draft).reduce((most, x) => Math.max(most, levelOf(x)), 0);
    for (const x of draft.outputs) levels.set(x, level);
  }
  return (draft) => readsOf(draft).toSorted((a, b) => levelOf(b) - levelOf(a));
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
      if (this.#done.has(next)) continue;
      const together = next === first ? [next] : this.#worthwhile(next);
      for (const draft of together) queue.push(...this.#runOne(draft));
    }
  }

  /** @returns What may have become worth while, the first at the end. */
  #runOne(draft: Draft): Draft[] {
    this.#done.add(draft);
    this.#order.push(draft);
    const changed = new Set<Draft>();
    for (const x of draft.outputs)
      for (const reader of this.#readers.get(x) ?? []) {
        this.#missing.set(reader, this.#missing.get(reader)! - 1);
        changed.add(reader);
      }
    for (const x of new Set(readsOf(draft))) {
      const left = this.#left.get(x);
      if (left === undefined) continue;
      this.#left.set(x, left - 1);
      if (left === 2) for (const reader of this.#readers.get(x)!) changed.add(reader);
    }
    return [...changed].reverse().filter((each) => this.#isReady(each));
  }

  #isReady(draft: Draft): boolean {
    return !this.#done.has(draft) && this.#missing.get(draft) === 0;
  }

  /** A kernel, or all that have still to read what it reads, if they can run and give back what they take; else none. */
  #worthwhile(draft: Draft): readonly Draft[] {
    if (!this.#isReady(draft)) return [];
    if (this.#givesBack([draft])) return [draft];
    for (const x of readsOf(draft)) {
      const left = this.#left.get(x);
      if (left === undefined || left < 2 || left > MOST_TOGETHER) continue;
      const group = this.#readers.get(x)!.filter((reader) => !this.#done.has(reader));
      if (group.every((each) => this.#isReady(each)) && this.#givesBack(group)) return group;
    }
    return [];
  }

  /** Whether kernels are the last ones to read at least as much as they make. */
  #givesBack(group: readonly Draft[]): boolean {
    const bytes = (x: Tensor): number => x.size * (x.dtype === "f16" ? 2 : 4);
    const reading = new Map<Tensor, number>();
    for (const draft of group) for (const x of new Set(readsOf(draft))) reading.set(x, (reading.get(x) ?? 0) + 1);
    let balance = 0;
    for (const [x, count] of reading) if (this.#left.get(x) === count) balance += bytes(x);
    if (balance === 0) return false;
    for (const draft of group) for (const x of draft.outputs) if (this.#left.has(x)) balance -= bytes(x);
    return balance >= 0;
  }
}
