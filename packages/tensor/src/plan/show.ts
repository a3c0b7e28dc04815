/** The plan in words after each pass, for `explain`. */
import { callOf } from "../graph/calls.js";
import { formatShape } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import type { PlanOptions } from "./draft.js";
import { nameOf } from "./emit.js";
import { planThrough } from "./planner.js";
import type { Planning } from "./planning.js";

export { describePeak } from "./peak.js";

/** Names listed one by one. */
const LISTED = 24;

/** What each pass made of a graph, run by run of the line. */
export function showPasses(roots: readonly Tensor[], leaves: readonly Tensor[], options: PlanOptions): string {
  const text: string[] = [];
  planThrough(roots, leaves, options, ({ name }, before, after) => {
    if (before === after) return;
    text.push(`${name}: ${after.revised ? "decides otherwise; the line runs again" : describe(name, before, after)}`);
  });
  return text.join("\n");
}

function describe(pass: string, before: Planning, { calls, roots, kept, scans, stored, drafts }: Planning): string {
  switch (pass) {
    case "resolve":
      return `${calls.length} calls behind ${roots.length} results`;
    case "keep":
      return `${kept.size} tensors have memory anyway${listed([...kept])}`;
    case "scans":
      return `${scans.units.length} recurrences with ${scans.inside.size} tensors inside`;
    case "store":
    case "cut":
      return `${stored.size} tensors have memory${listed([...stored.keys()].filter((x) => !before.stored.has(x)))}`;
    default:
      return `${drafts.length} kernels${drafts.map((draft) => `\n  ${nameOf(draft)} ${formatShape(draft.outputs[0]!.shape)}`).join("")}`;
  }
}

function listed(tensors: readonly Tensor[]): string {
  const names = tensors.slice(0, LISTED).map((x) => `\n  ${callOf(x)?.op.name ?? "leaf"} ${formatShape(x.shape)}`);
  return `${names.join("")}${tensors.length > LISTED ? `\n  and ${tensors.length - LISTED} more` : ""}`;
}
