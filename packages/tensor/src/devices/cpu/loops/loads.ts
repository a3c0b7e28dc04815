/** Loads: vectors where lanes are neighbours in memory, else four numbers; and the distances that gathers add. */
import type { Scalar } from "../../../ir/loop.js";
import { i32, i32x4, select, shuffle32, v128, type Code } from "../wasm/emitter.js";
import type { Vectors } from "../wasm/scratch.js";
import { at } from "./lanes.js";
import { lookup, type Frame } from "./scope.js";
import { keep, range, type Place, type Writing } from "./writing.js";

export type Load = Scalar & { readonly op: "load" };
type Gathers = NonNullable<Load["gather"]>;

export function load(w: Writing, node: Load, place: Place): Code[] {
  const { around, s, variation } = w;
  const { frame, scope, count } = place;
  const c = variation.step(node.index);
  if (around.near && !scope.masked && node.gather === undefined && (c === 0 || c === 1)) {
    const { address, distance } = around.near(node.input, node.index);
    return range(count).map((k) =>
      c === 0 ? v128.load32Splat(address, distance) : v128.load(address, distance + 16 * k),
    );
  }
  const base = around.pointer(node.input, node.index);
  const fixed = fixedOffset(w, node, place);
  const pointer = fixed === undefined ? base : i32.add(base, fixed);
  const moving = (node.gather ?? []).filter((g) => variation.inLanes(g.value));
  const size = 4 * around.kernel.inputs[node.input]!.size;
  const inside = (address: Code, lo: number, hi: number): Code =>
    scope.masked ? keptInside(w, node.input, address, lo, hi) : address;
  if (moving.length > 0) {
    const offsets = gatherOffsets(w, moving, place);
    return range(count).map((k) =>
      fourLoads((lane) => {
        const offset = i32x4.extractLane(at(offsets, k), lane);
        const own = c === 0 ? pointer : i32.add(pointer, laneDistance(c, frame, k, lane));
        return inside(i32.add(own, offset), 0, size - 4);
      }),
    );
  }
  if (c === 0) return [v128.load32Splat(inside(pointer, 0, size - 4))];
  if (c === 1) {
    const first = keep(s, i32.add(pointer, frame.bytes.get), "i32");
    return range(count).map((k) =>
      scope.masked ? v128.load(inside(i32.add(first, i32.const(16 * k)), -16, size)) : v128.load(first, 16 * k),
    );
  }
  if (c === -1) {
    const first = keep(s, i32.sub(pointer, frame.bytes.get), "i32");
    return range(count).map((k) => {
      const loaded = keep(s, v128.load(inside(i32.sub(first, i32.const(16 * k + 12)), -16, size)));
      return shuffle32(loaded, loaded, 3, 2, 1, 0);
    });
  }
  return range(count).map((k) =>
    fourLoads((lane) => inside(i32.add(pointer, laneDistance(c, frame, k, lane)), 0, size - 4)),
  );
}

/** An address kept within bytes lo and hi of the buffer, wherever a guard may have excluded it. */
function keptInside({ around, s }: Writing, input: number, address: Code, lo: number, hi: number): Code {
  const start = around.inputBase(input);
  const distance = keep(s, i32.sub(address, start), "i32");
  const capped = keep(s, select(distance, i32.const(hi), i32.ltS(distance, i32.const(hi))), "i32");
  return i32.add(start, select(capped, i32.const(lo), i32.gtS(capped, i32.const(lo))));
}

/** Bytes from the first point of the row to the one in this lane, no further than the last point. */
function laneDistance(c: number, frame: Frame, k: number, lane: number): Code {
  const distance = 4 * k + lane;
  if (frame.end === undefined) return i32.add(i32.mul(frame.bytes.get, i32.const(c)), i32.const(4 * c * distance));
  const point = i32.add(frame.i.get, i32.const(distance));
  const last = i32.sub(frame.end.get, i32.const(1));
  return i32.mul(select(point, last, i32.ltS(point, last)), i32.const(4 * c));
}

function fourLoads(address: (lane: number) => Code): Code {
  let code = v128.load32Zero(address(0));
  for (let lane = 1; lane < 4; lane++) code = v128.load32Lane(address(lane), code, lane);
  return code;
}

/** Bytes that gathers add to the address, per lane. */
function gatherOffsets({ s, evaluate }: Writing, gathers: Gathers, { frame, scope, count }: Place): Vectors {
  let sum: Vectors | undefined;
  for (const g of gathers) {
    const values = evaluate(g.value, frame, scope);
    const offsets = range(count).map((k) => {
      const clamped = i32x4.maxS(i32x4.minS(at(values, k), i32x4.const(g.size - 1)), i32x4.const(0));
      const bytes = i32x4.mul(clamped, i32x4.const(4 * g.stride));
      return sum === undefined ? bytes : i32x4.add(at(sum, k), bytes);
    });
    sum = offsets.map((code) => keep(s, code));
  }
  return sum as Vectors;
}

/** The distance of the gathers that are equal in all lanes. */
export function fixedOffset(w: Writing, node: Load, { frame, scope }: Omit<Place, "count">): Code | undefined {
  const fixed = (node.gather ?? []).filter((g) => !w.variation.inLanes(g.value));
  if (fixed.length === 0) return undefined;
  const known = lookup((s) => s.offsets.get(node), scope);
  if (known !== undefined) return known;
  const offsets = gatherOffsets(w, fixed, { frame, scope, count: 1 });
  const offset = keep(w.s, i32x4.extractLane(at(offsets, 0), 0), "i32");
  scope.offsets.set(node, offset);
  return offset;
}
