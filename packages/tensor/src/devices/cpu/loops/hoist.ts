/** What does not vary along the axes of a loop is computed ahead of it. */
import type { Scalar } from "../../../ir/loop.js";
import { parts } from "../../../ir/simplify.js";
import { when } from "../wasm/emitter.js";
import { branchOf, type Guard } from "./guards.js";
import { fixedOffset } from "./loads.js";
import { scope, type Frame, type Scope } from "./scope.js";
import { axesOfAffine } from "./variation.js";
import { apart, type Writing } from "./writing.js";

/** Computes what does not vary along `axes`, ahead of loops over them, into `outer`. */
export function hoist(w: Writing, node: Scalar, axes: ReadonlySet<number>, frame: Frame, outer: Scope): void {
  const { s, variation } = w;
  const visited = new Set<Scalar>();
  const visit = (node: Scalar, into: Scope): void => {
    if (visited.has(node) || node.op === "constant" || node.op === "reduced") return;
    if (!variation.varies(node, axes)) {
      w.evaluate(node, frame, into);
      return;
    }
    visited.add(node);
    if (node.op === "guard") visitGuard(node, into);
    else parts(node).forEach((part) => visit(part, into));
    // Once its gathers' values are known, so is their sum.
    const isFixed = (value: Scalar): boolean => !variation.inLanes(value) && !variation.varies(value, axes);
    if (node.op === "load" && node.gather?.every((g) => isFixed(g.value))) fixedOffset(w, node, { frame, scope: into });
  };
  const isKnown = (c: Guard["conditions"][number]): boolean => {
    const kind = variation.conditionKind(c);
    if (kind === "always" || kind === "segment") return true;
    return kind === "uniform" && !axesOfAffine(c.index).some((axis) => axes.has(axis));
  };
  const visitGuard = (node: Guard, into: Scope): void => {
    if (!node.conditions.every(isKnown)) return;
    const inside = scope(into);
    into.guarded.set(node, inside);
    const statements = apart(s, () => visit(node.value, inside));
    const test = branchOf(w, node);
    if (statements.length > 0) s.body.push(test === undefined ? statements : when(test, statements));
  };
  visit(node, outer);
}
