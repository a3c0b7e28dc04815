/** Guards: a branch for conditions that are equal in all lanes, masks for the others. */
import type { Affine, Scalar } from "../../../ir/loop.js";
import { i32, i32x4, v128, when, type Code } from "../wasm/emitter.js";
import type { Vectors } from "../wasm/scratch.js";
import { at, constantVector } from "./lanes.js";
import { scope } from "./scope.js";
import { apart, keep, range, type Place, type Writing } from "./writing.js";

export type Guard = Scalar & { readonly op: "guard" };

const laneStep = (c: number): Code => i32x4.const(0, c, 2 * c, 3 * c);

/** An index in every lane. */
export function lanesOf({ around, variation }: Writing, index: Affine, { frame, count }: Place): Code[] {
  const c = variation.step(index);
  if (c === 0) return [i32x4.splat(around.value(index))];
  const first = i32.add(around.value(index), i32.mul(frame.i.get, i32.const(c)));
  return range(count).map((k) =>
    i32x4.add(i32x4.splat(k === 0 ? first : i32.add(first, i32.const(4 * k * c))), laneStep(c)),
  );
}

export function guard(w: Writing, node: Guard, place: Place): Vectors {
  const { s, variation } = w;
  const { frame, scope: outer, count } = place;
  const fill = constantVector({ dtype: node.dtype, value: node.fill });
  const kinds = node.conditions.map(variation.conditionKind);
  if (kinds.includes("never")) return [fill];
  const lanes = node.conditions.filter((_, k) => kinds[k] === "lanes");
  const test = branchOf(w, node);
  const inside = scope(outer, outer.before?.guarded.get(node), outer.masked || lanes.length > 0);
  const results = range(count).map(() => s.local("v128"));
  const write = (): void => {
    const values = w.evaluate(node.value, frame, inside);
    const masks = lanes.map((condition) => maskOf(w, condition, place));
    results.forEach((result, k) => {
      const mask = masks
        .map((m) => at(m, k))
        .reduce<Code | undefined>((a, b) => (a === undefined ? b : v128.and(a, b)), undefined);
      s.body.push(result.set(mask === undefined ? at(values, k) : v128.bitselect(at(values, k), fill, mask)));
    });
  };
  if (test === undefined) write();
  else
    s.body.push(
      when(
        test,
        apart(s, write),
        results.map((result) => result.set(fill)),
      ),
    );
  return results.map((result) => result.get);
}

/** Lanes in which a condition holds. */
function maskOf(w: Writing, { index, lo, hi }: Guard["conditions"][number], place: Place): Vectors {
  const lanes = lanesOf(w, index, place).map((code) => keep(w.s, code));
  const [least, most] = w.variation.bounds(index);
  const low = (x: Code): Code => i32x4.geS(x, i32x4.const(lo));
  const high = (x: Code): Code => i32x4.ltS(x, i32x4.const(hi));
  return lanes.map((x) => (lo <= least ? high(x) : most < hi ? low(x) : v128.and(low(x), high(x))));
}

/** The part of a guard's conditions that is equal in all lanes. */
export function branchOf({ around, variation }: Writing, node: Guard): Code | undefined {
  return node.conditions
    .flatMap((c) => {
      const kind = variation.conditionKind(c);
      if (kind === "segment") return [around.segmentFlag(c)];
      // lo <= x < hi, as one unsigned comparison.
      if (kind === "uniform") return [i32.ltU(i32.sub(around.value(c.index), i32.const(c.lo)), i32.const(c.hi - c.lo))];
      return [];
    })
    .reduce<Code | undefined>((a, b) => (a === undefined ? b : i32.and(a, b)), undefined);
}
