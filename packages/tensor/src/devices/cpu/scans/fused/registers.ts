/** States in registers, several side by side: [copy][part][group]. */
import { f32x4, v128, type Code, type Local } from "../../wasm/emitter.js";
import type { Vectors } from "../../wasm/scratch.js";
import { range, stateOffset, statesAt, type FunctionContext } from "./function.js";
import type { ScanPlan } from "./plan.js";

/** Numbers side by side: [copy][part][group]. */
export type Numbers = readonly (readonly (readonly Local[])[])[];
/** Exponents side by side: [copy][group]. */
export type Exponents = readonly (readonly Local[])[];

/** States smaller than this become 0 at the ends of chunks: arithmetic on denormal numbers is slow. NaN stays. */
const SMALLEST = f32x4.const(1e-36);
const flushed = (x: Code): Code => v128.andNot(x, f32x4.lt(f32x4.abs(x), SMALLEST));

const vectorOf = (values: Vectors, j: number): Code => (values.length === 1 ? values[0] : values[j])!;
/** The parts of one of several numbers side by side. */
export const pick = (x: readonly Vectors[], j: number): Code[] => x.map((values) => vectorOf(values, j));
export const own = (x: Numbers, copy: number, j: number): Code[] => x[copy]!.map((part) => part[j]!.get);

export interface Registers {
  /** New ones. */
  readonly numbers: () => Numbers;
  readonly each: (x: Numbers, visit: (local: Local, copy: number, part: number, j: number) => Code) => Code;
  readonly ofCopy: (x: Numbers, copy: number, visit: (local: Local, part: number, j: number) => Code) => Code;
  /** From and to the places of the function's states, counted from `base`. */
  readonly load: (x: Numbers, base: Code) => Code;
  readonly store: (x: Numbers, base: Code) => Code;
  /** Exponents of products, one for each number: new ones, and from and to their places, those of real parts. */
  readonly exponents: () => Exponents;
  readonly loadExponents: (x: Exponents, base: Code) => Code;
  readonly storeExponents: (x: Exponents, base: Code) => Code;
  /** x = value, where `value` may use the old x. */
  readonly update: (x: Numbers, copy: number, value: (j: number) => Code[]) => Code;
}

export function registersOf(c: FunctionContext, plan: ScanPlan, copies: number, unroll: number): Registers {
  const { f } = c;
  const spare = f.local("v128");
  const ofCopy: Registers["ofCopy"] = (x, copy, visit) =>
    x[copy]!.map((list, part) => list.map((local, j) => visit(local, part, j)));
  const each: Registers["each"] = (x, visit) =>
    x.map((_, copy) => ofCopy(x, copy, (local, part, j) => visit(local, copy, part, j)));
  const moved = (base: Code, move: (at: Local) => Code): Code => {
    const at = f.local("i32");
    return [at.set(statesAt(plan, c, base)), move(at)];
  };
  const eachExponent = (x: Exponents, base: Code, visit: (at: Local, local: Local, offset: number) => Code): Code =>
    moved(base, (at) => x.map((list, copy) => list.map((local, j) => visit(at, local, stateOffset(plan, j, copy, 0)))));
  return {
    exponents: () => range(copies).map(() => range(unroll).map(() => f.local("v128"))),
    loadExponents: (x, base) => eachExponent(x, base, (at, local, offset) => local.set(v128.load(at.get, offset))),
    storeExponents: (x, base) => eachExponent(x, base, (at, local, offset) => v128.store(at.get, local.get, offset)),
    numbers: () => range(copies).map(() => range(plan.parts).map(() => range(unroll).map(() => f.local("v128")))),
    each,
    ofCopy,
    load: (x, base) =>
      moved(base, (at) =>
        each(x, (local, copy, part, j) => local.set(v128.load(at.get, stateOffset(plan, j, copy, part)))),
      ),
    store: (x, base) =>
      moved(base, (at) =>
        each(x, (local, copy, part, j) => v128.store(at.get, flushed(local.get), stateOffset(plan, j, copy, part))),
      ),
    update: (x, copy, value) =>
      range(unroll).map((j) => {
        const values = value(j);
        const [re, im] = x[copy]!.map((part) => part[j]!) as [Local, Local?];
        return im === undefined ? re.set(values[0]!) : [spare.set(values[0]!), im.set(values[1]!), re.set(spare.get)];
      }),
  };
}
