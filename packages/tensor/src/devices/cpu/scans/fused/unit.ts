/** The phase of a fused recurrence: all chunks of each unit, or only the ends of its segments. */
import {
  call,
  block,
  br,
  brIf,
  f32x4,
  forLoop,
  functionBuilder,
  i32,
  loop,
  memory as bulk,
  select,
  v128,
  when,
  whileLoop,
  type Code,
  type Local,
  type WasmFunction,
} from "../../wasm/emitter.js";
import { keptArgument, sharedArgument } from "./form.js";
import { PARAMETERS, plus, range, times } from "./function.js";
import { STAGED_GROUPS, VECTOR, type PartialSum, type ScanPlan } from "./plan.js";
import { product } from "../../../../ir/simplify.js";

/** Positions of functions in the module; undefined where there is nothing to do. A sweep has one for each number of states side by side. */
export interface UnitParts {
  readonly initial: number | undefined;
  readonly stage: number | undefined;
  readonly stageForward: number | undefined;
  readonly finish: number | undefined;
  readonly flushVectors: number | undefined;
  readonly flushLanes: number | undefined;
  /** All steps of a chunk forward: "advance" with an adjoint whose states are not given, else "forward"; "ends" in the phase of the ends. */
  readonly forward: SweepParts | undefined;
  readonly backward: SweepParts | undefined;
}

/** full: `copies` or `unroll` states; rest: those left over. */
export interface SweepParts {
  readonly full: number;
  readonly rest: number | undefined;
}

type Arguments = Partial<Record<(typeof PARAMETERS)[number], Code>>;

const smaller = (a: Code, b: Code): Code => select(a, b, i32.ltS(a, b));

