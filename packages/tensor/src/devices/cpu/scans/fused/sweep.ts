/**
 * The states of a few points and groups, in registers, through one chunk:
 *
 *     ends      forward; nothing but the state at the end, the product of the decays and what the adjoint would be
 *     advance   forward; nothing but the state at the end
 *     forward   forward; with all sums and outputs
 *     backward  forward, decays and states onto a tape; then back with the adjoint, and all sums and outputs
 */
import type { Scalar } from "../../../../ir/loop.js";
import { f32x4, i32, v128, type Code, type Local, type WasmFunction } from "../../wasm/emitter.js";
import { rewriting } from "../../../../ir/interning.js";
import { plus, range, scanFunction, times, type ContextOptions, type FunctionContext } from "./function.js";
import { STAGED_GROUPS, sumsUsed, VECTOR, type ScanPlan } from "./plan.js";
import { multiplyAdd as fused } from "../../wasm/multiply-add.js";
import { halvesOf, nearOne } from "./products.js";
import { own, pick, registersOf, type Numbers, type Registers } from "./registers.js";
import { stepResults, wayOf, type StepResults, type Way } from "./results.js";
import { scope, type Scope } from "../../loops/scope.js";
import { nodesOf } from "../../../../ir/simplify.js";
import type { Vectors } from "../../wasm/scratch.js";

const { add, sub, mul } = f32x4;

export interface Sweep {
  readonly kind: "ends" | "advance" | "forward" | "backward";
  /** Points of the last inner axis side by side, or groups. */
  readonly copies: number;
  readonly unroll: number;
}

/** All ones where a real or complex number is 0. */
export const whereZero = (x: readonly Code[]): Code =>
  x.map((part) => f32x4.eq(part, f32x4.const(0))).reduce((a, b) => v128.and(a, b));

/** x y + z of real or complex numbers; conj(x) y + z with `conjugate`. The product is 0 in the lanes of `zero`, even of infinity. */
function multiplyAdd(
  x: readonly Code[],
  factor: readonly Code[],
  z: readonly Code[] | undefined,
  { conjugate = false, zero }: { readonly conjugate?: boolean; readonly zero?: Code | undefined } = {},
): Code[] {
  // zero is where x is: a finite factor there makes the product 0
  const y = zero === undefined ? factor : factor.map((part) => v128.andNot(part, zero));
  const [xr, xi] = x as [Code, Code?],
    [yr, yi] = y as [Code, Code?];
  const plus = (value: Code, part: number): Code => (z === undefined ? value : add(value, z[part]!));
  const real = z === undefined ? mul(xr, yr) : fused(xr, yr, z[0]!);
  if (xi === undefined || yi === undefined) return [real];
  return conjugate
    ? [fused(xi, yi, real), plus(sub(mul(xr, yi), mul(xi, yr)), 1)]
    : [sub(real, mul(xi, yi)), plus(fused(xr, yi, mul(xi, yr)), 1)];
}

/** A sweep's expressions, [copy][part] each: the same ones at neighbouring points of the last inner axis. */
interface SideBySide {
  readonly decay: Scalar[][];
  readonly drive: Scalar[][];
  readonly seed: Scalar[][];
  readonly carried: Scalar[][];
  /** [sum or output][copy]. */
  readonly sumValues: Scalar[][];
  readonly directValues: Scalar[][];
  /** Which copy a state belongs to. */
  readonly copyOf: ReadonlyMap<Scalar, number>;
}

function sideBySide(plan: ScanPlan, copies: number): SideBySide {
  const lastInner = plan.inner.at(-1);
  const copyOf = new Map<Scalar, number>();
  const shifts = range(copies).map((k) =>
    k === 0
      ? (node: Scalar): Scalar => node
      : rewriting(
          (a) => (a.coefficients[lastInner!] === 0 ? a : { ...a, offset: a.offset + k * a.coefficients[lastInner!]! }),
          (node) => {
            if (node.op !== "state") return undefined;
            const copy = { ...node };
            copyOf.set(copy, k);
            return copy;
          },
        ),
  );
  const shifted = (nodes: readonly Scalar[] | undefined): Scalar[][] => shifts.map((shift) => (nodes ?? []).map(shift));
  return {
    decay: shifted(plan.decay),
    drive: shifted(plan.drive),
    seed: shifted(plan.seed),
    carried: shifted(plan.carried && [plan.carried]),
    sumValues: plan.sumValues.map((value) => shifts.map((shift) => shift(value))),
    directValues: plan.directValues.map((value) => shifts.map((shift) => shift(value))),
    copyOf,
  };
}

