/**
 * Code for the scalar expressions of a kernel, four neighbouring points at a time along one vector axis.
 *
 * f32 and i32 are lanes of those types; a bool is all ones or zeros in registers, 1 or 0 in memory. A value that
 * does not vary along the vector axis is computed once, equal in all lanes. Lanes beyond the end of a row
 * hold anything; only addresses are kept harmless there.
 */
import type { Affine, LoopKernel, Range, Scalar } from "../../../ir/loop.js";
import { choose, f32x4, i32, i32x4, select, shuffle32, v128, when, type Code, type Local } from "../wasm/emitter.js";
import { affinesOf, parts } from "../../../ir/simplify.js";
import { onDemand } from "../../../graph/on-demand.js";
import type { Scratch, Vectors } from "../wasm/scratch.js";

const vectorMath = onDemand(() => import("../wasm/vector-math.js"));

/** Where along the vector axis values are computed. */
export interface Frame {
  /** Vectors side by side: points i to i + 4 * unroll - 1. */
  readonly unroll: number;
  /** i, and 4 i, which is its distance in bytes. */
  readonly i: Local;
  readonly bytes: Local;
  /** Set if lanes may lie at `end` or beyond. */
  readonly end?: Local;
}

/** Values known at a place of the code, and at the places that enclose it. */
export interface Scope {
  readonly values: Map<Scalar, Vectors>;
  /** Byte offsets of loads whose gathers do not vary along the vector axis. */
  readonly offsets: Map<Scalar, Code>;
  /** What was computed before the loop for the inside of a guard. */
  readonly guarded: Map<Scalar, Scope>;
  readonly parent: Scope | undefined;
  /** The scope before the loop that mirrors this one. */
  readonly before: Scope | undefined;
  /** Some lanes may be excluded by a guard: addresses must be kept inside the buffers. */
  readonly masked: boolean;
}

export const scope = (parent?: Scope, before?: Scope, masked = parent?.masked ?? false): Scope => ({
  values: new Map(),
  offsets: new Map(),
  guarded: new Map(),
  parent,
  before,
  masked,
});

/** What the loops around the expressions provide. */
export interface Surroundings {
  readonly kernel: LoopKernel;
  readonly s: Scratch;
  /** The axis that lanes run along; -1 for none. */
  readonly vectorAxis: number;
  /** Axes of loops between the place where the vector axis is cut into segments and the expressions. */
  readonly innerAxes: ReadonlySet<number>;
  /** Address of element `index` of an input, and `index` itself, where the vector axis counts as 0. */
  readonly pointer: (input: number, index: Affine) => Code;
  readonly value: (index: Affine) => Code;
  readonly inputBase: (input: number) => Code;
  /** Address and distance (not negative) of a frame's first element, where its index has no gather and step 0 or 1 along the vector axis. */
  readonly near?: (input: number, index: Affine) => { readonly address: Code; readonly distance: number };
  /** Whether the condition holds in the whole current segment of the vector axis. */
  readonly segmentFlag: (condition: Range) => Code;
  readonly reduced: (reduction: number) => Vectors;
  /** Vectors of nodes that the surroundings compute themselves: states, if there are any. */
  readonly given?: (node: Scalar, evaluate: (part: Scalar) => Vectors) => Vectors | undefined;
}

export interface ValueEmitter {
  /** Code of the vectors of a node: as many as the frame unrolls, or 1 if it does not vary along the vector axis. */
  readonly evaluate: (node: Scalar, frame: Frame, scope: Scope) => Vectors;
  /** Computes what does not vary along `axes`, ahead of loops over them, into `scope`. */
  readonly hoist: (node: Scalar, axes: ReadonlySet<number>, frame: Frame, scope: Scope) => void;
  readonly varies: (node: Scalar, axes: ReadonlySet<number>) => boolean;
  readonly conditionKind: (condition: Range) => "always" | "never" | "uniform" | "segment" | "lanes";
}

const constI32 = (value: number): Code => i32.const(value);
const laneStep = (c: number): Code => i32x4.const(0, c, 2 * c, 3 * c);
const at = (values: Vectors, k: number): Code => (values.length === 1 ? values[0] : values[k]) as Code;
const range = (n: number): number[] => Array.from({ length: n }, (_, k) => k);

/**
 * The f16 numbers nearest to those of a vector that is at hand. Neighbours of 2^e are 2^(e-10) apart, as f32 numbers near 2^(e+13)
 * are: adding that and taking it away again rounds.
 */
