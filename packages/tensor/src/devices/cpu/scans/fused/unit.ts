/** The phase of a fused recurrence: all chunks of each unit, or only the ends of its segments. */
import {
  block,
  br,
  brIf,
  call,
  f32x4,
  forLoop,
  functionBuilder,
  i32,
  loop,
  memory as bulk,
  v128,
  when,
  whileLoop,
  type Code,
  type WasmFunction,
} from "../../wasm/emitter.js";
import {
  chunk,
  eachPoint,
  inScratch,
  laneOf,
  run,
  smaller,
  unitOf,
  ZERO,
  type SweepParts,
  type Unit,
} from "./chunk.js";
import { keptArgument, sharedArgument } from "./form.js";
import { plus, range, times } from "./function.js";
import { VECTOR, type PartialSum, type ScanPlan } from "./plan.js";

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

export function unitFunction(name: string, plan: ScanPlan, parts: UnitParts, ends: boolean): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const unit = unitOf(f, plan);
  const { form, at, stateBytes, totalSumBytes } = plan;
  const given = form.kept !== undefined && plan.seed !== undefined;
  return f.finish(
    name,
    forLoop(unit.unit, f.params[2], 1, [
      findPlace(unit),
      unit.kept.set(form.kept ? firstKept(unit) : inScratch(unit, at.states)),
      given ? [] : states(unit, parts, ends),
      plan.seed === undefined ? [] : adjoints(unit, ends),
      ends ? ones(unit) : clear(unit, at.totalSums, totalSumBytes),
      parts.backward === undefined ? forward(unit, parts, parts.forward!, ends) : adjoint(unit, parts, parts.backward),
      ends
        ? [
            bulk.copy(carryAt(unit, 0, 0), unit.kept.get, i32.const(stateBytes)),
            bulk.copy(carryAt(unit, 1, 0), inScratch(unit, at.products), i32.const(stateBytes)),
            form.grows ? bulk.copy(carryAt(unit, 3, 0), inScratch(unit, at.exponents), i32.const(stateBytes)) : [],
            plan.seed === undefined
              ? []
              : bulk.copy(carryAt(unit, 2, 0), inScratch(unit, at.adjoints), i32.const(stateBytes)),
          ]
        : plan.partials.filter((p) => !p.keepsAlong).map((partial) => flush(unit, parts, partial)),
    ]),
  );
}

/** Coordinates, groups and steps of a unit by its number. */
function findPlace(unit: Unit): Code {
  const { plan, rest, segment, blockIndex, outerPoint, here, firstStep, endStep, time, coordinates } = unit;
  const { form, outer, groups, blocks, allGroups, segments } = plan;
  const extent = (axis: number): number => form.extents[axis]!;
  return [
    rest.set(unit.unit.get),
    segment.set(segments === 1 ? ZERO : i32.remU(rest.get, i32.const(segments))),
    segments === 1 ? [] : rest.set(i32.divU(rest.get, i32.const(segments))),
    blockIndex.set(blocks === 1 ? ZERO : i32.remU(rest.get, i32.const(blocks))),
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
    endStep.set(smaller(plus(firstStep.get, plan.segmentSteps), i32.const(extent(form.along)))),
    time.set(firstStep.get),
  ];
}

const sharedBase = ({ args, plan }: Unit): Code => i32.load(args.get, 4 * sharedArgument(plan.form));
const clear = (unit: Unit, offset: number, bytes: number): Code =>
  bytes === 0 ? [] : bulk.fill(inScratch(unit, offset), ZERO, i32.const(bytes));

// ---- states at the ends ----

/** Ends (0), products (1), adjoints (2) or exponents (3) of the segment `by` further on. */
const carryAt = (unit: Unit, which: 0 | 1 | 2 | 3, by: number): Code =>
  plus(
    plus(sharedBase(unit), unit.plan.carries + which * unit.plan.carryBytes),
    times(plus(unit.unit.get, by), unit.plan.stateBytes),
  );

/** The states before the unit's first step. */
function states(unit: Unit, parts: UnitParts, ends: boolean): Code {
  const { plan, kept, group, here, lane, segment } = unit;
  const initial: Code =
    parts.initial === undefined
      ? bulk.fill(kept.get, ZERO, times(here.get, plan.groupBytes))
      : [
          group.set(ZERO),
          forLoop(group, here, 1, [
            lane.set(laneOf(unit, group.get)),
            eachPoint(unit, run(unit, parts.initial, {}), 1, []),
          ]),
        ];
  if (plan.segments === 1) return initial;
  const bytes = i32.const(plan.stateBytes);
  return when(
    i32.eqz(segment.get),
    initial,
    ends ? bulk.fill(kept.get, ZERO, bytes) : bulk.copy(kept.get, carryAt(unit, 0, -1), bytes),
  );
}

