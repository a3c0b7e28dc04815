/**
 * The states of a few points and groups, in registers, through one chunk:
 *
 *     ends      forward; nothing but the state at the end, the product of the decays and what the adjoint would be
 *     advance   forward; nothing but the state at the end
 *     forward   forward; with all sums and outputs
 *     backward  forward, decays and states onto a tape; then back with the adjoint, and all sums and outputs
 */
import type { DType } from "../dtype.js";
import type { Scalar } from "../loop.js";
import type { ScanStep } from "../scan-kernel.js";
import { f32x4, i32, i32x4, v128, when, type Code, type Local, type WasmFunction } from "./emitter.js";
import { rewriting } from "./fused-scan-form.js";
import { plus, range, scanFunction, stateOffset, statesAt, storeLanes, times, type FunctionContext } from "./fused-scan-function.js";
import { STAGED_GROUPS, VECTOR, type Partial, type ScanPlan } from "./fused-scan-plan.js";
import { fillBeyond, scope, type Scope } from "./loop-values.js";
import { nodesOf, product } from "./loop-simplify.js";
import type { Vectors } from "./vector-math.js";

const { add, sub, mul } = f32x4;

export interface Sweep {
  readonly kind: "ends" | "advance" | "forward" | "backward";
  /** Points of the last inner axis side by side, or groups. */
  readonly copies: number;
  readonly unroll: number;
}

/** Numbers side by side: [copy][part][group]. */
type Numbers = readonly (readonly (readonly Local[])[])[];

/** States smaller than this become 0 at the ends of chunks: arithmetic on denormal numbers is slow. NaN stays. */
const SMALLEST = f32x4.const(1e-30);
const flushed = (x: Code): Code => v128.andNot(x, f32x4.lt(f32x4.abs(x), SMALLEST));

/** x y + z of real or complex numbers; conj(x) y + z with `conjugate`. */
function multiplyAdd(x: readonly Code[], y: readonly Code[], z: readonly Code[] | undefined, conjugate = false): Code[] {
  const [xr, xi] = x as [Code, Code?], [yr, yi] = y as [Code, Code?];
  const plusZ = (value: Code, part: number): Code => (z === undefined ? value : add(value, z[part]!));
  if (xi === undefined || yi === undefined) return [plusZ(mul(xr, yr), 0)];
  return conjugate
    ? [plusZ(add(mul(xr, yr), mul(xi, yi)), 0), plusZ(sub(mul(xr, yi), mul(xi, yr)), 1)]
    : [plusZ(sub(mul(xr, yr), mul(xi, yi)), 0), plusZ(add(mul(xr, yi), mul(xi, yr)), 1)];
}

