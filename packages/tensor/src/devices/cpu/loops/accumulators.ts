/** Accumulators of a phase's reductions, in registers. */
import type { LoopKernel, Reduction } from "../../../ir/loop.js";
import { identity } from "../../../ir/simplify.js";
import { f32x4, i32, i32x4, v128, when, type Code, type Local } from "../wasm/emitter.js";
import type { Scratch, Vectors } from "../wasm/scratch.js";
import { acrossLanes, constantVector, fillBeyond } from "./lanes.js";
import type { Frame } from "./scope.js";

/** Terms a float32 accumulator takes before it is added to a total, so that rounding errors do not pile up. */
export const TERMS = 256;

const range = (n: number): number[] => Array.from({ length: n }, (_, k) => k);

/** A float32 maximum takes one instruction that forgets NaNs, and marks them aside. */
const marksNaN = ({ combine, value }: Reduction): boolean => combine === "max" && value.dtype === "f32";
const identityVector = (r: Reduction): Code => constantVector({ dtype: r.value.dtype, value: identity(r) });

function combining({ combine, value }: Reduction): (a: Code, b: Code) => Code {
  if (combine === "sum") return value.dtype === "f32" ? f32x4.add : i32x4.add;
  return value.dtype === "f32" ? f32x4.max : i32x4.maxS;
}

/** The locals of one reduction. */
interface Sums {
  readonly reduction: Reduction;
  readonly number: number;
  readonly sums: Local[];
  readonly totals: Local[];
  readonly nans: Local[];
}

export class Accumulators {
  /** Reductions of the stage being written. */
  active: readonly Sums[] = [];
  /** Whether long float32 sums are kept in two levels. */
  readonly twoLevels: boolean;
  readonly #s: Scratch;
  readonly #all: readonly Sums[];
  /** Terms since the last time that sums went into totals. */
  readonly #pending: Local;

  /** @param terms Terms that go into one accumulator. */
  constructor(s: Scratch, { reductions }: LoopKernel, terms: number, pending: Local) {
    this.#s = s;
    this.#pending = pending;
    this.#all = reductions.map((reduction, number) => ({ reduction, number, sums: [], totals: [], nans: [] }));
    this.twoLevels = terms > 2 * TERMS && reductions.some((r) => r.combine === "sum" && r.value.dtype === "f32");
  }

  /** Turns to the reductions of a stage. */
  activate(numbers: readonly number[]): void {
    this.active = numbers.map((n) => this.#all[n]!);
  }

  /** Sets `count` accumulators of each reduction to the start. */
  start(count: number): void {
    const s = this.#s;
    for (const { reduction, sums, totals, nans } of this.active) {
      for (const local of this.#locals(sums, count)) s.body.push(local.set(identityVector(reduction)));
      if (this.#isLong(reduction))
        for (const local of this.#locals(totals, count)) s.body.push(local.set(f32x4.const(0)));
      if (marksNaN(reduction)) for (const local of this.#locals(nans, count)) s.body.push(local.set(f32x4.const(0)));
    }
    if (this.twoLevels) s.body.push(this.#pending.set(i32.const(0)));
  }

  /** To be told after `added` terms went into each accumulator. */
  flushWhenDue(count: number, added: Code): void {
    const pending = this.#pending;
    if (this.twoLevels && this.active.length > 0)
      this.#s.body.push(
        pending.set(i32.add(pending.get, added)),
        when(i32.geS(pending.get, i32.const(TERMS)), this.#flush(count)),
      );
  }

  /**
   * Adds a value of each active reduction to its accumulators.
   * @param fills Whether lanes beyond the end of a run are to change nothing.
   */
  take(values: readonly Vectors[], count: number, frame: Frame, fills: boolean): void {
    const s = this.#s;
    this.active.forEach(({ reduction, sums, nans }, place) => {
      const own = values[place]!;
      range(count).forEach((k) => {
        const sum = sums[k]!;
        const value = (own.length === 1 ? own[0] : own[k])!;
        const term = fills ? fillBeyond(value, frame, identityVector(reduction)) : value;
        if (!marksNaN(reduction)) {
          s.body.push(sum.set(combining(reduction)(sum.get, term)));
          return;
        }
        const nan = nans[k]!;
        const kept = s.local("v128");
        s.body.push(
          kept.set(term),
          nan.set(v128.or(nan.get, f32x4.ne(kept.get, kept.get))),
          sum.set(f32x4.pmax(kept.get, sum.get)),
        );
      });
    });
  }

  /** Leaves the results in the accumulators. */
  end(count: number): void {
    const s = this.#s;
    if (this.twoLevels) s.body.push(this.#flush(count));
    for (const { reduction, sums, totals, nans } of this.active) {
      // A mask of NaNs is itself NaN.
      if (marksNaN(reduction))
        for (const k of range(count)) s.body.push(sums[k]!.set(v128.or(sums[k]!.get, nans[k]!.get)));
      if (this.#isLong(reduction)) for (const k of range(count)) s.body.push(sums[k]!.set(totals[k]!.get));
    }
  }

  /** The results, a vector an accumulator. */
  results({ sums }: Sums, count: number): Vectors {
    return this.#locals(sums, count).map((local) => local.get);
  }

  /** Four accumulators and their lanes joined: the result stands in each lane. */
  joined({ reduction, sums }: Sums): Vectors {
    const [a, b, c, d] = sums as [Local, Local, Local, Local];
    const op = combining(reduction);
    this.#s.body.push(a.set(op(op(a.get, b.get), op(c.get, d.get))), acrossLanes(op, a));
    return [a.get];
  }

  #flush(count: number): Code[] {
    return [
      this.#pending.set(i32.const(0)),
      ...this.active.flatMap(({ reduction, sums, totals }) =>
        !this.#isLong(reduction)
          ? []
          : range(count).flatMap((k) => [
              totals[k]!.set(f32x4.add(totals[k]!.get, sums[k]!.get)),
              sums[k]!.set(f32x4.const(0)),
            ]),
      ),
    ];
  }

  #isLong({ combine, value }: Reduction): boolean {
    return this.twoLevels && combine === "sum" && value.dtype === "f32";
  }

  #locals(list: Local[], count: number): Local[] {
    while (list.length < count) list.push(this.#s.local("v128"));
    return list.slice(0, count);
  }
}