/** What the statements of a sweep are written with. */
interface Writing extends SideBySide, Registers {
  readonly c: FunctionContext;
  readonly plan: ScanPlan;
  readonly sweep: Sweep;
  /** The registers that stand for states in expressions. */
  readonly states: { current?: Numbers; previous?: Numbers; adjoint?: Numbers };
  readonly inScratch: (offset: number) => Code;
  /** Address of the step's record. */
  readonly record: () => Code;
  /** Loads what expressions need of the step's record. */
  readonly readRecord: (roots: readonly Scalar[]) => void;
  /** A scope for the values of a step. */
  readonly step: () => Scope;
  readonly evaluate: (nodes: readonly Scalar[], at: Scope) => Vectors[];
}

const flat = (...nodes: (readonly (readonly Scalar[])[])[]): Scalar[] => nodes.flat(2);
/** Terms of sums that are taken on a way. */
const sumRoots = ({ plan, sumValues }: Writing, way: Way): Scalar[] =>
  sumsUsed(plan)
    .filter((k) => wayOf(plan, k) === way)
    .flatMap((k) => sumValues[k]!);
const resultRoots = (w: Writing): Scalar[] => [...sumRoots(w, "back"), ...w.directValues.flat()];
const uses = (nodes: readonly Scalar[], which: keyof Writing["states"]): boolean =>
  [...nodesOf(nodes)].some((node) => node.op === "state" && node.which === which);

export function sweepFunction(name: string, plan: ScanPlan, sweep: Sweep): WasmFunction {
  const { kind, copies, unroll } = sweep;
  const expressions = sideBySide(plan, copies);
  const { decay, drive, seed, sumValues, directValues, copyOf } = expressions;
  const states: Writing["states"] = {};
  /** Values of the records, in locals. */
  const records = new Map<number, Local>();
  const options: ContextOptions = {
    unroll,
    fixedLanes: true,
    reduced: (slot) => [records.get(slot)!.get],
    state: (node) => states[node.which]![copyOf.get(node) ?? 0]![node.part === "re" ? 0 : 1]!.map((local) => local.get),
  };
  return scanFunction(name, plan, options, (c) => {
    const { f, s, emit, frame } = c;
    const before = scope();
    const results = [...sumsUsed(plan).map((k) => sumValues[k]!), ...directValues];
    const hoisted = { advance: [], ends: seed, forward: [...seed, ...results], backward: [...seed, ...results] }[kind];
    for (const root of flat(decay, drive, hoisted)) emit.hoist(root, new Set([plan.form.along]), frame, before);
    const inScratch = (offset: number): Code => plus(c.scratch.get, offset);
    const ofGroup = (): Code =>
      times(i32.and(c.group.get, i32.const(STAGED_GROUPS - 1)), plan.steps * plan.recordBytes);
    const record = (): Code => c.cursor("record", plus(inScratch(plan.at.records), ofGroup()), plan.recordBytes);
    WRITERS[kind]({
      ...expressions,
      ...registersOf(c, plan, copies, unroll),
      c,
      plan,
      sweep,
      states,
      inScratch,
      record,
      readRecord(roots) {
        for (const node of nodesOf(roots))
          if (node.op === "reduced") {
            if (!records.has(node.reduction)) records.set(node.reduction, f.local("v128"));
            s.body.push(records.get(node.reduction)!.set(v128.load(record(), VECTOR * node.reduction)));
          }
      },
      step: () => scope(undefined, before),
      evaluate: (nodes, at) => nodes.map((node) => emit.evaluate(node, frame, at)),
    });
  });
}

const WRITERS: Readonly<Record<Sweep["kind"], (w: Writing) => void>> = {
  advance: writeAdvance,
  ends: writeEnds,
  forward: writeForward,
  backward: writeBackward,
};

/** The lanes in which a decay forgets what it multiplies. */
const forgotten = ({ plan }: Writing, a: readonly Code[]): Code | undefined =>
  plan.form.forgets ? whereZero(a) : undefined;

/** Loads the states. */
function begin({ c, states, numbers, load }: Writing): Numbers {
  const h = (states.current = numbers());
  c.s.body.push(load(h, c.from.get));
  return h;
}

/** One step of one state; returns its decay. */
function advance(w: Writing, h: Numbers, copy: number, at: Scope, a = w.evaluate(w.decay[copy]!, at)): Vectors[] {
  const b = w.evaluate(w.drive[copy]!, at);
  w.c.s.body.push(
    w.update(h, copy, (j) => multiplyAdd(pick(a, j), own(h, copy, j), pick(b, j), { zero: forgotten(w, pick(a, j)) })),
  );
  return a;
}