function roundedToHalf(s: Scratch, x: Code): Code {
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

export function valueEmitter(around: Surroundings): ValueEmitter {
  const { kernel, s, vectorAxis } = around;
  const extents = [...kernel.extents, ...kernel.reduceExtents];
  const vectorAxes = new Set([vectorAxis]);

  // ---- what varies along which axes ----

  const axesOfNode = new Map<Scalar, ReadonlySet<number>>();
  const axesOfAffine = (a: Affine): number[] => a.coefficients.flatMap((c, axis) => (c !== 0 ? [axis] : []));
  const axesOf = (node: Scalar): ReadonlySet<number> => {
    const known = axesOfNode.get(node);
    if (known !== undefined) return known;
    const axes =
      node.op === "reduced" || node.op === "state"
        ? new Set(kernel.extents.keys())
        : new Set([...affinesOf(node).flatMap(axesOfAffine), ...parts(node).flatMap((part) => [...axesOf(part)])]);
    axesOfNode.set(node, axes);
    return axes;
  };
  const varies = (node: Scalar, axes: ReadonlySet<number>): boolean => {
    const own = axesOf(node);
    for (const axis of axes) if (own.has(axis)) return true;
    return false;
  };
  const step = (a: Affine): number => (vectorAxis < 0 ? 0 : (a.coefficients[vectorAxis] as number));

  /** The smallest and largest value of an index. */
  const bounds = (a: Affine): [number, number] => {
    let lo = a.offset,
      hi = a.offset;
    a.coefficients.forEach((c, k) => {
      const reach = c * ((extents[k] as number) - 1);
      if (reach < 0) lo += reach;
      else hi += reach;
    });
    return [lo, hi];
  };

  const conditionKind = (c: Range): ReturnType<ValueEmitter["conditionKind"]> => {
    const [lo, hi] = bounds(c.index);
    if (c.lo <= lo && hi < c.hi) return "always";
    if (hi < c.lo || lo >= c.hi || c.lo >= c.hi) return "never";
    if (step(c.index) === 0) return "uniform";
    return axesOfAffine(c.index).some((axis) => around.innerAxes.has(axis)) ? "lanes" : "segment";
  };

  // ---- statements ----

  const keep = (code: Code): Code => {
    const local = s.local("v128");
    s.body.push(local.set(code));
    return local.get;
  };
  const keepI32 = (code: Code): Code => {
    const local = s.local("i32");
    s.body.push(local.set(code));
    return local.get;
  };
  /** The statements that `write` appends. */
  const apart = (write: () => void): Code[] => {
    const before = s.body;
    const inside: Code[] = (s.body = []);
    write();
    s.body = before;
    return inside;
  };

  // ---- known values ----

  const lookup = <T>(pick: (scope: Scope) => T | undefined, from: Scope | undefined): T | undefined => {
    for (let at = from; at !== undefined; at = at.parent) {
      const found = pick(at) ?? lookup(pick, at.before);
      if (found !== undefined) return found;
    }
    return undefined;
  };

  const evaluate = (node: Scalar, frame: Frame, scope: Scope): Vectors => {
    if (node.op === "constant") return [constantVector(node)];
    if (node.op === "reduced") return around.reduced(node.reduction);
    const known = lookup((s) => s.values.get(node), scope);
    if (known !== undefined) return known;
    const count = varies(node, vectorAxes) ? frame.unroll : 1;
    const values = around.given?.(node, (part) => evaluate(part, frame, scope)) ?? compute(node, frame, scope, count);
    scope.values.set(node, values);
    return values;
  };

  const compute = (node: Scalar, frame: Frame, scope: Scope, count: number): Vectors => {
    switch (node.op) {
      case "load":
        return load(node, frame, scope, count).map((code) =>
          keep(node.dtype === "bool" ? i32x4.ne(code, i32x4.const(0)) : code),
        );
      case "guard":
        return guard(node, frame, scope, count);
      case "position":
        return lanesOf(node.index, frame, count).map(keep);
      case "constant":
      case "reduced":
      case "state":
        throw new Error("unreachable");
      default:
        return intrinsic(node, frame, scope, count);
    }
  };

  /** An index in every lane. */
  const lanesOf = (index: Affine, frame: Frame, count: number): Code[] => {
    const c = step(index);
    if (c === 0) return [i32x4.splat(around.value(index))];
    const first = i32.add(around.value(index), i32.mul(frame.i.get, constI32(c)));
    return range(count).map((k) =>
      i32x4.add(i32x4.splat(k === 0 ? first : i32.add(first, constI32(4 * k * c))), laneStep(c)),
    );
  };

  // ---- guards ----

  const guard = (node: Scalar & { op: "guard" }, frame: Frame, outer: Scope, count: number): Vectors => {
    const fill = constantVector({ dtype: node.dtype, value: node.fill });
    const kinds = node.conditions.map(conditionKind);
    if (kinds.includes("never")) return [fill];
    const lanes = node.conditions.filter((_, k) => kinds[k] === "lanes");
    const test = branchOf(node);
    const inside = scope(outer, outer.before?.guarded.get(node), outer.masked || lanes.length > 0);
    const results = range(count).map(() => s.local("v128"));
    const write = (): void => {
      const values = evaluate(node.value, frame, inside);
      const masks = lanes.map((c) => {
        const index = lanesOf(c.index, frame, count).map(keep);
        const [lo, hi] = bounds(c.index);
        const low = (x: Code): Code => i32x4.geS(x, i32x4.const(c.lo));
        const high = (x: Code): Code => i32x4.ltS(x, i32x4.const(c.hi));
        return index.map((x) => (c.lo <= lo ? high(x) : hi < c.hi ? low(x) : v128.and(low(x), high(x))));
      });
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
          apart(write),
          results.map((result) => result.set(fill)),
        ),
      );
    return results.map((result) => result.get);
  };

  /** The part of a guard's conditions that is equal in all lanes. */
  const branchOf = (node: Scalar & { op: "guard" }): Code | undefined =>
    node.conditions
      .flatMap((c) => {
        const kind = conditionKind(c);
        if (kind === "segment") return [around.segmentFlag(c)];
        // lo <= x < hi, as one unsigned comparison.
        if (kind === "uniform") return [i32.ltU(i32.sub(around.value(c.index), constI32(c.lo)), constI32(c.hi - c.lo))];
        return [];
      })
      .reduce<Code | undefined>((a, b) => (a === undefined ? b : i32.and(a, b)), undefined);

  // ---- loads ----

  const load = (node: Scalar & { op: "load" }, frame: Frame, scope: Scope, count: number): Code[] => {
    const c = step(node.index);
    if (around.near && !scope.masked && node.gather === undefined && (c === 0 || c === 1)) {
      const { address, distance } = around.near(node.input, node.index);
      return range(count).map((k) =>
        c === 0 ? v128.load32Splat(address, distance) : v128.load(address, distance + 16 * k),
      );
    }
    const base = around.pointer(node.input, node.index);
    const fixed = fixedOffset(node, frame, scope);
    const pointer = fixed === undefined ? base : i32.add(base, fixed);
    const moving = (node.gather ?? []).filter((g) => varies(g.value, vectorAxes));
    const size = 4 * (kernel.inputs[node.input] as { size: number }).size;
    /** An address kept within bytes lo and hi of the buffer, wherever a guard may have excluded it. */
    const inside = (address: Code, lo: number, hi: number): Code => {
      if (!scope.masked) return address;
      const start = around.inputBase(node.input);
      const distance = keepI32(i32.sub(address, start));
      const capped = keepI32(select(distance, constI32(hi), i32.ltS(distance, constI32(hi))));
      return i32.add(start, select(capped, constI32(lo), i32.gtS(capped, constI32(lo))));
    };
    if (moving.length > 0) {
      const offsets = gatherOffsets(moving, frame, scope, count);
      return range(count).map((k) =>
        fourLoads((lane) => {
          const offset = i32x4.extractLane(at(offsets, k), lane);
          return inside(
            i32.add(c === 0 ? pointer : i32.add(pointer, laneDistance(c, frame, k, lane)), offset),
            0,
            size - 4,
          );
        }),
      );
    }
    if (c === 0) return [v128.load32Splat(inside(pointer, 0, size - 4))];
    if (c === 1) {
      const first = keepI32(i32.add(pointer, frame.bytes.get));
      return range(count).map((k) =>
        scope.masked ? v128.load(inside(i32.add(first, constI32(16 * k)), -16, size)) : v128.load(first, 16 * k),
      );
    }
    if (c === -1) {
      const first = keepI32(i32.sub(pointer, frame.bytes.get));
      return range(count).map((k) => {
        const loaded = keep(v128.load(inside(i32.sub(first, constI32(16 * k + 12)), -16, size)));
        return shuffle32(loaded, loaded, 3, 2, 1, 0);
      });
    }
    return range(count).map((k) =>
      fourLoads((lane) => inside(i32.add(pointer, laneDistance(c, frame, k, lane)), 0, size - 4)),
    );
  };

  /** Bytes from the first point of the row to the one in this lane, no further than the last point. */
  const laneDistance = (c: number, frame: Frame, k: number, lane: number): Code => {
    const distance = 4 * k + lane;
    if (frame.end === undefined) return i32.add(i32.mul(frame.bytes.get, constI32(c)), constI32(4 * c * distance));
    const point = i32.add(frame.i.get, constI32(distance));
    const last = i32.sub(frame.end.get, constI32(1));
    return i32.mul(select(point, last, i32.ltS(point, last)), constI32(4 * c));
  };

  const fourLoads = (address: (lane: number) => Code): Code => {
    let code = v128.load32Zero(address(0));
    for (let lane = 1; lane < 4; lane++) code = v128.load32Lane(address(lane), code, lane);
    return code;
  };

  /** Bytes that gathers add to the address, per lane. */
  const gatherOffsets = (
    gathers: readonly { value: Scalar; size: number; stride: number }[],
    frame: Frame,
    scope: Scope,
    count: number,
  ): Vectors => {
    let sum: Vectors | undefined;
    for (const g of gathers) {
      const values = evaluate(g.value, frame, scope);
      const offsets = range(count).map((k) => {
        const clamped = i32x4.maxS(i32x4.minS(at(values, k), i32x4.const(g.size - 1)), i32x4.const(0));
        const bytes = i32x4.mul(clamped, i32x4.const(4 * g.stride));
        return sum === undefined ? bytes : i32x4.add(at(sum, k), bytes);
      });
      sum = offsets.map(keep);
    }
    return sum as Vectors;
  };

  /** The gathers equal in all lanes. */
  const fixedOffset = (node: Scalar & { op: "load" }, frame: Frame, scope: Scope): Code | undefined => {
    const fixed = (node.gather ?? []).filter((g) => !varies(g.value, vectorAxes));
    if (fixed.length === 0) return undefined;
    const known = lookup((s) => s.offsets.get(node), scope);
    if (known !== undefined) return known;
    const offset = keepI32(i32x4.extractLane(at(gatherOffsets(fixed, frame, scope, 1), 0), 0));
    scope.offsets.set(node, offset);
    return offset;
  };

  // ---- intrinsics ----

  const intrinsic = (
    node: Scalar & { args: readonly Scalar[] },
    frame: Frame,
    scope: Scope,
    count: number,
  ): Vectors => {
    const args = node.args.map((arg) => evaluate(arg, frame, scope));
    const [a, b, c] = args as [Vectors, Vectors, Vectors];
    const from = (node.args[0] as Scalar).dtype;
    const f = from === "f32";
    const map = (compute: (k: number) => Code): Vectors => range(count).map((k) => keep(compute(k)));
    const binary = (op: (a: Code, b: Code) => Code): Vectors => map((k) => op(at(a, k), at(b, k)));
    const unary = (op: (a: Code) => Code): Vectors => map((k) => op(at(a, k)));
    switch (node.op) {
      case "add":
        return binary(f ? f32x4.add : i32x4.add);
      case "sub":
        return binary(f ? f32x4.sub : i32x4.sub);
      case "mul":
        return binary(f ? f32x4.mul : i32x4.mul);
      case "neg":
        return unary(f ? f32x4.neg : i32x4.neg);
      case "abs":
        return unary(f ? f32x4.abs : i32x4.abs);
      case "min":
        return f ? extremum(node.args, a, b, map, f32x4.min, f32x4.pmin) : binary(i32x4.minS);
      case "max":
        return f ? extremum(node.args, a, b, map, f32x4.max, f32x4.pmax) : binary(i32x4.maxS);
      case "div":
        return binary(f32x4.div);
      case "sqrt":
        return unary(f32x4.sqrt);
      case "floor":
        return unary(f32x4.floor);
      case "roundToHalf":
        return unary((x) => roundedToHalf(s, x));
      case "bitAnd":
      case "and":
        return binary(v128.and);
      case "bitOr":
      case "or":
        return binary(v128.or);
      case "bitXor":
        return binary(v128.xor);
      case "not":
        return unary(v128.not);
      case "shiftLeft":
        return shift(node.args[1] as Scalar, a, b, map, i32x4.shl, i32.shl);
      case "shiftRight":
        return shift(node.args[1] as Scalar, a, b, map, i32x4.shrU, i32.shrU);
      case "less":
        return binary(f ? f32x4.lt : i32x4.ltS);
      case "lessEqual":
        return binary(f ? f32x4.le : i32x4.leS);
      case "equal":
        return binary(f ? f32x4.eq : i32x4.eq);
      case "where":
        return map((k) => v128.bitselect(at(b, k), at(c, k), at(a, k)));
      case "cast": {
        if (from === node.dtype) return a;
        if (node.dtype === "bool") return unary((x) => (f ? f32x4.ne(x, f32x4.const(0)) : i32x4.ne(x, i32x4.const(0))));
        if (from === "bool") return unary((x) => v128.and(x, node.dtype === "f32" ? f32x4.const(1) : i32x4.const(1)));
        return unary(f ? i32x4.truncSatF32x4 : f32x4.convertI32x4);
      }
      case "isNan":
        return unary((x) => f32x4.ne(x, x));
      default: {
        // one that is no instruction
        const results = range(count).map(() => s.local("v128"));
        vectorMath().emitVectorFunction(
          s,
          node.op,
          range(count).map((k) => at(a, k)),
          results,
        );
        return results.map((result) => result.get);
      }
    }
  };

  /** With a constant, one instruction that keeps a NaN of the other side does. */
  const extremum = (
    args: readonly Scalar[],
    a: Vectors,
    b: Vectors,
    map: (compute: (k: number) => Code) => Vectors,
    exact: (a: Code, b: Code) => Code,
    pseudo: (a: Code, b: Code) => Code,
  ): Vectors => {
    const number = (node: Scalar | undefined): boolean => node?.op === "constant" && !Number.isNaN(node.value);
    if (number(args[1])) return map((k) => pseudo(at(a, k), at(b, k)));
    if (number(args[0])) return map((k) => pseudo(at(b, k), at(a, k)));
    return map((k) => exact(at(a, k), at(b, k)));
  };

  /** SIMD shifts all lanes alike. */
  const shift = (
    by: Scalar,
    a: Vectors,
    b: Vectors,
    map: (compute: (k: number) => Code) => Vectors,
    together: (a: Code, count: Code) => Code,
    single: (a: Code, count: Code) => Code,
  ): Vectors => {
    if (by.op === "constant") return map((k) => together(at(a, k), constI32(by.value)));
    if (!varies(by, vectorAxes)) return map((k) => together(at(a, k), i32x4.extractLane(at(b, 0), 0)));
    return map((k) => {
      const lane = (l: number): Code => single(i32x4.extractLane(at(a, k), l), i32x4.extractLane(at(b, k), l));
      return [1, 2, 3].reduce((code, l) => i32x4.replaceLane(code, l, lane(l)), i32x4.splat(lane(0)));
    });
  };

  // ---- ahead of loops ----

  const hoist = (node: Scalar, axes: ReadonlySet<number>, frame: Frame, outer: Scope): void => {
    const visited = new Set<Scalar>();
    const visit = (node: Scalar, into: Scope): void => {
      if (visited.has(node) || node.op === "constant" || node.op === "reduced") return;
      if (!varies(node, axes)) {
        evaluate(node, frame, into);
        return;
      }
      visited.add(node);
      if (node.op === "guard") visitGuard(node, into);
      else parts(node).forEach((part) => visit(part, into));
      // Once its gathers' values are known, so is their sum.
      if (node.op === "load" && node.gather?.every((g) => !varies(g.value, vectorAxes) && !varies(g.value, axes)))
        fixedOffset(node, frame, into);
    };
    const visitGuard = (node: Scalar & { op: "guard" }, into: Scope): void => {
      const known = node.conditions.every((c) => {
        const kind = conditionKind(c);
        return (
          kind === "always" ||
          kind === "segment" ||
          (kind === "uniform" && !axesOfAffine(c.index).some((axis) => axes.has(axis)))
        );
      });
      if (!known) return;
      const inside = scope(into);
      into.guarded.set(node, inside);
      const statements = apart(() => visit(node.value, inside));
      const test = branchOf(node);
      if (statements.length > 0) s.body.push(test === undefined ? statements : when(test, statements));
    };
    visit(node, outer);
  };

  return { evaluate, hoist, varies, conditionKind };
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
