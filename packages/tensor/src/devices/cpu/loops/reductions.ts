/**
 * Rows with reductions: once for every stage, loops over the reduced axes around the values.
 *
 *     across   for each 4 vectors of outputs: for each reduced point, accumulators in registers
 *     along    for each reduced axis but the vector's: for each 4 vectors along the row
 *
 * A row kernel has these loops once for every stage, and keeps costly values of a row's points in the thread's scratch
 * from stage to stage.
 */
import type { LoopKernel, Scalar } from "../../../ir/loop.js";
import { rowStages, stageValues, type RowStage } from "../../../ir/row-stages.js";
import { nodesOf, product } from "../../../ir/simplify.js";
import { intrinsics } from "../../../ops/elementwise-rows.js";
import { i32, v128, type Local } from "../wasm/emitter.js";
import { Accumulators, TERMS } from "./accumulators.js";
import type { PhaseParts } from "./phase.js";
import type { LoopPlan } from "./plan.js";
import { scope, type Frame, type Scope } from "./scope.js";
import { UNROLL } from "./vector-loop.js";

export { dividedLoop } from "./division.js";

/** Bytes a thread keeps of a row, above which values are computed again instead: they would leave the cache. */
const MOST_KEPT = 256 * 1024;
/** Operations from which on a value is rather kept than computed again. */
const COSTLY = 8;
/** Points that a place in the scratch has room for: along the row, or the neighbouring rows taken together. */
const sideOf = (plan: LoopPlan): number => (plan.kind === "across" ? 4 * UNROLL : 1);
/** Bytes of a kept value, for all points of a row (of `side` rows), and a vector that is not full. */
const keptSize = (kernel: LoopKernel, side: number): number => 4 * side * product(kernel.reduceExtents) + 16;

function stagesFor(kernel: LoopKernel): readonly RowStage[] {
  const cost = (node: Scalar): number =>
    [...nodesOf([node])].reduce(
      (sum, each) => sum + ("args" in each && intrinsics[each.op].cost === "dear" ? COSTLY : 1),
      0,
    );
  const keeping = rowStages(kernel, (node) => cost(node) > COSTLY);
  const fits = keeping.flatMap((stage) => stage.keeps).length * keptSize(kernel, 4 * UNROLL) <= MOST_KEPT;
  return fits ? keeping : rowStages(kernel, () => false);
}

/** Bytes of scratch that a phase with reductions needs. */
export const keptBytes = (kernel: LoopKernel, plan: LoopPlan): number =>
  stagesFor(kernel).flatMap((stage) => stage.keeps).length * keptSize(kernel, sideOf(plan));

/** Writes a row: the loops of every stage, and the outputs. @param whole Every run has a multiple of so many points. */
export function reduceRow(phase: PhaseParts, whole: number): void {
  const row = new ReducedRow(phase);
  if (phase.plan.kind === "along") row.along();
  else row.across(whole);
}

class ReducedRow {
  readonly #phase: PhaseParts;
  readonly #stages: readonly RowStage[];
  readonly #keptNodes: readonly Scalar[];
  readonly #keptStrides: readonly number[];
  readonly #accumulators: Accumulators;
  /** Terms that one run along the vector axis adds to an accumulator. */
  readonly #runTerms: number;

  constructor(phase: PhaseParts) {
    const { kernel, plan, all, reduceAxes } = phase;
    this.#phase = phase;
    this.#stages = stagesFor(kernel);
    this.#keptNodes = this.#stages.flatMap((stage) => stage.keeps);
    this.#keptStrides = keptStridesOf(phase);
    this.#runTerms = plan.kind === "along" ? vectorsInRun(all[plan.axis]!) : 1;
    const terms = this.#runTerms * product(reduceAxes.map((k) => all[k]!));
    this.#accumulators = new Accumulators(phase.s, kernel, terms, phase.pending);
  }

  /** Lanes are neighbouring outputs. */
  across(whole: number): void {
    const { kernel, plan, vectors, inner, cursors, emit, reduceAxes, storeOutputs, reduced } = this.#phase;
    const sums = this.#accumulators;
    const axes = new Set(reduceAxes);
    vectors.run(
      { longest: plan.block, whole, isTiled: false },
      cursors.value,
      () => scope(),
      (count, frame) => {
        for (const stage of this.#stages) {
          sums.activate(stage.reductions);
          sums.start(count);
          const before = scope();
          for (const root of stageValues(kernel, stage)) emit.hoist(root, axes, frame, before);
          inner.over(reduceAxes, () => {
            this.#points(stage, count, frame, before);
            sums.flushWhenDue(count, i32.const(1));
          });
          sums.end(count);
          for (const each of sums.active) reduced[each.number] = sums.results(each, count);
        }
        // Not from `before`: it may lie under other conditions.
        storeOutputs(frame, scope());
      },
    );
  }