export function unitFunction(name: string, plan: ScanPlan, parts: UnitParts, ends: boolean): WasmFunction {
  const { form, vector, inner, outer, groups, blocks, allGroups, segments, stateBytes, at } = plan;
  const { extents, along } = form;
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, unit, unitEnd, scratch] = f.params;
  const local = (): Local => f.local("i32");
  const coordinates = extents.map(local);
  const [point, outerPoint, blockIndex, segment, here, group, rest, count, firstStep, endStep, kept, last] = [
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
  ] as const;
  const [firstGroup, someGroups] = [local(), local()] as const;
  const time = coordinates[along]!,
    lane = coordinates[vector]!;
  const zero = i32.const(0);
  const inScratch = (offset: number): Code => plus(scratch.get, offset);
  const sharedBase = i32.load(args.get, 4 * sharedArgument(form));
  const run = (position: number | undefined, given: Arguments): Code => {
    if (position === undefined) return [];
    const values: Record<(typeof PARAMETERS)[number], Code> = {
      args: args.get,
      scratch: scratch.get,
      count: count.get,
      group: group.get,
      point: point.get,
      segment: segment.get,
      from: kept.get,
      to: kept.get,
      ...given,
    };
    return call(position, ...PARAMETERS.map((parameter) => values[parameter]), ...coordinates.map((c) => c.get));
  };
  const laneOf = (g: Code): Code => times(i32.add(times(blockIndex.get, groups), g), 4);

  // ---- loops over points and groups ----

  const extent = (axis: number): number => extents[axis]!;
  const linear = inner.reduce<Code>(
    (sum, axis, k) =>
      plus(times(coordinates[axis]!.get, product(inner.slice(k + 1).map(extent))), sum === zero ? 0 : sum),
    zero,
  );
  /** Every point of the inner axes, `by` of the last axis together. */
  const eachPoint = (full: (position: Code) => Code, by: number, remaining: Code): Code => {
    const nest = (k: number): Code => {
      const axis = inner[k];
      if (axis === undefined) return [point.set(zero), full(zero)];
      const c = coordinates[axis]!;
      const whole = k === inner.length - 1 ? extent(axis) - (extent(axis) % by) : extent(axis);
      if (k < inner.length - 1) return [c.set(zero), forLoop(c, whole, 1, nest(k + 1))];
      return [
        c.set(zero),
        forLoop(c, whole, by, [point.set(linear), full(zero)]),
        whole === extent(axis) ? [] : [point.set(linear), remaining],
      ];
    };
    return nest(0);
  };
  const sweep = (position: SweepParts, given: Arguments, from: Code, to: Code): Code => {
    if (plan.points > 1)
      return [
        group.set(from),
        last.set(to),
        forLoop(group, last, 1, [
          lane.set(laneOf(group.get)),
          eachPoint(() => run(position.full, given), plan.copies, run(position.rest, given)),
        ]),
      ];
    const wide = plan.unroll;
    return [
      group.set(from),
      last.set(to),
      point.set(zero),
      whileLoop(i32.ltS(group.get, last.get), [
        lane.set(laneOf(group.get)),
        position.rest === undefined
          ? [run(position.full, given), group.set(plus(group.get, wide))]
          : when(
              i32.and(
                i32.leS(plus(group.get, wide), last.get),
                i32.leS(plus(lane.get, 4 * wide), i32.const(extent(vector))),
              ),
              [run(position.full, given), group.set(plus(group.get, wide))],
              [run(position.rest, given), group.set(plus(group.get, 1))],
            ),
      ]),
    ];
  };
  /** A chunk: with records, a few groups at a time. */
  const chunk = (
    position: SweepParts,
    given: Arguments,
    stage: number | undefined,
    finish: number | undefined,
  ): Code => {
    if (plan.recordBytes === 0) return sweep(position, given, zero, here.get);
    const some = (): Arguments => ({ group: zero, point: someGroups.get });
    return [
      firstGroup.set(zero),
      forLoop(firstGroup, here, STAGED_GROUPS, [
        someGroups.set(smaller(i32.const(STAGED_GROUPS), i32.sub(here.get, firstGroup.get))),
        lane.set(laneOf(firstGroup.get)),
        run(stage, some()),
        sweep(position, given, firstGroup.get, i32.add(firstGroup.get, someGroups.get)),
        lane.set(laneOf(firstGroup.get)),
        run(finish, some()),
      ]),
    ];
  };

  // ---- partial sums ----

  const flush = (partial: PartialSum): Code => {
    const { keepsAlong, keepsVector, points } = partial;
    let row: Code = outerPoint.get;
    if (!keepsAlong) row = plus(times(row, segments), segment.get);
    if (!keepsVector) row = plus(times(row, blocks), blockIndex.get);
    const wide = keepsVector ? blocks * groups * 4 : 1;
    let element = times(row, partial.size);
    if (keepsAlong) element = plus(element, times(time.get, points * wide));
    if (keepsVector) element = plus(element, laneOf(zero));
    const rows = keepsAlong ? times(count.get, points) : i32.const(points);
    return call(
      (keepsVector ? parts.flushVectors : parts.flushLanes)!,
      plus(plus(sharedBase, partial.shared), times(element, 4)),
      inScratch(partial.scratch),
      rows,
    );
  };
  const each = plan.partials.filter((p) => p.keepsAlong),
    total = plan.partials.filter((p) => !p.keepsAlong);
  const clear = (offset: number, bytes: number): Code =>
    bytes === 0 ? [] : bulk.fill(inScratch(offset), zero, i32.const(bytes));

  // ---- states at the ends ----

  const carryAt = (which: 0 | 1 | 2, by: number): Code =>
    plus(plus(sharedBase, plan.carries + which * plan.carryBytes), times(plus(unit.get, by), stateBytes));
  const initial: Code =
    parts.initial === undefined
      ? bulk.fill(kept.get, zero, times(here.get, plan.groupBytes))
      : [
          group.set(zero),
          forLoop(group, here, 1, [lane.set(laneOf(group.get)), eachPoint(() => run(parts.initial, {}), 1, [])]),
        ];
  const states: Code =
    segments === 1
      ? initial
      : when(
          i32.eqz(segment.get),
          initial,
          ends
            ? bulk.fill(kept.get, zero, i32.const(stateBytes))
            : bulk.copy(kept.get, carryAt(0, -1), i32.const(stateBytes)),
        );
  const noAdjoint = bulk.fill(inScratch(at.adjoints), zero, i32.const(stateBytes));
  const adjoints: Code =
    plan.seed === undefined
      ? []
      : segments === 1 || ends
        ? noAdjoint
        : when(
            i32.eq(segment.get, i32.const(segments - 1)),
            noAdjoint,
            bulk.copy(inScratch(at.adjoints), carryAt(2, 1), i32.const(stateBytes)),
          );
  const number = local(),
    numbersEnd = local();
  const ones: Code = [
    number.set(inScratch(at.products)),
    numbersEnd.set(inScratch(at.products + stateBytes)),
    forLoop(
      number,
      numbersEnd,
      plan.parts * VECTOR,
      range(plan.parts).map((part) => v128.store(number.get, f32x4.const(part === 0 ? 1 : 0), part * VECTOR)),
    ),
  ];

  // ---- states kept between kernels ----

  const isKept = form.kept !== undefined;
  /** Bytes from one chunk's states to the next chunk's. */
  const keptRow = isKept ? allGroups * plan.groupBytes : 0;
  const chunks = Math.ceil(extents[along]! / plan.steps);
  const firstKept: Code = isKept
    ? i32.add(
        i32.load(args.get, 4 * keptArgument(form)),
        i32.add(times(outerPoint.get, (chunks + 1) * keptRow), times(blockIndex.get, stateBytes)),
      )
    : inScratch(at.states);

  // ---- chunks ----

  const countSteps = count.set(smaller(i32.const(plan.steps), i32.sub(endStep.get, time.get)));
  const results = (position: SweepParts, stage: number | undefined, toNext = 0): Code => [
    clear(at.eachSums, plan.eachSumBytes),
    chunk(position, { to: plus(kept.get, toNext) }, stage, parts.finish),
    each.map(flush),
  ];
  const forward = (position: SweepParts): Code =>
    whileLoop(i32.ltS(time.get, endStep.get), [
      countSteps,
      ends ? chunk(position, {}, parts.stage, undefined) : results(position, parts.stage, keptRow),
      kept.set(plus(kept.get, keptRow)),
      time.set(i32.add(time.get, count.get)),
    ]);
  /** To the last chunk, past the states before each. */
  const toLast =
    parts.forward === undefined
      ? [time.set(i32.const((chunks - 1) * plan.steps)), kept.set(plus(kept.get, (chunks - 1) * keptRow))]
      : whileLoop(i32.ltS(plus(time.get, plan.steps), endStep.get), [
          countSteps,
          chunk(parts.forward, { to: plus(kept.get, stateBytes) }, parts.stageForward, undefined),
          kept.set(plus(kept.get, stateBytes)),
          time.set(plus(time.get, plan.steps)),
        ]);
  const adjoint = (position: SweepParts): Code => [
    toLast,
    block(
      loop([
        countSteps,
        results(position, parts.stage),
        brIf(1, i32.eq(time.get, firstStep.get)),
        kept.set(plus(kept.get, isKept ? -keptRow : -stateBytes)),
        time.set(plus(time.get, -plan.steps)),
        br(0),
      ]),
    ),
  ];
  return f.finish(
    name,
    forLoop(unit, unitEnd, 1, [
      rest.set(unit.get),
      segment.set(segments === 1 ? zero : i32.remU(rest.get, i32.const(segments))),
      segments === 1 ? [] : rest.set(i32.divU(rest.get, i32.const(segments))),
      blockIndex.set(blocks === 1 ? zero : i32.remU(rest.get, i32.const(blocks))),
      outerPoint.set(blocks === 1 ? rest.get : i32.divU(rest.get, i32.const(blocks))),
      rest.set(outerPoint.get),
      [...outer]
        .reverse()
        .map((axis) => [
          coordinates[axis]!.set(i32.remU(rest.get, i32.const(extent(axis)))),
          rest.set(i32.divU(rest.get, i32.const(extent(axis)))),
        ]),
      here.set(smaller(i32.const(groups), i32.sub(i32.const(allGroups), times(blockIndex.get, groups)))),
      firstStep.set(times(segment.get, plan.segmentSteps)),
      endStep.set(smaller(plus(firstStep.get, plan.segmentSteps), i32.const(extent(along)))),
      time.set(firstStep.get),
      kept.set(firstKept),
      isKept && plan.seed !== undefined ? [] : states,
      adjoints,
      ends ? ones : clear(at.totalSums, plan.totalSumBytes),
      parts.backward === undefined ? forward(parts.forward!) : adjoint(parts.backward),
      ends
        ? [
            bulk.copy(carryAt(0, 0), kept.get, i32.const(stateBytes)),
            bulk.copy(carryAt(1, 0), inScratch(at.products), i32.const(stateBytes)),
            plan.seed === undefined ? [] : bulk.copy(carryAt(2, 0), inScratch(at.adjoints), i32.const(stateBytes)),
          ]
        : total.map(flush),
    ]),
  );
}
