/** Vectors of four lanes: constants, rounding, what is left of them at the end of a row, and what they come to. */
import { choose, f32x4, i32, i32x4, shuffle32, v128, type Code, type Local } from "../wasm/emitter.js";
import type { Scratch, Vectors } from "../wasm/scratch.js";
import type { Frame } from "./scope.js";

/** Vector k of several, or the one that stands for all. */
export const at = (values: Vectors, k: number): Code => (values.length === 1 ? values[0] : values[k]) as Code;

/**
 * The f16 numbers nearest to those of a vector that is at hand. Neighbours of 2^e are 2^(e-10) apart, as f32 numbers near 2^(e+13)
 * are: adding that and taking it away again rounds.
 */
export function roundedToHalf(s: Scratch, x: Code): Code {
  const [size, far] = [s.local("v128"), s.local("v128")];
  s.body.push(
    size.set(f32x4.abs(x)),
    far.set(
      i32x4.add(i32x4.maxS(v128.and(x, i32x4.const(0x7f800000)), i32x4.const(0x38800000)), i32x4.const(13 << 23)),
    ),
    far.set(f32x4.sub(f32x4.add(size.get, far.get), far.get)),
    // half way from the largest number to 2^16, and NaN
    far.set(v128.bitselect(f32x4.const(Infinity), far.get, f32x4.ge(size.get, f32x4.const(65520)))),
    far.set(v128.bitselect(x, v128.or(far.get, v128.and(x, i32x4.const(-0x80000000))), f32x4.ne(x, x))),
  );
  return far.get;
}

export function constantVector(node: { dtype: string; value: number }): Code {
  if (node.dtype === "f32") return f32x4.const(node.value);
  return i32x4.const(node.dtype === "bool" ? (node.value !== 0 ? -1 : 0) : node.value);
}

/** floor(a / d) for a constant d > 0. */
export const floorDivide = (a: Local, d: number): Code =>
  d === 1
    ? a.get
    : i32.divS(choose("i32", i32.ltS(a.get, i32.const(0)), i32.sub(a.get, i32.const(d - 1)), a.get), i32.const(d));

/** Unused lanes of a partial vector set to a value. */
export const fillBeyond = (value: Code, frame: Frame, fill: Code): Code =>
  frame.end === undefined
    ? value
    : v128.bitselect(value, fill, i32x4.gtS(i32x4.splat(i32.sub(frame.end.get, frame.i.get)), i32x4.const(0, 1, 2, 3)));

/** All lanes joined: the result stands in each of them. */
export const acrossLanes = (op: (a: Code, b: Code) => Code, vector: Local): Code => [
  vector.set(op(vector.get, shuffle32(vector.get, vector.get, 2, 3, 0, 1))),
  vector.set(op(vector.get, shuffle32(vector.get, vector.get, 1, 0, 3, 2))),
];
