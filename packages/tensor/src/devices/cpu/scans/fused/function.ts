/**
 * What the functions of a fused recurrence have in common: they get the place they start from (a coordinate for every
 * axis) and follow addresses and indices from step to step in cursors.
 */
import type { Affine, Scalar } from "../../../../ir/loop.js";
import {
  brIf,
  f32x4,
  functionBuilder,
  i32,
  i32x4,
  loop,
  v128,
  when,
  type Code,
  type FunctionBuilder,
  type Local,
  type ValueType,
  type WasmFunction,
} from "../../wasm/emitter.js";
import { isPower } from "./form.js";
import { VECTOR, type ScanPlan } from "./plan.js";
import type { Frame } from "../../loops/scope.js";
import { valueEmitter, type ValueEmitter } from "../../loops/values.js";
import { scratch, type Scratch, type Vectors } from "../../wasm/scratch.js";

/** Every function's parameters, before one coordinate for each axis. */
export const PARAMETERS = ["args", "scratch", "count", "group", "point", "segment", "from", "to"] as const;
export type Parameters = Readonly<Record<(typeof PARAMETERS)[number], Local>>;

export interface FunctionContext extends Parameters {
  readonly f: FunctionBuilder<readonly ValueType[]>;
  readonly s: Scratch;
  readonly coordinates: readonly Local[];
  readonly frame: Frame;
  readonly emit: ValueEmitter;
  /** A local that starts at `start` and moves by so many bytes with every step. */
  readonly cursor: (key: string, start: Code, bytesPerStep: number) => Code;
  /** Address of the frame's first element of argument `position`, and a distance to add to it. */
  readonly near: (position: number, index: Affine) => { readonly address: Code; readonly distance: number };
  /** The step's number. */
  readonly time: () => Code;
  /** Statements that run `count` times, and move all cursors after it, or back before it. */
  readonly steps: (direction: 1 | -1, body: () => void) => void;
}

export interface ContextOptions {
  readonly unroll: number;
  /** The function stays at its lanes. */
  readonly fixedLanes: boolean;
  readonly reduced: (reduction: number) => Vectors;
  readonly state: (node: Scalar & { op: "state" }) => Vectors;
}

export const times = (x: Code, factor: number): Code =>
  factor === 1 ? x : factor === 0 ? i32.const(0) : i32.mul(x, i32.const(factor));
export const plus = (x: Code, offset: Code | number): Code =>
  offset === 0 ? x : i32.add(x, typeof offset === "number" ? i32.const(offset) : offset);
export const range = (n: number): number[] => Array.from({ length: n }, (_, k) => k);

/** offset + the sum of coefficients * coordinates, without one axis. */
export const placeOf = (
  start: Code,
  coefficients: readonly number[],
  coordinates: readonly Local[],
  without: number,
): Code =>
  coefficients.reduce<Code>(
    (sum, c, axis) => (c === 0 || axis === without ? sum : i32.add(sum, times(coordinates[axis]!.get, c))),
    start,
  );

