/**
 * The loop along the vector axis: segments, where the guards' conditions do not change, in them four vectors at a time,
 * then single ones.
 */
import type { LoopKernel, Range } from "../../../ir/loop.js";
import { nodesOf, roots } from "../../../ir/simplify.js";
import { i32, when, whileLoop, type Code, type Local } from "../wasm/emitter.js";
import type { Scratch } from "../wasm/scratch.js";
import { floorDivide } from "./lanes.js";
import type { Frame, Scope } from "./scope.js";
import type { ValueEmitter } from "./values.js";

/** Vectors side by side that hide each other's latencies. */
export const UNROLL = 4;

const keyOf = ({ lo, hi, index }: Range): string => `${lo},${hi},${index.offset}|${index.coefficients.join()}`;

export class VectorLoop {
  /** The point, and its distance in bytes from the first. */
  readonly i: Local;
  readonly bytes: Local;
  /** Points of the run: to be set ahead of the loop. */
  readonly length: Local;
  readonly #end: Local;
  readonly #limit: Local;
  readonly #s: Scratch;
  readonly #axis: number;
  /** Conditions that hold in whole segments, and whether they do in the present one. */
  readonly #conditions = new Map<string, Range>();
  readonly #flags = new Map<string, Local>();

  constructor(s: Scratch, axis: number) {
    this.#s = s;
    this.#axis = axis;
    [this.i, this.bytes] = [s.local("i32"), s.local("i32")];
    [this.#end, this.#limit] = [s.local("i32"), s.local("i32")];
    this.length = s.local("i32");
  }

  readonly flag = (condition: Range): Code => this.#flags.get(keyOf(condition))!.get;

  /** Finds the conditions by which runs are cut. */
  cutBy(kernel: LoopKernel, kindOf: ValueEmitter["conditionKind"]): void {
    for (const node of nodesOf(roots(kernel)))
      if (node.op === "guard")
        for (const c of node.conditions) if (kindOf(c) === "segment") this.#conditions.set(keyOf(c), c);
    for (const key of this.#conditions.keys()) this.#flags.set(key, this.#s.local("i32"));
  }

  /**
   * No length is more than `longest`, and each is a multiple of `whole`.
   * @param value The index of a condition, where the vector axis counts as 0.
   */
  run(
    { longest, whole, isTiled }: { readonly longest: number; readonly whole: number; readonly isTiled: boolean },
    value: (index: Range["index"]) => Code,
    ahead: () => Scope,
    body: (count: number, frame: Frame, before: Scope) => void,
  ): void {
    const s = this.#s;
    const { i, bytes, length } = this;
    const segmented = this.#conditions.size > 0;
    const outside = s.body;
    const segment: Code[] = (s.body = []);
    s.body.push(this.#end.set(length.get));
    for (const [key, c] of this.#conditions) this.#cut(c, value, this.#flags.get(key)!);
    const before = ahead();
    const run = (unroll: number): void => {
      const points = 4 * unroll;
      const statements: Code[] = (s.body = []);
      s.body.push(bytes.set(i32.shl(i.get, i32.const(2))));
      body(unroll, unroll === 1 ? { unroll, i, bytes, end: this.#end } : { unroll, i, bytes }, before);
      segment.push(this.#limit.set(i32.sub(this.#end.get, i32.const(unroll === 1 ? 0 : points - 1))));
      segment.push(whileLoop(i32.ltS(i.get, this.#limit.get), [statements, i.set(i32.add(i.get, i32.const(points)))]));
    };
    // In a tile it is the rows that hide latencies, and more points would need more cache lines at once.
    const wide = longest >= 4 * UNROLL && !isTiled;
    if (wide) run(UNROLL);
    if (!wide || segmented || whole % (4 * UNROLL) !== 0) run(1);
    s.body = outside;
    s.body.push(i.set(i32.const(0)));
    s.body.push(segmented ? whileLoop(i32.ltS(i.get, length.get), [segment, i.set(this.#end.get)]) : segment);
  }

  /** Where the condition begins and ceases to hold along the vector axis, ends the segment; `flag`: it holds at i. */
  #cut(c: Range, value: (index: Range["index"]) => Code, flag: Local): void {
    const s = this.#s;
    const step = c.index.coefficients[this.#axis]!;
    const [from, to, t] = [s.local("i32"), s.local("i32"), s.local("i32")];
    const at = value(c.index);
    const d = Math.abs(step);
    // at + d i >= lo from i = ceil((lo - at) / d) on; at - d i < hi from i = floor((at - hi) / d) + 1 on.
    const [first, last] =
      step > 0
        ? [i32.sub(i32.const(c.lo + d - 1), at), i32.sub(i32.const(c.hi + d - 1), at)]
        : [i32.sub(at, i32.const(c.hi - d)), i32.sub(at, i32.const(c.lo - d))];
    s.body.push(t.set(first), from.set(floorDivide(t, d)), t.set(last), to.set(floorDivide(t, d)));
    for (const edge of [from, to])
      s.body.push(
        when(i32.and(i32.gtS(edge.get, this.i.get), i32.ltS(edge.get, this.#end.get)), this.#end.set(edge.get)),
      );
    s.body.push(flag.set(i32.and(i32.leS(from.get, this.i.get), i32.ltS(this.i.get, to.get))));
  }
}
