/** Functions of a fused recurrence beside the states: what is computed before and after they run through a chunk. */
import type { Scalar } from "../../../../ir/loop.js";
import {
  f32x4,
  forLoop,
  functionBuilder,
  i32,
  loop,
  brIf,
  shuffle32,
  v128,
  type Code,
  type Local,
  type WasmFunction,
} from "../../wasm/emitter.js";
import {
  plus,
  range,
  scanFunction,
  statesAt,
  storeLanes,
  stateOffset,
  times,
  type FunctionContext,
} from "./function.js";
import { sharedArgument } from "./form.js";
import { VECTOR, type ScanPlan } from "./plan.js";
import { halvesOf } from "./products.js";
import { whereZero } from "./sweep.js";
import { scope, type Scope } from "../../loops/scope.js";

const { add } = f32x4;

/** For all steps and `point` groups, from the record of the first on; groups innermost, as rows lie in memory. */
function eachRecord(
  plan: ScanPlan,
  c: FunctionContext,
  roots: readonly Scalar[],
  body: (record: Local, at: Scope) => void,
): void {
  const { f, s, coordinates, frame, emit } = c;
  const i = coordinates[plan.vector]!,
    first = f.local("i32"),
    left = f.local("i32"),
    record = f.local("i32");
  const start = c.cursor("record", plus(c.scratch.get, plan.at.records), plan.recordBytes);
  const before = scope();
  for (const root of roots) emit.hoist(root, new Set([plan.form.along, plan.vector]), frame, before);
  s.body.push(first.set(i.get));
  c.steps(1, () => {
    s.body.push(i.set(first.get), record.set(start), left.set(c.point.get));
    const outside = s.body;
    const inside: Code[] = (s.body = []);
    s.body.push(frame.bytes.set(times(i.get, 4)));
    body(record, scope(undefined, before));
    s.body.push(i.set(plus(i.get, 4)), record.set(plus(record.get, plan.steps * plan.recordBytes)));
    s.body = outside;
    s.body.push(loop([inside, brIf(0, left.tee(i32.sub(left.get, i32.const(1))))]));
  });
}

const none = (): never => {
  throw new Error("unreachable");
};

/** Fills the records: values computed ahead, and zeros where sums over the inner axes begin. */
export function stageFunction(name: string, plan: ScanPlan, staged: readonly Scalar[]): WasmFunction {
  return scanFunction(name, plan, { unroll: 1, fixedLanes: false, reduced: none, state: none }, (c) =>
    eachRecord(plan, c, staged, (record, at) => {
      for (const node of staged)
        c.s.body.push(
          v128.store(record.get, c.emit.evaluate(node, c.frame, at)[0]!, VECTOR * plan.staged.indexOf(node)),
        );
      plan.localSums.forEach((_, k) =>
        c.s.body.push(v128.store(record.get, f32x4.const(0), VECTOR * (plan.staged.length + k))),
      );
    }),
  );
}

/** Outputs that are made of the records' sums. */
export function finishFunction(name: string, plan: ScanPlan): WasmFunction {
  const { local, form } = plan;
  let here: Local | undefined;
  const reduced = (slot: number): [Code] => [v128.load(here!.get, VECTOR * slot)];
  return scanFunction(name, plan, { unroll: 1, fixedLanes: false, reduced, state: none }, (c) =>
    eachRecord(
      plan,
      c,
      local.map((o) => o.value),
      (record, at) => {
        here = record;
        const values = local.map((o) => c.emit.evaluate(o.value, c.frame, at)[0]!);
        local.forEach((o, k) => {
          storeLanes(
            c,
            form.inputs.length + o.output,
            o.index,
            o.index.coefficients[plan.vector]!,
            0,
            o.dtype === "bool" ? v128.and(values[k]!, ONES) : values[k]!,
          );
        });
      },
    ),
  );
}

const ONES: Code = [0xfd, 12, ...range(4).flatMap(() => [1, 0, 0, 0])];

/** The state before the first step, of one point and group, to `to`. */
export function initialFunction(name: string, plan: ScanPlan): WasmFunction {
  return scanFunction(name, plan, { unroll: 1, fixedLanes: false, reduced: none, state: none }, (c) => {
    const at = scope(),
      to = c.f.local("i32");
    const values = plan.form.initial!.map((node) => c.emit.evaluate(node, c.frame, at)[0]!);
    c.s.body.push(
      to.set(statesAt(plan, c, c.to.get)),
      values.map((value, part) => v128.store(to.get, value, stateOffset(plan, 0, 0, part))),
    );
  });
}

/** (to, from, rows): rows of a unit's groups to rows of all groups. */
export function flushVectorsFunction(name: string, plan: ScanPlan): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [to, from, rows] = f.params;
  const [row, g] = [f.local("i32"), f.local("i32")] as const;
  return f.finish(
    name,
    forLoop(row, rows, 1, [
      g.set(i32.const(0)),
      forLoop(g, plan.groups * VECTOR, VECTOR, v128.store(i32.add(to.get, g.get), v128.load(i32.add(from.get, g.get)))),
      to.set(plus(to.get, plan.blocks * plan.groups * VECTOR)),
      from.set(plus(from.get, plan.groups * VECTOR)),
    ]),
  );
}

