/** The chunks of a unit: records, a sweep of all its states, and what follows from them. */
import {
  call,
  forLoop,
  i32,
  select,
  whileLoop,
  when,
  type Code,
  type FunctionBuilder,
  type Local,
} from "../../wasm/emitter.js";
import { product } from "../../../../ir/simplify.js";
import { PARAMETERS, plus, times } from "./function.js";
import { STAGED_GROUPS, type ScanPlan } from "./plan.js";

/** Position in the module of a sweep of so many states side by side, and of one of those left over. */
export interface SweepParts {
  readonly full: number;
  readonly rest: number | undefined;
}

/** Arguments of a function of a chunk that are not the unit's own. */
type Arguments = Partial<Record<(typeof PARAMETERS)[number], Code>>;

const LOCALS = [
  "point",
  "outerPoint",
  "blockIndex",
  "segment",
  "here",
  "group",
  "rest",
  "count",
  "firstStep",
  "endStep",
  "kept",
  "last",
  "firstGroup",
  "someGroups",
  "number",
  "numbersEnd",
] as const;

/** Where a unit is: a coordinate for every axis, its groups of lanes, its steps, and the states it begins with. */
export interface Unit extends Readonly<Record<(typeof LOCALS)[number], Local>> {
  readonly plan: ScanPlan;
  readonly args: Local;
  readonly unit: Local;
  readonly scratch: Local;
  readonly coordinates: readonly Local[];
  readonly time: Local;
  readonly lane: Local;
}

export function unitOf(f: FunctionBuilder<readonly ["i32", "i32", "i32", "i32"]>, plan: ScanPlan): Unit {
  const [args, unit, , scratch] = f.params;
  const coordinates = plan.form.extents.map(() => f.local("i32"));
  const named = Object.fromEntries(LOCALS.map((name) => [name, f.local("i32")])) as Record<
    (typeof LOCALS)[number],
    Local
  >;
  const [time, lane] = [coordinates[plan.form.along]!, coordinates[plan.vector]!];
  return { plan, args: args!, unit: unit!, scratch: scratch!, coordinates, time, lane, ...named };
}

export const smaller = (a: Code, b: Code): Code => select(a, b, i32.ltS(a, b));
export const ZERO = i32.const(0);
export const inScratch = ({ scratch }: Unit, offset: number): Code => plus(scratch.get, offset);
/** The first lane of one of the unit's groups. */
export const laneOf = ({ plan, blockIndex }: Unit, group: Code): Code =>
  times(i32.add(times(blockIndex.get, plan.groups), group), 4);

/** Calls a function of the chunk, if there is one. */
export function run(unit: Unit, position: number | undefined, given: Arguments): Code {
  if (position === undefined) return [];
  const { args, scratch, count, group, point, segment, kept, coordinates } = unit;
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
}

/** Every point of the inner axes, `by` of the last axis together. */
export function eachPoint({ plan, coordinates, point }: Unit, full: Code, by: number, remaining: Code): Code {
  const { inner } = plan;
  const extent = (axis: number): number => plan.form.extents[axis]!;
  const linear = inner.reduce<Code>(
    (sum, axis, k) =>
      plus(times(coordinates[axis]!.get, product(inner.slice(k + 1).map(extent))), sum === ZERO ? 0 : sum),
    ZERO,
  );
  const nest = (k: number): Code => {
    const axis = inner[k];
    if (axis === undefined) return [point.set(ZERO), full];
    const c = coordinates[axis]!;
    const whole = k === inner.length - 1 ? extent(axis) - (extent(axis) % by) : extent(axis);
    if (k < inner.length - 1) return [c.set(ZERO), forLoop(c, whole, 1, nest(k + 1))];
    return [
      c.set(ZERO),
      forLoop(c, whole, by, [point.set(linear), full]),
      whole === extent(axis) ? [] : [point.set(linear), remaining],
    ];
  };
  return nest(0);
}

/** The states of groups `from` to `to` through a chunk. */
function sweep(unit: Unit, position: SweepParts, given: Arguments, from: Code, to: Code): Code {
  const { plan, group, last, lane, point } = unit;
  const full = run(unit, position.full, given);
  const rest = run(unit, position.rest, given);
  const begin = [group.set(from), last.set(to)];
  if (plan.points > 1)
    return [
      begin,
      forLoop(group, last, 1, [lane.set(laneOf(unit, group.get)), eachPoint(unit, full, plan.copies, rest)]),
    ];
  const wide = plan.unroll;
  const wholeHere = i32.and(
    i32.leS(plus(group.get, wide), last.get),
    i32.leS(plus(lane.get, 4 * wide), i32.const(plan.form.extents[plan.vector]!)),
  );
  const together = [full, group.set(plus(group.get, wide))];
  return [
    begin,
    point.set(ZERO),
    whileLoop(i32.ltS(group.get, last.get), [
      lane.set(laneOf(unit, group.get)),
      position.rest === undefined ? together : when(wholeHere, together, [rest, group.set(plus(group.get, 1))]),
    ]),
  ];
}

/** A chunk: with records, a few groups at a time. */
export function chunk(
  unit: Unit,
  position: SweepParts,
  given: Arguments,
  stage: number | undefined,
  finish: number | undefined,
): Code {
  const { plan, here, firstGroup, someGroups, lane } = unit;
  if (plan.recordBytes === 0) return sweep(unit, position, given, ZERO, here.get);
  const some: Arguments = { group: ZERO, point: someGroups.get };
  return [
    firstGroup.set(ZERO),
    forLoop(firstGroup, here, STAGED_GROUPS, [
      someGroups.set(smaller(i32.const(STAGED_GROUPS), i32.sub(here.get, firstGroup.get))),
      lane.set(laneOf(unit, firstGroup.get)),
      run(unit, stage, some),
      sweep(unit, position, given, firstGroup.get, i32.add(firstGroup.get, someGroups.get)),
      lane.set(laneOf(unit, firstGroup.get)),
      run(unit, finish, some),
    ]),
  ];
}