function writeAdvance(w: Writing): void {
  const { c, decay, drive } = w;
  const h = begin(w);
  c.steps(1, () => {
    const at = w.step();
    w.readRecord(flat(decay, drive));
    for (const copy of decay.keys()) advance(w, h, copy, at);
  });
  c.s.body.push(w.store(h, c.to.get));
}

function writeEnds(w: Writing): void {
  const { c, plan, decay, drive, seed, numbers, load, store } = w;
  const { s } = c;
  const h = begin(w);
  const p = products(w);
  const r = plan.seed === undefined ? undefined : numbers();
  const adjoints = w.inScratch(plan.at.adjoints);
  s.body.push(r === undefined ? [] : load(r, adjoints));
  c.steps(1, () => {
    const at = w.step();
    w.readRecord(flat(decay, drive, seed));
    for (const copy of decay.keys()) {
      p.multiply(copy, advance(w, h, copy, at));
      if (r !== undefined) p.addSeed(r, copy, w.evaluate(seed[copy]!, at));
    }
  });
  s.body.push(store(h, c.to.get), p.store(), r === undefined ? [] : store(r, adjoints));
}

/** The products of the decays so far, and what they make of seeds for the adjoint before them. */
interface Products {
  readonly multiply: (copy: number, decay: readonly Vectors[]) => void;
  readonly addSeed: (r: Numbers, copy: number, seed: readonly Vectors[]) => void;
  readonly store: () => Code;
}

function products(w: Writing): Products {
  return w.plan.form.grows ? productsWithExponents(w) : plainProducts(w);
}

function plainProducts({ c: { s }, plan, numbers, load, store, update, inScratch }: Writing): Products {
  const p = numbers();
  const place = inScratch(plan.at.products);
  s.body.push(load(p, place));
  return {
    multiply: (copy, a) => s.body.push(update(p, copy, (j) => multiplyAdd(pick(a, j), own(p, copy, j), undefined))),
    addSeed: (r, copy, q) =>
      s.body.push(
        update(r, copy, (j) => multiplyAdd(own(p, copy, j), pick(q, j), own(r, copy, j), { conjugate: true })),
      ),
    store: () => store(p, place),
  };
}

function productsWithExponents(w: Writing): Products {
  const { c, plan, numbers, exponents, update } = w;
  const { f, s } = c;
  const [p, e] = [numbers(), exponents()];
  const [half, rest] = [f.local("v128"), f.local("v128")] as const;
  const [place, exponentPlace] = [w.inScratch(plan.at.products), w.inScratch(plan.at.exponents)];
  s.body.push(w.load(p, place), w.loadExponents(e, exponentPlace));
  return {
    multiply: (copy, a) =>
      s.body.push(
        update(p, copy, (j) => multiplyAdd(pick(a, j), own(p, copy, j), undefined)),
        e[copy]!.map((exponent, j) =>
          nearOne(
            p[copy]!.map((part) => part[j]!),
            exponent,
            half,
          ),
        ),
      ),
    addSeed: (r, copy, q) =>
      e[copy]!.forEach((exponent, j) => {
        s.body.push(halvesOf(exponent.get, half, rest));
        const scaled = pick(q, j).map((part) => mul(part, half.get));
        const sent = multiplyAdd(own(p, copy, j), scaled, undefined, { conjugate: true });
        s.body.push(r[copy]!.map((part, k) => part[j]!.set(add(mul(sent[k]!, rest.get), part[j]!.get))));
      }),
    store: () => [w.store(p, place), w.storeExponents(e, exponentPlace)],
  };
}

function writeForward(w: Writing): void {
  const { c, decay, drive, states } = w;
  const h = begin(w);
  const results = stepResults(c, w.plan, { ...w.sweep, ...w });
  const roots = resultRoots(w);
  const previous = uses(roots, "previous") ? (states.previous = w.numbers()) : undefined;
  c.steps(1, () => {
    const at = w.step();
    w.readRecord([...flat(decay, drive), ...roots]);
    if (previous !== undefined)
      c.s.body.push(w.each(previous, (local, copy, part, j) => local.set(h[copy]![part]![j]!.get)));
    for (const copy of decay.keys()) {
      advance(w, h, copy, at);
      results.copy(copy, at, "back");
    }
    results.end(at);
  });
  c.s.body.push(w.store(h, c.to.get), results.totals());
}

