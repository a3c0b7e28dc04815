/**
 * Code for the scalar expressions of a kernel, four neighbouring points at a time along one vector axis.
 *
 * f32 and i32 are lanes of those types; a bool is all ones or zeros in registers, 1 or 0 in memory. A value that
 * does not vary along the vector axis is computed once, equal in all lanes. Lanes beyond the end of a row
 * hold anything; only addresses are kept harmless there.
 */
import type { Scalar } from "../../../ir/loop.js";
import { i32x4 } from "../wasm/emitter.js";
import type { Vectors } from "../wasm/scratch.js";
import { guard, lanesOf } from "./guards.js";
import { hoist } from "./hoist.js";
import { intrinsic } from "./intrinsics.js";
import { constantVector } from "./lanes.js";
import { load } from "./loads.js";
import { lookup, type Frame, type Scope } from "./scope.js";
import { variationOf, type Variation } from "./variation.js";
import { keep, type Place, type Surroundings, type Writing } from "./writing.js";

export interface ValueEmitter extends Pick<Variation, "varies" | "conditionKind"> {
  /** Code of the vectors of a node: as many as the frame unrolls, or 1 if it does not vary along the vector axis. */
  readonly evaluate: Writing["evaluate"];
  /** Computes what does not vary along `axes`, ahead of loops over them, into `scope`. */
  readonly hoist: (node: Scalar, axes: ReadonlySet<number>, frame: Frame, scope: Scope) => void;
}

export function valueEmitter(around: Surroundings): ValueEmitter {
  const variation = variationOf(around);
  const evaluate = (node: Scalar, frame: Frame, scope: Scope): Vectors => {
    if (node.op === "constant") return [constantVector(node)];
    if (node.op === "reduced") return around.reduced(node.reduction);
    const known = lookup((s) => s.values.get(node), scope);
    if (known !== undefined) return known;
    const place = { frame, scope, count: variation.inLanes(node) ? frame.unroll : 1 };
    const values = around.given?.(node, (part) => evaluate(part, frame, scope)) ?? compute(writing, node, place);
    scope.values.set(node, values);
    return values;
  };
  const writing: Writing = { around, s: around.s, variation, evaluate };
  return {
    evaluate,
    hoist: (...given) => hoist(writing, ...given),
    varies: variation.varies,
    conditionKind: variation.conditionKind,
  };
}

function compute(w: Writing, node: Scalar, place: Place): Vectors {
  switch (node.op) {
    case "load":
      return load(w, node, place).map((code) =>
        keep(w.s, node.dtype === "bool" ? i32x4.ne(code, i32x4.const(0)) : code),
      );
    case "guard":
      return guard(w, node, place);
    case "position":
      return lanesOf(w, node.index, place).map((code) => keep(w.s, code));
    case "constant":
    case "reduced":
    case "state":
      throw new Error("unreachable");
    default:
      return intrinsic(w, node, place);
  }
}