export function sweepFunction(name: string, plan: ScanPlan, { kind, copies, unroll }: Sweep): WasmFunction {
  const { form, parts } = plan;
  const lastInner = plan.inner.at(-1);
  const copyOf = new Map<Scalar, number>();
  /** The same expression at the k-th next point of the last inner axis. */
  const shifts = range(copies).map((k) => k === 0 ? (node: Scalar): Scalar => node : rewriting(
    (a) => (a.coefficients[lastInner!] === 0 ? a : { ...a, offset: a.offset + k * a.coefficients[lastInner!]! }),
    (node) => {
      if (node.op !== "state") return undefined;
      const copy = { ...node };
      copyOf.set(copy, k);
      return copy;
    }));
  const shifted = (nodes: readonly Scalar[] | undefined): Scalar[][] => shifts.map((shift) => (nodes ?? []).map(shift));
  const [decay, drive, seed] = [shifted(plan.decay), shifted(plan.drive), shifted(plan.seed)];
  const sumValues = plan.sumValues.map((value) => shifts.map((shift) => shift(value)));
  const directValues = plan.directValues.map((value) => shifts.map((shift) => shift(value)));
  const states: Partial_<Record<"current" | "previous" | "adjoint", Numbers>> = {};
  /** Values of the records, in locals. */
  const records = new Map<number, Local>();

  return scanFunction(name, plan, {
    unroll, fixedLanes: true,
    reduced: (slot) => [records.get(slot)!.get],
    state: (node) => states[node.which]![copyOf.get(node) ?? 0]![node.part === "re" ? 0 : 1]!.map((local) => local.get),
  }, (c) => {
    const { f, s, emit, frame, cursor } = c;
    const numbers = (): Numbers => range(copies).map(() => range(parts).map(() => range(unroll).map(() => f.local("v128"))));
    const each = (x: Numbers, visit: (local: Local, copy: number, part: number, j: number) => Code): Code =>
      x.map((number, copy) => number.map((part, p) => part.map((local, j) => visit(local, copy, p, j))));
    const vectorOf = (values: Vectors, j: number): Code => (values.length === 1 ? values[0] : values[j])!;
    const load = (x: Numbers, base: Code): Code => { const at = f.local("i32"); return [at.set(statesAt(plan, c, base)), each(x, (local, copy, part, j) => local.set(v128.load(at.get, stateOffset(plan, j, copy, part))))]; };
    const store = (x: Numbers, base: Code): Code => { const at = f.local("i32"); return [at.set(statesAt(plan, c, base)), each(x, (local, copy, part, j) => v128.store(at.get, flushed(local.get), stateOffset(plan, j, copy, part)))]; };
    const inScratch = (offset: number): Code => plus(c.scratch.get, offset);
    const record = (): Code => cursor("record", plus(inScratch(plan.at.records), times(i32.and(c.group.get, i32.const(STAGED_GROUPS - 1)), plan.steps * plan.recordBytes)), plan.recordBytes);

    const readRecord = (roots: readonly Scalar[]): void => {
      for (const node of nodesOf(roots)) if (node.op === "reduced") {
        if (!records.has(node.reduction)) records.set(node.reduction, f.local("v128"));
        s.body.push(records.get(node.reduction)!.set(v128.load(record(), VECTOR * node.reduction)));
      }
    };
    const before = scope();
    const hoisted = kind === "advance" ? [decay, drive] : kind === "ends" ? [decay, drive, seed] : [decay, drive, seed, sumsUsed(plan).map((k) => sumValues[k]!), directValues];
    for (const root of hoisted.flat(2)) emit.hoist(root, new Set([form.along]), frame, before);
    const evaluate = (nodes: Scalar[], at: Scope): Vectors[] => nodes.map((node) => emit.evaluate(node, frame, at));
    /** The parts of one of several numbers side by side. */
    const pick = (x: Vectors[], j: number): Code[] => x.map((values) => vectorOf(values, j));
    const own = (x: Numbers, copy: number, j: number): Code[] => x[copy]!.map((part) => part[j]!.get);
    const spare = f.local("v128");
    /** x = value, where `value` may use the old x. */
    const update = (x: Numbers, copy: number, value: (j: number) => Code[]): Code => range(unroll).map((j) => {
      const values = value(j);
      const [re, im] = x[copy]!.map((part) => part[j]!) as [Local, Local?];
      return im === undefined ? re.set(values[0]!) : [spare.set(values[0]!), im.set(values[1]!), re.set(spare.get)];
    });
    const roots = (...nodes: Scalar[][][]): Scalar[] => nodes.flat(2);

    const h = (states.current = numbers());
    s.body.push(load(h, c.from.get));
    /** One step of one state. */
    const advance = (copy: number, at: Scope, a = evaluate(decay[copy]!, at)): Vectors[] => {
      const b = evaluate(drive[copy]!, at);
      s.body.push(update(h, copy, (j) => multiplyAdd(pick(a, j), own(h, copy, j), pick(b, j))));
      return a;
    };

    if (kind === "advance") {
      c.steps(1, () => {
        const at = scope(undefined, before);
        readRecord(roots(decay, drive));
        for (const copy of range(copies)) advance(copy, at);
      });
      s.body.push(store(h, c.to.get));
      return;
    }

    const adjoints = inScratch(plan.at.adjoints);
    if (kind === "ends") {
      const p = numbers(), r = numbers(), products = inScratch(plan.at.products);
      s.body.push(load(p, products), plan.seed === undefined ? [] : load(r, adjoints));
      c.steps(1, () => {
        const at = scope(undefined, before);
        readRecord(roots(decay, drive, seed));
        for (const copy of range(copies)) {
          const a = advance(copy, at);
          s.body.push(update(p, copy, (j) => multiplyAdd(pick(a, j), own(p, copy, j), undefined)));
          if (plan.seed === undefined) continue;
          const q = evaluate(seed[copy]!, at);
          s.body.push(update(r, copy, (j) => multiplyAdd(own(p, copy, j), pick(q, j), own(r, copy, j), true)));
        }
      });
      s.body.push(store(h, c.to.get), store(p, products), plan.seed === undefined ? [] : store(r, adjoints));
      return;
    }

    const results = stepResults(c, plan, { copies, unroll, sumValues, directValues, record });
    const resultRoots = roots(sumsUsed(plan).map((k) => sumValues[k]!), directValues);
    const forward = new Set([form.along]);
    if (kind === "forward") {
      const previous = usesPrevious(plan) ? (states.previous = numbers()) : undefined;
      c.steps(1, () => {
        const at = scope(undefined, before);
        readRecord([...roots(decay, drive), ...resultRoots]);
        if (previous !== undefined) s.body.push(each(previous, (local, copy, part, j) => local.set(h[copy]![part]![j]!.get)));
        for (const copy of range(copies)) {
          advance(copy, at);
          results.copy(copy, at);
        }
        results.end(at);
      });
      s.body.push(store(h, c.to.get));
    } else {
      const previous = (states.previous = numbers()), g = (states.adjoint = numbers()), r = numbers();
      // Decays that cost something to compute again go onto the tape.
      const taped = plan.decay.map((node) => ("args" in node || node.op === "guard") && emit.varies(node, forward));
      const tape = (): Code => cursor("tape", inScratch(plan.at.tape), copies * unroll * 2 * parts * VECTOR);
      const tapeAt = (what: 0 | 1, copy: number, part: number, j: number): number => VECTOR * (((copy * parts + part) * unroll + j) * 2 + what);
      const ofCopy = (x: Numbers, copy: number, visit: (local: Local, part: number, j: number) => Code): Code =>
        x[copy]!.map((list, part) => list.map((local, j) => visit(local, part, j)));
      c.steps(1, () => {
        const at = scope(undefined, before);
        readRecord(roots(decay, drive));
        for (const copy of range(copies)) {
          const a = evaluate(decay[copy]!, at);
          s.body.push(ofCopy(h, copy, (local, part, j) => [
            v128.store(tape(), local.get, tapeAt(0, copy, part, j)),
            taped[part] ? v128.store(tape(), vectorOf(a[part]!, j), tapeAt(1, copy, part, j)) : [],
          ]));
          advance(copy, at, a);
        }
      });
      s.body.push(load(r, adjoints));
      const a = numbers();
      const isTaped = new Set(roots(decay.map((number) => number.filter((_, part) => taped[part]))));
      c.steps(-1, () => {
        const at = scope(undefined, before);
        readRecord([...roots(decay.map((number) => number.filter((node) => !isTaped.has(node))), seed), ...resultRoots]);
        for (const copy of range(copies)) {
          s.body.push(ofCopy(previous, copy, (local, part, j) => local.set(v128.load(tape(), tapeAt(0, copy, part, j)))));
          s.body.push(ofCopy(a, copy, (local, part, j) => (taped[part] ? local.set(v128.load(tape(), tapeAt(1, copy, part, j))) : [])));
          decay[copy]!.forEach((node, part) => { if (taped[part]) at.values.set(node, a[copy]![part]!.map((local) => local.get)); });
          const [decays, seeds] = [evaluate(decay[copy]!, at), evaluate(seed[copy]!, at)];
          s.body.push(ofCopy(g, copy, (local, part, j) => local.set(add(r[copy]![part]![j]!.get, pick(seeds, j)[part]!))));
          results.copy(copy, at);
          s.body.push(update(r, copy, (j) => multiplyAdd(pick(decays, j), own(g, copy, j), undefined, true)));
        }
        results.end(at);
        s.body.push(each(h, (local, copy, part, j) => local.set(previous[copy]![part]![j]!.get)));
      });
      s.body.push(store(r, adjoints));
    }
    s.body.push(results.totals());
  });
}

