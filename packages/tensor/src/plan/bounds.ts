/** How large kernels get, and how far planning looks for what could be one. */
import type { Scalar } from "../ir/loop.js";
import { parts } from "../ir/simplify.js";
import type { Draft, LoopDraft } from "./draft.js";

/** Nodes of the expressions of a joined kernel. */
export const MOST_NODES = 4096;
/** Nodes one behind another: renderers walk expressions by recursion. */
export const DEEPEST_NODES = 512;

/** Visits of kernels that planning spends on one question in all: each of n kernels gets its share of them. */
const VISITS = 1e8;
export const shareOfVisits = (drafts: readonly Draft[]): number => Math.max(256, Math.floor(VISITS / drafts.length));

export interface Bulk {
  readonly nodes: number;
  readonly depth: number;
}
const known = new WeakMap<object, Bulk>();

/** Size of a kernel's expressions. */
export function bulkOf({ lowered }: LoopDraft): Bulk {
  let bulk = known.get(lowered);
  if (!bulk)
    known.set(lowered, (bulk = measure([...lowered.outputs, ...lowered.reductions].map(({ value }) => value))));
  return bulk;
}

function measure(roots: readonly Scalar[]): Bulk {
  const depths = new Map<Scalar, number>();
  let deepest = 0;
  const stack = [...roots];
  while (stack.length > 0) {
    const node = stack.at(-1)!;
    const below = parts(node);
    const open = depths.has(node) ? [] : below.filter((each) => !depths.has(each));
    if (open.length > 0) {
      stack.push(...open);
      continue;
    }
    stack.pop();
    const depth = below.reduce((most, each) => Math.max(most, depths.get(each)! + 1), 1);
    depths.set(node, depth);
    deepest = Math.max(deepest, depth);
  }
  return { nodes: depths.size, depth: deepest };
}

/** Whether expressions of these kernels are few and flat enough to be one. */
export function fitTogether(drafts: readonly LoopDraft[]): boolean {
  let [nodes, depth] = [0, 0];
  for (const draft of drafts) {
    const bulk = bulkOf(draft);
    nodes += bulk.nodes;
    depth += bulk.depth;
  }
  return nodes <= MOST_NODES && depth <= DEEPEST_NODES;
}
