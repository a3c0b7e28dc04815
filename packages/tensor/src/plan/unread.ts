/** Kernels whose results nobody reads: what leads to empty tensors alone, since those have no kernels. */
import { readsOf, type Draft } from "./draft.js";
import type { Planning } from "./planning.js";

/** Leaves out kernels that neither make a root nor something that a kernel that stays reads. Expects them in order. */
export function dropUnreadKernels(planning: Planning): Planning {
  const { drafts, isRoot } = planning;
  const read = new Set(isRoot);
  const kept: Draft[] = [];
  for (const draft of drafts.toReversed()) {
    if (!draft.outputs.some((x) => read.has(x))) continue;
    for (const x of readsOf(draft)) read.add(x);
    kept.push(draft);
  }
  return kept.length === drafts.length ? planning : { ...planning, drafts: kept.toReversed() };
}