type Partial_<T> = { [K in keyof T]?: T[K] };

export const sumsUsed = (plan: ScanPlan): number[] => [...plan.localSums, ...plan.partials.map((p) => p.sum)];

function usesPrevious(plan: ScanPlan): boolean {
  const seen = new Set<Scalar>();
  const visit = (node: Scalar): boolean => {
    if (seen.has(node)) return false;
    seen.add(node);
    if (node.op === "state") return node.which === "previous";
    return node.op === "guard" ? visit(node.value) : "args" in node ? node.args.some(visit) : node.op === "load" && (node.gather ?? []).some((g) => visit(g.value));
  };
  return [...sumsUsed(plan).map((k) => plan.sumValues[k]!), ...plan.directValues].some(visit);
}

// ---- sums and outputs of a step ----

/** Where the function's part of a partial sum's array begins; copies along a kept axis and groups are vectors behind it. */
function partialStart(c: FunctionContext, plan: ScanPlan, partial: Partial): Code {
  const wide = partial.keepsVector ? plan.groups : 1;
  let place: Code = i32.const(partial.scratch);
  partial.kept.forEach((axis, k) => {
    const stride = product(partial.kept.slice(k + 1).map((other) => plan.form.extents[other]!)) * wide * VECTOR;
    place = i32.add(place, times(c.coordinates[axis]!.get, stride));
  });
  if (partial.keepsVector) place = i32.add(place, times(c.group.get, VECTOR));
  return i32.add(c.scratch.get, place);
}

