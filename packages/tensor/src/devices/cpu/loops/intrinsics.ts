/** Scalar functions: those that are an instruction, by a table, and those that are a few. */
import { onDemand } from "../../../graph/on-demand.js";
import type { Scalar } from "../../../ir/loop.js";
import { f32x4, i32, i32x4, v128, type Code } from "../wasm/emitter.js";
import type { Vectors } from "../wasm/scratch.js";
import { at, roundedToHalf } from "./lanes.js";
import { keep, range, type Place, type Writing } from "./writing.js";

const vectorMath = onDemand(() => import("../wasm/vector-math.js"));

export type Call = Scalar & { readonly args: readonly Scalar[] };

type Unary = (a: Code) => Code;
type Binary = (a: Code, b: Code) => Code;

/** On f32, and on i32 or bool. */
const UNARY: Partial<Readonly<Record<Call["op"], readonly [Unary, Unary]>>> = {
  neg: [f32x4.neg, i32x4.neg],
  abs: [f32x4.abs, i32x4.abs],
  sqrt: [f32x4.sqrt, f32x4.sqrt],
  floor: [f32x4.floor, f32x4.floor],
  not: [v128.not, v128.not],
};
const BINARY: Partial<Readonly<Record<Call["op"], readonly [Binary, Binary]>>> = {
  add: [f32x4.add, i32x4.add],
  sub: [f32x4.sub, i32x4.sub],
  mul: [f32x4.mul, i32x4.mul],
  div: [f32x4.div, f32x4.div],
  less: [f32x4.lt, i32x4.ltS],
  lessEqual: [f32x4.le, i32x4.leS],
  equal: [f32x4.eq, i32x4.eq],
  bitAnd: [v128.and, v128.and],
  bitOr: [v128.or, v128.or],
  bitXor: [v128.xor, v128.xor],
  and: [v128.and, v128.and],
  or: [v128.or, v128.or],
};

export function intrinsic(w: Writing, node: Call, { frame, scope, count }: Place): Vectors {
  const args = node.args.map((arg) => w.evaluate(arg, frame, scope));
  const [a, b, c] = args as [Vectors, Vectors, Vectors];
  const kind = node.args[0]!.dtype === "f32" ? 0 : 1;
  const map = (compute: (k: number) => Code): Vectors => range(count).map((k) => keep(w.s, compute(k)));
  const one = UNARY[node.op]?.[kind];
  if (one) return map((k) => one(at(a, k)));
  const two = BINARY[node.op]?.[kind] ?? extremum(node, kind);
  if (two) return map((k) => two(at(a, k), at(b, k)));
  switch (node.op) {
    case "where":
      return map((k) => v128.bitselect(at(b, k), at(c, k), at(a, k)));
    case "cast":
      return node.args[0]!.dtype === node.dtype ? a : map((k) => cast(node, at(a, k)));
    case "isNan":
      return map((k) => f32x4.ne(at(a, k), at(a, k)));
    case "roundToHalf":
      return map((k) => roundedToHalf(w.s, at(a, k)));
    case "shiftLeft":
      return shift(w, node.args[1]!, a, b, map, i32x4.shl, i32.shl);
    case "shiftRight":
      return shift(w, node.args[1]!, a, b, map, i32x4.shrU, i32.shrU);
    default: {
      const results = range(count).map(() => w.s.local("v128"));
      vectorMath().emitVectorFunction(
        w.s,
        node.op,
        range(count).map((k) => at(a, k)),
        results,
      );
      return results.map((result) => result.get);
    }
  }
}

/** To another type. */
function cast(node: Call, x: Code): Code {
  const from = node.args[0]!.dtype;
  if (node.dtype === "bool") return from === "f32" ? f32x4.ne(x, f32x4.const(0)) : i32x4.ne(x, i32x4.const(0));
  if (from === "bool") return v128.and(x, node.dtype === "f32" ? f32x4.const(1) : i32x4.const(1));
  return from === "f32" ? i32x4.truncSatF32x4(x) : f32x4.convertI32x4(x);
}

/** The smaller or larger. With a constant, one instruction that keeps a NaN of the other side does. */
function extremum({ op, args }: Call, kind: 0 | 1): Binary | undefined {
  if (op !== "min" && op !== "max") return undefined;
  const least = op === "min";
  if (kind === 1) return least ? i32x4.minS : i32x4.maxS;
  const pseudo = least ? f32x4.pmin : f32x4.pmax;
  const number = (node: Scalar | undefined): boolean => node?.op === "constant" && !Number.isNaN(node.value);
  if (number(args[1])) return pseudo;
  if (number(args[0])) return (a, b) => pseudo(b, a);
  return least ? f32x4.min : f32x4.max;
}

/** SIMD shifts all lanes alike. */
function shift(
  { variation }: Writing,
  by: Scalar,
  a: Vectors,
  b: Vectors,
  map: (compute: (k: number) => Code) => Vectors,
  together: Binary,
  single: Binary,
): Vectors {
  if (by.op === "constant") return map((k) => together(at(a, k), i32.const(by.value)));
  if (!variation.inLanes(by)) return map((k) => together(at(a, k), i32x4.extractLane(at(b, 0), 0)));
  return map((k) => {
    const lane = (l: number): Code => single(i32x4.extractLane(at(a, k), l), i32x4.extractLane(at(b, k), l));
    return [1, 2, 3].reduce((code, l) => i32x4.replaceLane(code, l, lane(l)), i32x4.splat(lane(0)));
  });
}