/** A function (parameters, coordinates); `write` appends its statements to `s.body`. */
export function scanFunction(
  name: string,
  plan: ScanPlan,
  options: ContextOptions,
  write: (c: FunctionContext) => void,
): WasmFunction {
  const { form, vector } = plan;
  const f = functionBuilder([...PARAMETERS, ...form.extents].map((): ValueType => "i32"));
  const named = Object.fromEntries(
    PARAMETERS.map((parameter, k) => [parameter, f.params[k]!]),
  ) as unknown as Parameters;
  const coordinates = form.extents.map((_, axis) => f.params[PARAMETERS.length + axis]!);
  const s = scratch(f.local);
  const prologue: Code[] = [];
  const bases = new Map<number, Local>();
  const base = (position: number): Code => {
    let local = bases.get(position);
    if (local === undefined) {
      bases.set(position, (local = f.local("i32")));
      prologue.push(local.set(i32.load(named.args.get, 4 * position)));
    }
    return local.get;
  };
  const cursors = new Map<string, { readonly local: Local; readonly step: number }>();
  const cursor = (key: string, start: Code, step: number): Code => {
    let known = cursors.get(key);
    if (known === undefined) {
      cursors.set(key, (known = { local: f.local("i32"), step }));
      prologue.push(known.local.set(start));
    }
    return known.local.get;
  };
  const along = (index: Affine): number => index.coefficients[form.along]!;
  const keyOf = (index: Affine): string =>
    `${index.offset}|${index.coefficients.map((c, axis) => (axis === vector ? 0 : c)).join()}`;
  const pointer = (position: number, index: Affine): Code =>
    cursor(
      `${position}:${keyOf(index)}`,
      placeOf(
        plus(base(position), 4 * index.offset),
        index.coefficients.map((c) => 4 * c),
        coordinates,
        vector,
      ),
      4 * along(index),
    );
  const value = (index: Affine): Code =>
    index.coefficients.every((c, axis) => c === 0 || axis === vector)
      ? i32.const(index.offset)
      : cursor(
          `value:${keyOf(index)}`,
          placeOf(i32.const(index.offset), index.coefficients, coordinates, vector),
          along(index),
        );

  // Indices that differ by a constant share a cursor.
  const sharing = new Map<string, number>();
  const near: FunctionContext["near"] = (position, index) => {
    const lanes = index.coefficients[vector]!;
    const key = `${position}|${index.coefficients.join()}`;
    let offset = sharing.get(key);
    if (offset === undefined || index.offset < offset || index.offset > offset + 4096)
      sharing.set(key, (offset = index.offset));
    const start = { ...index, offset };
    const distance = 4 * (index.offset - offset);
    if (!options.fixedLanes)
      return {
        address: lanes === 0 ? pointer(position, start) : i32.add(pointer(position, start), times(bytes.get, lanes)),
        distance,
      };
    const place = placeOf(
      plus(base(position), 4 * offset),
      index.coefficients.map((c) => 4 * c),
      coordinates,
      -1,
    );
    return {
      address: cursor(`${position}:lane ${offset}|${index.coefficients.join()}`, place, 4 * along(index)),
      distance,
    };
  };

  const i = coordinates[vector]!,
    bytes = f.local("i32"),
    end = f.local("i32");
  const extent = form.extents[vector]!;
  // Unrolled code runs where all its lanes are inside.
  const ragged = extent % 4 !== 0 && options.unroll === 1;
  const frame: Frame = ragged ? { unroll: 1, i, bytes, end } : { unroll: options.unroll, i, bytes };
  const emit = valueEmitter({
    kernel: { extents: form.extents, reduceExtents: [], inputs: form.inputs, reductions: [], outputs: [] },
    s,
    vectorAxis: vector,
    pointer,
    near,
    value,
    // All conditions along the vector axis are decided lane by lane.
    innerAxes: new Set(form.extents.keys()),
    inputBase: base,
    segmentFlag: () => {
      throw new Error("unreachable");
    },
    reduced: options.reduced,
    given(node, evaluate) {
      if (node.op === "state") return options.state(node);
      if (!isPower(node)) return undefined;
      const x = evaluate(node.args[0]!);
      const results = x.map(() => f.local("v128"));
      powerOfTwo(s, x, results);
      return results.map((result) => result.get);
    },
  });
  const moves: { readonly direction: 1 | -1; readonly code: Code[] }[] = [];
  const move = (direction: 1 | -1): Code => {
    const code: Code[] = [];
    moves.push({ direction, code });
    return code;
  };
  const steps = (direction: 1 | -1, body: () => void): void => {
    const left = f.local("i32");
    const outside = s.body;
    const inside: Code[] = (s.body = []);
    if (direction < 0) inside.push(move(-1));
    body();
    if (direction > 0) inside.push(move(1));
    s.body = outside;
    s.body.push(left.set(named.count.get), loop([inside, brIf(0, left.tee(i32.sub(left.get, i32.const(1))))]));
  };

  const time = coordinates[form.along]!;
  let usesTime = false;
  write({ ...named, f, s, coordinates, frame, emit, cursor, near, steps, time: () => ((usesTime = true), time.get) });
  for (const { direction, code } of moves) {
    if (usesTime) code.push(time.set(i32.add(time.get, i32.const(direction))));
    for (const { local, step } of cursors.values())
      if (step !== 0) code.push(local.set(i32.add(local.get, i32.const(direction * step))));
  }
  return f.finish(name, [bytes.set(times(i.get, 4)), ragged ? end.set(i32.const(extent)) : [], prologue, s.body]);
}