/** Bytes from one copy to the next: 0 if the copies are summed. */
const copyStride = (plan: ScanPlan, partial: Partial): number =>
  partial.kept.includes(plan.inner.at(-1) ?? -1) ? (partial.keepsVector ? plan.groups : 1) * VECTOR : 0;

/** Vectors that a partial sum has here: [offset in bytes, the copies and groups that go into it]. */
function targets(plan: ScanPlan, partial: Partial, copies: number, unroll: number): { readonly offset: number; readonly from: readonly (readonly [copy: number, j: number])[] }[] {
  const byOffset = new Map<number, [number, number][]>();
  for (const copy of range(copies)) for (const j of range(unroll)) {
    const offset = copy * copyStride(plan, partial) + (partial.keepsVector ? j * VECTOR : 0);
    byOffset.set(offset, [...(byOffset.get(offset) ?? []), [copy, j]]);
  }
  return [...byOffset].map(([offset, from]) => ({ offset, from }));
}

interface ResultRoots {
  readonly copies: number;
  readonly unroll: number;
  readonly sumValues: readonly (readonly Scalar[])[];
  readonly directValues: readonly (readonly Scalar[])[];
  readonly record: () => Code;
}

/** What happens to a state's results: `copy` once it is known, `end` after all states of a step, `totals` after the chunk. */
interface StepResults {
  readonly copy: (copy: number, at: Scope) => void;
  readonly end: (at: Scope) => void;
  readonly totals: () => Code;
}