  /** Lanes run along a reduced axis. */
  along(): void {
    for (const stage of this.#stages) this.#stageAlong(stage);
    const { vectors, storeOutputs } = this.#phase;
    storeOutputs({ unroll: 1, i: vectors.i, bytes: vectors.bytes }, scope());
  }

  #stageAlong(stage: RowStage): void {
    const { s, plan, all, reduceAxes, vectors, inner, reduced } = this.#phase;
    const sums = this.#accumulators;
    sums.activate(stage.reductions);
    const extent = all[plan.axis]!;
    sums.start(UNROLL);
    // A long row is summed in blocks of as many terms as an accumulator takes.
    const most = sums.twoLevels && stage.reductions.length > 0 ? Math.min(extent, 4 * UNROLL * TERMS) : extent;
    const inBlocks = most < extent;
    inner.over(reduceAxes, () => {
      if (!inBlocks) {
        s.body.push(vectors.length.set(i32.const(extent)));
        this.#run(stage, most, extent);
        sums.flushWhenDue(UNROLL, i32.const(this.#runTerms));
        return;
      }
      // The vector axis moves on by a block at a time, like a reduced axis of its own.
      inner.inBlocks(plan.axis, most, vectors.length, () => {
        this.#run(stage, most, commonDivisor(most, extent));
        sums.flushWhenDue(UNROLL, i32.const(TERMS));
      });
    });
    sums.end(UNROLL);
    for (const each of sums.active) reduced[each.number] = sums.joined(each);
  }

  /** One run of a stage along the vector axis. */
  #run(stage: RowStage, longest: number, whole: number): void {
    const { kernel, plan, vectors, cursors, emit } = this.#phase;
    const axes = new Set([plan.axis]);
    vectors.run(
      { longest, whole, isTiled: false },
      cursors.value,
      () => {
        const before = scope();
        const frame = { unroll: 1, i: vectors.i, bytes: vectors.bytes };
        for (const root of stageValues(kernel, stage)) emit.hoist(root, axes, frame, before);
        return before;
      },
      (count, frame, before) => this.#points(stage, count, frame, before),
    );
  }

  /** A stage at the points of a frame. */
  #points(stage: RowStage, count: number, frame: Frame, before: Scope): void {
    const { s, plan, emit, storeOutputs } = this.#phase;
    const sums = this.#accumulators;
    const at = scope(undefined, before);
    for (const node of stage.uses) {
      const address = this.#keptAddress(node, frame);
      const vectors = Array.from({ length: count }, (_, k) => {
        const vector = s.local("v128");
        s.body.push(vector.set(v128.load(address.get, 16 * k)));
        return vector.get;
      });
      at.values.set(node, vectors);
    }
    const values = sums.active.map(({ reduction }) => emit.evaluate(reduction.value, frame, at));
    sums.take(values, count, frame, plan.kind === "along");
    for (const node of stage.keeps) {
      const vectors = emit.evaluate(node, frame, at);
      const address = this.#keptAddress(node, frame);
      for (let k = 0; k < count; k++)
        s.body.push(v128.store(address.get, (vectors.length === 1 ? vectors[0] : vectors[k])!, 16 * k));
    }
    storeOutputs(frame, at, stage.outputs);
  }

  #keptAddress(node: Scalar, frame: Frame): Local {
    const { s, kernel, plan, cursors, kept } = this.#phase;
    const address = s.local("i32");
    const number = this.#keptNodes.indexOf(node);
    const row = cursors.at(`kept${number}`, { offset: 0, coefficients: this.#keptStrides }, 4, () =>
      i32.add(kept.get, i32.const(number * keptSize(kernel, sideOf(plan)))),
    );
    s.body.push(address.set(plan.kind === "across" ? row : i32.add(row, frame.bytes.get)));
    return address;
  }
}

/** Points of a row one after another in the scratch, along the vector axis first where it is one of the row's. */
function keptStridesOf({ kernel: { extents }, plan, all, reduceAxes }: PhaseParts): readonly number[] {
  return all.map((_, k) => {
    const inside = k === plan.axis ? [] : reduceAxes.filter((other) => other > k).map((other) => all[other]!);
    const row = k !== plan.axis && plan.kind === "along" ? all[plan.axis]! : 1;
    return k < extents.length ? 0 : sideOf(plan) * product(inside) * row;
  });
}

/** Vectors that fall to the first accumulator, which takes the single ones as well. */
const vectorsInRun = (points: number): number =>
  Math.floor(points / (4 * UNROLL)) + Math.ceil((points % (4 * UNROLL)) / 4);

const commonDivisor = (a: number, b: number): number => (b === 0 ? a : commonDivisor(b, a % b));