/** (to, from, rows): to[row] = the sum of the lanes of from[row]. */
export function flushLanesFunction(name: string): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [to, from, rows] = f.params;
  const [row, whole] = [f.local("i32"), f.local("i32")] as const;
  const x = range(4).map(() => f.local("v128"));
  const [low, high, sum] = [f.local("v128"), f.local("v128"), f.local("v128")] as const;
  const get = (k: number): Code => x[k]!.get;
  return f.finish(name, [
    whole.set(i32.sub(rows.get, i32.const(3))),
    forLoop(row, whole, 4, [
      x.map((x, k) => x.set(v128.load(from.get, VECTOR * k))),
      // Lanes 0 + 2 and 1 + 3 of two vectors each, then the rest.
      low.set(add(shuffle32(get(0), get(1), 0, 1, 4, 5), shuffle32(get(0), get(1), 2, 3, 6, 7))),
      high.set(add(shuffle32(get(2), get(3), 0, 1, 4, 5), shuffle32(get(2), get(3), 2, 3, 6, 7))),
      v128.store(to.get, add(shuffle32(low.get, high.get, 0, 2, 4, 6), shuffle32(low.get, high.get, 1, 3, 5, 7))),
      to.set(plus(to.get, VECTOR)),
      from.set(plus(from.get, 4 * VECTOR)),
    ]),
    forLoop(row, rows, 1, [
      low.set(v128.load(from.get)),
      low.set(add(low.get, shuffle32(low.get, low.get, 2, 3, 0, 1))),
      sum.set(add(low.get, shuffle32(low.get, low.get, 1, 0, 3, 2))),
      v128.store32Lane(to.get, sum.get, 0),
      to.set(plus(to.get, 4)),
      from.set(plus(from.get, VECTOR)),
    ]),
  ]);
}

/**
 * The phase between the segments' ends and the segments: turns the ends E and R of each segment by itself into those
 * of the whole sequence, E_s += P_s E_(s-1) and R_s += conj(P_s) R_(s+1). A unit is all segments of some states.
 */
export function carryFunction(name: string, plan: ScanPlan): WasmFunction {
  const { parts, stateBytes, segments, carryBytes, carries } = plan;
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end] = f.params;
  const [first, at, number, segment] = [f.local("i32"), f.local("i32"), f.local("i32"), f.local("i32")] as const;
  const [re, im, next] = [f.local("v128"), f.local("v128"), f.local("v128")] as const;
  const shared = 4 * sharedArgument(plan.form);
  const load = (which: 0 | 1 | 2 | 3, part: number): Code => v128.load(at.get, which * carryBytes + part * VECTOR);
  const zero = f.local("v128");
  const { grows } = plan.form;
  const [half, rest] = [f.local("v128"), f.local("v128")] as const;
  /** carry = carry * P (conjugated backwards) + the segment's own. */
  const step = (which: 0 | 2): Code => {
    const sign = which === 0 ? f32x4.sub : f32x4.add,
      other = which === 0 ? f32x4.add : f32x4.sub;
    const { mul } = f32x4;
    const numbers = range(parts);
    const isZero = plan.form.forgets ? whereZero(numbers.map((part) => load(1, part))) : undefined;
    const kept = (product: Code): Code => {
      const scaled = grows ? mul(product, rest.get) : product;
      return isZero === undefined ? scaled : v128.andNot(scaled, zero.get);
    };
    return [
      isZero === undefined ? [] : zero.set(isZero),
      grows
        ? [
            halvesOf(load(3, 0), half, rest),
            numbers.map((part) => (part === 0 ? re : im)).map((x) => x.set(mul(x.get, half.get))),
          ]
        : [],
      parts === 1
        ? re.set(add(kept(mul(load(1, 0), re.get)), load(which, 0)))
        : [
            next.set(add(kept(sign(mul(load(1, 0), re.get), mul(load(1, 1), im.get))), load(which, 0))),
            im.set(add(kept(other(mul(load(1, 0), im.get), mul(load(1, 1), re.get))), load(which, 1))),
            re.set(next.get),
            v128.store(at.get, im.get, which * carryBytes + VECTOR),
          ],
      v128.store(at.get, re.get, which * carryBytes),
    ];
  };
  const run = (which: 0 | 2): Code => [
    re.set(f32x4.const(0)),
    im.set(f32x4.const(0)),
    at.set(plus(i32.add(first.get, number.get), which === 0 ? 0 : (segments - 1) * stateBytes)),
    segment.set(i32.const(0)),
    forLoop(segment, segments, 1, [step(which), at.set(plus(at.get, which === 0 ? stateBytes : -stateBytes))]),
  ];
  return f.finish(
    name,
    forLoop(begin, end, 1, [
      first.set(plus(plus(i32.load(args.get, shared), carries), times(begin.get, segments * stateBytes))),
      number.set(i32.const(0)),
      forLoop(number, stateBytes, parts * VECTOR, [run(0), plan.seed === undefined ? [] : run(2)]),
    ]),
  );
}