function stepResults(c: FunctionContext, plan: ScanPlan, { copies, unroll, sumValues, directValues, record }: ResultRoots): StepResults {
  const { f, s, emit, frame, cursor } = c;
  const { form } = plan;
  const lastInner = plan.inner.at(-1);
  const part = (values: Vectors, j: number): Code => (values.length === 1 ? values[0] : values[j])!;
  /** Adds to a vector in memory what each copy has for it; the sum of several copies waits in a local. */
  const accumulate = (address: () => Code, offset: number, value: (copy: number) => Code, copy: number, first: number, last: number, waiting: Local): Code => {
    const before = copy === first ? v128.load(address(), offset) : waiting.get;
    const sum = add(before, value(copy));
    return copy === last ? v128.store(address(), sum, offset) : waiting.set(sum);
  };

  const localWaiting = plan.localSums.map(() => f.local("v128"));
  const partials = plan.partials.map((partial) => {
    const inRegisters = !partial.keepsAlong && partial.step === "each";
    const at = targets(plan, partial, copies, unroll).map((target) => ({ ...target, local: f.local("v128") }));
    // Sums over all steps of a chunk begin at 0: two levels keep rounding errors small.
    if (inRegisters) s.body.push(at.map(({ local }) => local.set(f32x4.const(0))));
    const start = (): Code => cursor(`sum${partial.sum}`, partialStart(c, plan, partial), partial.keepsAlong ? partial.points * (partial.keepsVector ? plan.groups : 1) * VECTOR : 0);
    return { partial, inRegisters, at, start };
  });
  const addPartial = ({ partial, inRegisters, at, start }: (typeof partials)[number], copy: number, scope: Scope): void => {
    const values = emit.evaluate(sumValues[partial.sum]![copy]!, frame, scope);
    for (const { offset, from, local } of at) {
      const here = from.filter(([k]) => k === copy);
      if (here.length === 0) continue;
      const sum = here.map(([, j]) => part(values, j)).reduce((a, b) => add(a, b));
      const term = partial.keepsVector ? sum : fillBeyond(sum, frame, f32x4.const(0));
      s.body.push(inRegisters ? local.set(add(local.get, term)) : accumulate(start, offset, () => term, copy, from[0]![0], from.at(-1)![0], local));
    }
  };
  const addDirect = (n: number, copy: number, scope: Scope): void => {
    const { output, dtype, index } = form.direct[n]!;
    const vectors = emit.evaluate(directValues[n]![copy]!, frame, scope);
    const place = copy === 0 ? index : { ...index, offset: index.offset + copy * index.coefficients[lastInner!]! };
    for (const j of range(unroll)) storeLanes(c, form.inputs.length + output, place, index.coefficients[plan.vector]!, j, inMemory(dtype, part(vectors, j)));
  };
  const now = (step: ScanStep, copy: number, at: Scope): void => {
    for (const partial of partials) if (partial.partial.step === step) addPartial(partial, copy, at);
    form.direct.forEach((o, n) => { if (o.step === step) addDirect(n, copy, at); });
  };
  return {
    copy(copy, at) {
      plan.localSums.forEach((k, n) => {
        const value = (): Code => emit.evaluate(sumValues[k]![copy]!, frame, at)[0]!;
        s.body.push(accumulate(record, VECTOR * (plan.staged.length + n), value, copy, 0, copies - 1, localWaiting[n]!));
      });
      now("each", copy, at);
    },
    end(at) {
      for (const step of ["first", "last"] as const) {
        const outside = s.body;
        const inside: Code[] = (s.body = []);
        for (const copy of range(copies)) now(step, copy, scope(at, at.before));
        s.body = outside;
        if (inside.length > 0) s.body.push(when(i32.eq(c.time(), i32.const(step === "first" ? 0 : form.extents[form.along]! - 1)), inside));
      }
    },
    totals: () => partials.filter((p) => p.inRegisters).map(({ partial, at }) => {
      const start = f.local("i32");
      return [start.set(partialStart(c, plan, partial)), at.map(({ offset, local }) => v128.store(start.get, add(v128.load(start.get, offset), local.get), offset))];
    }),
  };
}

const inMemory = (dtype: DType, vector: Code): Code => (dtype === "bool" ? v128.and(vector, i32x4.const(1)) : vector);