/** The address of the state of the function's first group and point: `part` 0 real, 1 imaginary. */
export const stateOffset = (plan: ScanPlan, unroll: number, copy: number, part: number): number =>
  VECTOR * ((unroll * plan.points + copy) * plan.parts + part);
export const statesAt = (plan: ScanPlan, c: Parameters, base: Code): Code =>
  plus(base, times(plus(times(c.group.get, plan.points), c.point.get), plan.parts * VECTOR));

/** Stores the lanes of vector k of a frame that are inside, at element `index` of an output. */
export function storeLanes(
  c: FunctionContext,
  output: number,
  index: Affine,
  stride: number,
  k: number,
  vector: Code,
): void {
  const { frame, f, s } = c;
  const { address, distance } = c.near(output, index);
  if (stride === 0) {
    s.body.push(v128.store32Lane(address, vector, 0, distance));
    return;
  }
  if (stride === 1 && frame.end === undefined) {
    s.body.push(v128.store(address, vector, distance + VECTOR * k));
    return;
  }
  const kept = f.local("v128");
  s.body.push(kept.set(vector));
  const lanes = range(4).map((lane): Code => {
    const offset = distance + 4 * stride * (4 * k + lane);
    const one = v128.store32Lane(offset < 0 ? plus(address, offset) : address, kept.get, lane, Math.max(0, offset));
    return frame.end === undefined || lane === 0
      ? one
      : when(i32.gtS(i32.sub(frame.end.get, frame.i.get), i32.const(lane)), one);
  });
  s.body.push(
    stride === 1 && frame.end !== undefined
      ? when(i32.geS(i32.sub(frame.end.get, frame.i.get), i32.const(4)), v128.store(address, kept.get, distance), lanes)
      : lanes,
  );
}

/** 1.5 * 2^23: adding it to a small number rounds that to a whole one, in the lowest bits of the sum. */
const ROUND = f32x4.const(12582912);
/** Coefficients of 1, r, ..., r^5 in 2^r for |r| <= 1/2: relative error 9e-8, by minimax approximation. */
const EXP2 = [
  1, 0.6931469775989374, 0.24022242085260462, 0.05550733743581062, 0.009671512644907084, 0.0013264727097477425,
].map((x) => f32x4.const(x)) as [Code, Code, Code, Code, Code, Code];
/** 2^-100 stands for everything below: it wipes out a state as well, and what it leaves are normal numbers. */
const [LOWEST, HIGHEST] = [f32x4.const(-100), f32x4.const(128)];

/** results[k] = 2^x[k]: infinity beyond 2^128, NaN for NaN. */
function powerOfTwo(s: Scratch, x: Vectors, results: readonly Local[]): void {
  const { add, mul, sub } = f32x4;
  x.forEach((x, k) => {
    const [whole, r, square] = range(3).map((n) => (s.temporaries[n] ??= s.local("v128"))) as [Local, Local, Local];
    const pair = (n: 0 | 2 | 4): Code => add(EXP2[n], mul(EXP2[(n + 1) as 1 | 3 | 5], r.get));
    s.body.push(
      r.set(f32x4.pmin(f32x4.pmax(x, LOWEST), HIGHEST)),
      whole.set(add(r.get, ROUND)),
      r.set(sub(r.get, sub(whole.get, ROUND))),
      square.set(mul(r.get, r.get)),
      results[k]!.set(add(pair(0), mul(square.get, add(pair(2), mul(square.get, pair(4)))))),
      results[k]!.set(i32x4.add(results[k]!.get, i32x4.shl(whole.get, i32.const(23)))),
    );
  });
}