/** The adjoints behind its last step. */
function adjoints(unit: Unit, ends: boolean): Code {
  const { plan, segment } = unit;
  const bytes = i32.const(plan.stateBytes);
  const none = bulk.fill(inScratch(unit, plan.at.adjoints), ZERO, bytes);
  if (plan.segments === 1 || ends) return none;
  return when(
    i32.eq(segment.get, i32.const(plan.segments - 1)),
    none,
    bulk.copy(inScratch(unit, plan.at.adjoints), carryAt(unit, 2, 1), bytes),
  );
}

/** Products of no decays. */
function ones(unit: Unit): Code {
  const { plan, number, numbersEnd } = unit;
  return [
    plan.form.grows ? clear(unit, plan.at.exponents, plan.stateBytes) : [],
    number.set(inScratch(unit, plan.at.products)),
    numbersEnd.set(inScratch(unit, plan.at.products + plan.stateBytes)),
    forLoop(
      number,
      numbersEnd,
      plan.parts * VECTOR,
      range(plan.parts).map((part) => v128.store(number.get, f32x4.const(part === 0 ? 1 : 0), part * VECTOR)),
    ),
  ];
}

// ---- states kept between kernels ----

/** Bytes from one chunk's states to the next chunk's. */
const keptRow = ({ form, allGroups, groupBytes }: ScanPlan): number =>
  form.kept === undefined ? 0 : allGroups * groupBytes;
const chunksOf = ({ form, steps }: ScanPlan): number => Math.ceil(form.extents[form.along]! / steps);

/** Where a unit's first states lie. */
const firstKept = ({ plan, args, outerPoint, blockIndex }: Unit): Code =>
  i32.add(
    i32.load(args.get, 4 * keptArgument(plan.form)),
    i32.add(times(outerPoint.get, (chunksOf(plan) + 1) * keptRow(plan)), times(blockIndex.get, plan.stateBytes)),
  );

// ---- chunks ----

const countSteps = ({ plan, count, endStep, time }: Unit): Code =>
  count.set(smaller(i32.const(plan.steps), i32.sub(endStep.get, time.get)));

/** A chunk with its results. */
function results(unit: Unit, parts: UnitParts, position: SweepParts, toNext = 0): Code {
  const { plan, kept } = unit;
  return [
    clear(unit, plan.at.eachSums, plan.eachSumBytes),
    chunk(unit, position, { to: plus(kept.get, toNext) }, parts.stage, parts.finish),
    plan.partials.filter((p) => p.keepsAlong).map((partial) => flush(unit, parts, partial)),
  ];
}

/** From the first step to the last. */
function forward(unit: Unit, parts: UnitParts, position: SweepParts, ends: boolean): Code {
  const { plan, time, endStep, kept, count } = unit;
  return whileLoop(i32.ltS(time.get, endStep.get), [
    countSteps(unit),
    ends ? chunk(unit, position, {}, parts.stage, undefined) : results(unit, parts, position, keptRow(plan)),
    kept.set(plus(kept.get, keptRow(plan))),
    time.set(i32.add(time.get, count.get)),
  ]);
}

/** To the last chunk, past the states before each; and back, from the last chunk to the first. */
function adjoint(unit: Unit, parts: UnitParts, position: SweepParts): Code {
  const { plan, time, endStep, firstStep, kept } = unit;
  const row = parts.forward === undefined ? keptRow(plan) : plan.stateBytes;
  const before = chunksOf(plan) - 1;
  const toLast =
    parts.forward === undefined
      ? [time.set(i32.const(before * plan.steps)), kept.set(plus(kept.get, before * row))]
      : whileLoop(i32.ltS(plus(time.get, plan.steps), endStep.get), [
          countSteps(unit),
          chunk(unit, parts.forward, { to: plus(kept.get, row) }, parts.stageForward, undefined),
          kept.set(plus(kept.get, row)),
          time.set(plus(time.get, plan.steps)),
        ]);
  return [
    toLast,
    block(
      loop([
        countSteps(unit),
        results(unit, parts, position),
        brIf(1, i32.eq(time.get, firstStep.get)),
        kept.set(plus(kept.get, -row)),
        time.set(plus(time.get, -plan.steps)),
        br(0),
      ]),
    ),
  ];
}

// ---- partial sums ----

/** Writes the unit's part of a sum to shared memory. */
function flush(unit: Unit, parts: UnitParts, partial: PartialSum): Code {
  const { plan, outerPoint, segment, blockIndex, time, count } = unit;
  const { keepsAlong, keepsVector, points } = partial;
  let row: Code = outerPoint.get;
  if (!keepsAlong) row = plus(times(row, plan.segments), segment.get);
  if (!keepsVector) row = plus(times(row, plan.blocks), blockIndex.get);
  const wide = keepsVector ? plan.blocks * plan.groups * 4 : 1;
  let element = times(row, partial.size);
  if (keepsAlong) element = plus(element, times(time.get, points * wide));
  if (keepsVector) element = plus(element, laneOf(unit, ZERO));
  return call(
    (keepsVector ? parts.flushVectors : parts.flushLanes)!,
    plus(plus(sharedBase(unit), partial.shared), times(element, 4)),
    inScratch(unit, partial.scratch),
    keepsAlong ? times(count.get, points) : i32.const(points),
  );
}
