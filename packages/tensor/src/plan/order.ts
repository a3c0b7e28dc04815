/** Kernels in an order in which each comes after those whose results it reads. */
import { callOf } from "../graph/calls.js";
import type { Tensor } from "../graph/tensor.js";
import { readsOf, type Draft } from "./draft.js";
import type { Planning } from "./planning.js";

export const orderKernels = (planning: Planning): Planning => ({ ...planning, drafts: sortDrafts(planning.drafts) });

/** The draft that makes each tensor. */
export function makersOf(drafts: readonly Draft[]): Map<Tensor, Draft> {
  const makers = new Map<Tensor, Draft>();
  for (const draft of drafts) for (const x of draft.outputs) makers.set(x, draft);
  return makers;
}

/**
 * Each behind what it reads from; what comes first in the list, with all it waits for, comes first.
 * @param readsInTurn What a draft reads, in the order in which it is to be made.
 */
export function sortDrafts(
  drafts: readonly Draft[],
  readsInTurn: (draft: Draft) => readonly Tensor[] = readsOf,
): Draft[] {
  const maker = makersOf(drafts);
  const order: Draft[] = [];
  const entered = new Set<Draft>();
  const done = new Set<Draft>();
  const stack: { draft: Draft; reads: readonly Tensor[]; next: number }[] = [];
  for (const first of drafts) {
    if (entered.has(first)) continue;
    entered.add(first);
    stack.push({ draft: first, reads: readsInTurn(first), next: 0 });
    while (stack.length > 0) {
      const top = stack.at(-1)!;
      if (top.next === top.reads.length) {
        order.push(stack.pop()!.draft);
        done.add(top.draft);
        continue;
      }
      const before = maker.get(top.reads[top.next++]!);
      if (before && !entered.has(before)) {
        entered.add(before);
        stack.push({ draft: before, reads: readsInTurn(before), next: 0 });
      } else if (before && before !== top.draft && !done.has(before))
        throw new Error(
          `planner: expected kernels in an order, and ${callOf(before.outputs[0]!)?.op.name} and ${callOf(top.draft.outputs[0]!)?.op.name} wait for each other; realize their inputs first and report this as a bug`,
        );
    }
  }
  return order;
}