function writeBackward(w: Writing): void {
  const { c, plan, states, numbers } = w;
  const h = begin(w);
  const results = stepResults(c, plan, { ...w.sweep, ...w });
  states.previous = numbers();
  states.adjoint = numbers();
  const r = numbers();
  const tape = tapeOf(w);
  writeThere(w, h, tape, results);
  const adjoints = w.inScratch(plan.at.adjoints);
  c.s.body.push(w.load(r, adjoints));
  writeBack(w, h, r, tape, results);
  c.s.body.push(w.store(r, adjoints), results.totals());
}

/** States before the steps, and decays that cost something to compute again. */
interface Tape {
  readonly taped: readonly boolean[];
  readonly address: () => Code;
  readonly offset: (what: "state" | "decay", copy: number, part: number, j: number) => number;
}

function tapeOf({ c, plan, sweep, inScratch }: Writing): Tape {
  const { copies, unroll } = sweep;
  const forward = new Set([plan.form.along]);
  return {
    taped: plan.decay.map((node) => ("args" in node || node.op === "guard") && c.emit.varies(node, forward)),
    address: () => c.cursor("tape", inScratch(plan.at.tape), copies * unroll * 2 * plan.parts * VECTOR),
    offset: (what, copy, part, j) =>
      VECTOR * (((copy * plan.parts + part) * unroll + j) * 2 + (what === "state" ? 0 : 1)),
  };
}

/** Forward, onto the tape, with the sums that need the states alone. */
function writeThere(w: Writing, h: Numbers, { taped, address, offset }: Tape, results: StepResults): void {
  const { c, decay, drive, states } = w;
  c.steps(1, () => {
    const at = w.step();
    const roots = sumRoots(w, "there");
    w.readRecord([...flat(decay, drive), ...roots]);
    const keepsPrevious = uses(roots, "previous");
    for (const copy of decay.keys()) {
      const a = w.evaluate(decay[copy]!, at);
      c.s.body.push(
        w.ofCopy(h, copy, (local, part, j) => [
          keepsPrevious ? states.previous![copy]![part]![j]!.set(local.get) : [],
          v128.store(address(), local.get, offset("state", copy, part, j)),
          taped[part] ? v128.store(address(), pick(a, j)[part]!, offset("decay", copy, part, j)) : [],
        ]),
      );
      advance(w, h, copy, at, a);
      results.copy(copy, at, "there");
    }
  });
}

/** Back from the tape with the adjoint: g_t = r_t + seed_t, then r_(t-1) = conj(decay_t) g_t. */
function writeBack(w: Writing, h: Numbers, r: Numbers, { taped, address, offset }: Tape, results: StepResults): void {
  const { c, decay, seed, carried, states } = w;
  const { s } = c;
  const previous = states.previous!,
    g = states.adjoint!;
  const a = w.numbers();
  const isTaped = new Set(decay.flatMap((number) => number.filter((_, part) => taped[part])));
  const others = decay.map((number) => number.filter((node) => !isTaped.has(node)));
  c.steps(-1, () => {
    const at = w.step();
    w.readRecord([...flat(others, seed), ...resultRoots(w)]);
    for (const copy of decay.keys()) {
      const loaded =
        (what: "state" | "decay") =>
        (local: Local, part: number, j: number): Code =>
          what === "state" || taped[part] ? local.set(v128.load(address(), offset(what, copy, part, j))) : [];
      s.body.push(w.ofCopy(previous, copy, loaded("state")), w.ofCopy(a, copy, loaded("decay")));
      decay[copy]!.forEach((node, part) => {
        if (taped[part])
          at.values.set(
            node,
            a[copy]![part]!.map((local) => local.get),
          );
      });
      const [decays, seeds] = [w.evaluate(decay[copy]!, at), w.evaluate(seed[copy]!, at)];
      s.body.push(
        w.ofCopy(g, copy, (local, part, j) => local.set(add(r[copy]![part]![j]!.get, pick(seeds, j)[part]!))),
      );
      results.copy(copy, at, "back");
      const products = w.evaluate(carried[copy]!, at);
      s.body.push(
        w.update(r, copy, (j) => {
          const zero = forgotten(w, pick(decays, j));
          if (products.length === 0)
            return multiplyAdd(pick(decays, j), own(g, copy, j), undefined, { conjugate: true, zero });
          return pick(products, j).map((product) => (zero === undefined ? product : v128.andNot(product, zero)));
        }),
      );
    }
    results.end(at);
    s.body.push(w.each(h, (local, copy, part, j) => local.set(previous[copy]![part]![j]!.get)));
  });
}
