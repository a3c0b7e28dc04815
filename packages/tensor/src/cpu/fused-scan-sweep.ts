/**
 * The states of a few points and groups, in registers, through one chunk:
 *
 *     ends      forward; nothing but the state at the end, the product of the decays and what the adjoint would be
 *     advance   forward; nothing but the state at the end
 *     forward   forward; with all sums and outputs
 *     backward  forward, decays and states onto a tape; then back with the adjoint, and all sums and outputs
 */
import type { Scalar } from "../loop.js";
import { f32x4, i32, v128, when, type Code, type Local, type WasmFunction } from "./emitter.js";
import { rewriting } from "./fused-scan-form.js";
import { plus, range, scanFunction, stateOffset, statesAt, storeLanes, times, type FunctionContext } from "./fused-scan-function.js";
import { STAGED_GROUPS, VECTOR, type Partial, type ScanPlan } from "./fused-scan-plan.js";
import { fillBeyond, scope, type Scope } from "./loop-values.js";
import { product } from "./loop-simplify.js";
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
  let record: (() => Code) | undefined;

  return scanFunction(name, plan, {
    unroll,
    reduced: (slot) => [v128.load(record!(), VECTOR * slot)],
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
    record = () => cursor("record", plus(inScratch(plan.at.records), times(i32.and(c.group.get, i32.const(STAGED_GROUPS - 1)), plan.steps * plan.recordBytes)), plan.recordBytes);

    const before = scope();
    const hoisted = kind === "advance" ? [decay, drive] : kind === "ends" ? [decay, drive, seed] : [decay, drive, seed, sumsUsed(plan).map((k) => sumValues[k]!), directValues];
    for (const root of hoisted.flat(2)) emit.hoist(root, new Set([form.along]), frame, before);
    const evaluate = (nodes: Scalar[][], at: Scope): Vectors[][] => nodes.map((number) => number.map((node) => emit.evaluate(node, frame, at)));
    /** The parts of one of several numbers side by side. */
    const pick = (x: Vectors[][], copy: number, j: number): Code[] => x[copy]!.map((values) => vectorOf(values, j));
    const own = (x: Numbers, copy: number, j: number): Code[] => x[copy]!.map((part) => part[j]!.get);
    const spare = [f.local("v128"), f.local("v128")] as const;
    /** x = value, where `value` may use the old x. */
    const update = (x: Numbers, value: (copy: number, j: number) => Code[]): Code => range(copies).map((copy) => range(unroll).map((j) => {
      const values = value(copy, j);
      const targets = x[copy]!.map((part) => part[j]!);
      if (parts === 1) return targets[0]!.set(values[0]!);
      return [spare[0].set(values[0]!), targets[1]!.set(values[1]!), targets[0]!.set(spare[0].get)];
    }));

    const h = (states.current = numbers());
    s.body.push(load(h, c.from.get));
    const advance = (at: Scope): Vectors[][] => {
      const a = evaluate(decay, at), b = evaluate(drive, at);
      s.body.push(update(h, (copy, j) => multiplyAdd(pick(a, copy, j), own(h, copy, j), pick(b, copy, j))));
      return a;
    };

    if (kind === "advance") {
      c.steps(1, () => void advance(scope(undefined, before)));
      s.body.push(store(h, c.to.get));
      return;
    }

    if (kind === "ends") {
      const p = numbers(), r = numbers();
      s.body.push(load(p, inScratch(plan.at.products)), plan.seed === undefined ? [] : load(r, inScratch(plan.at.adjoints)));
      c.steps(1, () => {
        const at = scope(undefined, before);
        const a = advance(at);
        s.body.push(update(p, (copy, j) => multiplyAdd(pick(a, copy, j), own(p, copy, j), undefined)));
        if (plan.seed === undefined) return;
        const q = evaluate(seed, at);
        s.body.push(update(r, (copy, j) => multiplyAdd(own(p, copy, j), pick(q, copy, j), own(r, copy, j), true)));
      });
      s.body.push(store(h, c.to.get), store(p, inScratch(plan.at.products)), plan.seed === undefined ? [] : store(r, inScratch(plan.at.adjoints)));
      return;
    }

    const totals = startTotals(c, plan, copies, unroll);
    const results = (at: Scope): void => stepResults(c, plan, { copies, unroll, sumValues, directValues, totals, record: record! }, at);
    if (kind === "forward") {
      const needsPrevious = usesPrevious(plan);
      const previous = needsPrevious ? (states.previous = numbers()) : undefined;
      c.steps(1, () => {
        const at = scope(undefined, before);
        if (previous !== undefined) s.body.push(each(previous, (local, copy, part, j) => local.set(h[copy]![part]![j]!.get)));
        advance(at);
        results(at);
      });
      s.body.push(store(h, c.to.get));
    } else {
      const previous = (states.previous = numbers()), g = (states.adjoint = numbers()), r = numbers();
      // Decays that cost something to compute again go onto the tape.
      const taped = plan.decay.map((node) => ("args" in node || node.op === "guard") && emit.varies(node, new Set([form.along])));
      const tape = (): Code => cursor("tape", inScratch(plan.at.tape), copies * unroll * 2 * parts * VECTOR);
      const tapeAt = (what: 0 | 1, copy: number, part: number, j: number): number => VECTOR * (((copy * parts + part) * unroll + j) * 2 + what);
      c.steps(1, () => {
        const at = scope(undefined, before);
        const a = evaluate(decay, at);
        s.body.push(each(h, (local, copy, part, j) => [
          v128.store(tape(), local.get, tapeAt(0, copy, part, j)),
          taped[part] ? v128.store(tape(), vectorOf(a[copy]![part]!, j), tapeAt(1, copy, part, j)) : [],
        ]));
        advance(at);
      });
      const adjoints = inScratch(plan.at.adjoints);
      s.body.push(load(r, adjoints));
      const a = numbers();
      c.steps(-1, () => {
        const at = scope(undefined, before);
        s.body.push(each(previous, (local, copy, part, j) => local.set(v128.load(tape(), tapeAt(0, copy, part, j)))));
        s.body.push(each(a, (local, copy, part, j) => (taped[part] ? local.set(v128.load(tape(), tapeAt(1, copy, part, j))) : [])));
        decay.forEach((number, copy) => number.forEach((node, part) => { if (taped[part]) at.values.set(node, a[copy]![part]!.map((local) => local.get)); }));
        const [decays, seeds] = [evaluate(decay, at), evaluate(seed, at)];
        s.body.push(each(g, (local, copy, part, j) => local.set(add(r[copy]![part]![j]!.get, pick(seeds, copy, j)[part]!))));
        results(at);
        s.body.push(update(r, (copy, j) => multiplyAdd(pick(decays, copy, j), own(g, copy, j), undefined, true)));
        s.body.push(each(h, (local, copy, part, j) => local.set(previous[copy]![part]![j]!.get)));
      });
      s.body.push(store(r, adjoints));
    }
    for (const { code } of totals.values()) s.body.push(code());
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

interface Total {
  readonly locals: readonly Local[];
  /** Adds the chunk's terms to the array: two levels keep rounding errors small. */
  readonly code: () => Code;
}

/** Sums over all steps of the chunk, in registers. */
function startTotals(c: FunctionContext, plan: ScanPlan, copies: number, unroll: number): Map<number, Total> {
  const totals = new Map<number, Total>();
  for (const partial of plan.partials) {
    if (partial.keepsAlong || partial.step !== "each") continue;
    const at = targets(plan, partial, copies, unroll);
    const locals = at.map(() => c.f.local("v128")), start = c.f.local("i32");
    c.s.body.push(locals.map((local) => local.set(f32x4.const(0))));
    totals.set(partial.sum, { locals, code: () => [
      start.set(partialStart(c, plan, partial)),
      at.map(({ offset }, k) => v128.store(start.get, add(v128.load(start.get, offset), locals[k]!.get), offset)),
    ] });
  }
  return totals;
}

interface Results {
  readonly copies: number;
  readonly unroll: number;
  readonly sumValues: readonly (readonly Scalar[])[];
  readonly directValues: readonly (readonly Scalar[])[];
  readonly totals: ReadonlyMap<number, Total>;
  readonly record: () => Code;
}

function stepResults(c: FunctionContext, plan: ScanPlan, { copies, unroll, sumValues, directValues, totals, record }: Results, at: Scope): void {
  const { s, emit, frame, cursor } = c;
  const { form } = plan;
  const lastStep = form.extents[form.along]! - 1;
  /** The statements, only at the step they are for. */
  const atStep = (step: "each" | "first" | "last", write: (at: Scope) => void): void => {
    if (step === "each") return write(at);
    const outside = s.body;
    const inside: Code[] = (s.body = []);
    write(scope(at, at.before));
    s.body = outside;
    s.body.push(when(i32.eq(c.coordinates[form.along]!.get, i32.const(step === "first" ? 0 : lastStep)), inside));
  };
  const term = (values: readonly Vectors[], from: readonly (readonly [number, number])[]): Code =>
    from.map(([copy, j]): Code => (values[copy]!.length === 1 ? values[copy]![0]! : values[copy]![j]!)).reduce((a, b) => add(a, b));
  plan.localSums.forEach((k, n) => {
    const values = sumValues[k]!.map((value) => emit.evaluate(value, frame, at));
    const offset = VECTOR * (plan.staged.length + n);
    s.body.push(v128.store(record(), add(v128.load(record(), offset), term(values, range(copies).map((copy) => [copy, 0] as const))), offset));
  });
  for (const partial of plan.partials) atStep(partial.step, (at) => {
    const values = sumValues[partial.sum]!.map((value) => emit.evaluate(value, frame, at));
    const total = totals.get(partial.sum);
    const start = total !== undefined ? undefined : partial.keepsAlong
      ? cursor(`sum${partial.sum}`, partialStart(c, plan, partial), partial.points * (partial.keepsVector ? plan.groups : 1) * VECTOR)
      : cursor(`sum${partial.sum}`, partialStart(c, plan, partial), 0);
    targets(plan, partial, copies, unroll).forEach(({ offset, from }, n) => {
      const sum = term(values, from);
      const kept = partial.keepsVector ? sum : fillBeyond(sum, frame, f32x4.const(0));
      if (total !== undefined) s.body.push(total.locals[n]!.set(add(total.locals[n]!.get, kept)));
      else s.body.push(v128.store(start!, add(v128.load(start!, offset), kept), offset));
    });
  });
  const direct = form.direct.map((o, n) => ({ ...o, values: directValues[n]! }));
  for (const { output, dtype, index, step, values } of direct) atStep(step, (at) => {
    const lastInner = plan.inner.at(-1);
    values.forEach((value, copy) => {
      const vectors = emit.evaluate(value, frame, at);
      const place = copy === 0 ? index : { ...index, offset: index.offset + copy * index.coefficients[lastInner!]! };
      const base = c.pointer(form.inputs.length + output, place);
      range(unroll).forEach((j) => {
        const vector = vectors.length === 1 ? vectors[0]! : vectors[j]!;
        storeLanes(c, base, index.coefficients[plan.vector]!, j, dtype === "bool" ? v128.and(vector, [0xfd, 12, ...range(4).flatMap(() => [1, 0, 0, 0])]) : vector);
      });
    });
  });
}
