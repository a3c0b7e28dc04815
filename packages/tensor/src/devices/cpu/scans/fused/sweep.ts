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
import { plus, range, scanFunction, stateOffset, statesAt, times } from "./function.js";
import { STAGED_GROUPS, sumsUsed, VECTOR, type ScanPlan } from "./plan.js";
import { stepResults, wayOf, type Way } from "./results.js";
import { scope, type Scope } from "../../loops/values.js";
import { nodesOf } from "../../../../ir/simplify.js";
import type { Vectors } from "../../wasm/vector-math.js";

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

/** All ones where a real or complex number is 0. */
export const whereZero = (x: readonly Code[]): Code =>
  x.map((part) => f32x4.eq(part, f32x4.const(0))).reduce((a, b) => v128.and(a, b));

/** x y + z of real or complex numbers; conj(x) y + z with `conjugate`. The product is 0 in the lanes of `zero`, even of infinity. */
function multiplyAdd(
  x: readonly Code[],
  y: readonly Code[],
  z: readonly Code[] | undefined,
  { conjugate = false, zero }: { readonly conjugate?: boolean; readonly zero?: Code | undefined } = {},
): Code[] {
  const [xr, xi] = x as [Code, Code?],
    [yr, yi] = y as [Code, Code?];
  const masked = (value: Code): Code => (zero === undefined ? value : v128.andNot(value, zero));
  const plusZ = (value: Code, part: number): Code => (z === undefined ? masked(value) : add(masked(value), z[part]!));
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
  const [decay, drive, seed] = [shifted(plan.decay), shifted(plan.drive), shifted(plan.seed)];
  const carried = shifted(plan.carried && [plan.carried]);
  const sumValues = plan.sumValues.map((value) => shifts.map((shift) => shift(value)));
  const directValues = plan.directValues.map((value) => shifts.map((shift) => shift(value)));
  const states: { current?: Numbers; previous?: Numbers; adjoint?: Numbers } = {};
  /** Values of the records, in locals. */
  const records = new Map<number, Local>();

  return scanFunction(
    name,
    plan,
    {
      unroll,
      fixedLanes: true,
      reduced: (slot) => [records.get(slot)!.get],
      state: (node) =>
        states[node.which]![copyOf.get(node) ?? 0]![node.part === "re" ? 0 : 1]!.map((local) => local.get),
    },
    (c) => {
      const { f, s, emit, frame, cursor } = c;
      const numbers = (): Numbers =>
        range(copies).map(() => range(parts).map(() => range(unroll).map(() => f.local("v128"))));
      const each = (x: Numbers, visit: (local: Local, copy: number, part: number, j: number) => Code): Code =>
        x.map((number, copy) => number.map((part, p) => part.map((local, j) => visit(local, copy, p, j))));
      const vectorOf = (values: Vectors, j: number): Code => (values.length === 1 ? values[0] : values[j])!;
      const load = (x: Numbers, base: Code): Code => {
        const at = f.local("i32");
        return [
          at.set(statesAt(plan, c, base)),
          each(x, (local, copy, part, j) => local.set(v128.load(at.get, stateOffset(plan, j, copy, part)))),
        ];
      };
      const store = (x: Numbers, base: Code): Code => {
        const at = f.local("i32");
        return [
          at.set(statesAt(plan, c, base)),
          each(x, (local, copy, part, j) => v128.store(at.get, flushed(local.get), stateOffset(plan, j, copy, part))),
        ];
      };
      const inScratch = (offset: number): Code => plus(c.scratch.get, offset);
      const record = (): Code =>
        cursor(
          "record",
          plus(
            inScratch(plan.at.records),
            times(i32.and(c.group.get, i32.const(STAGED_GROUPS - 1)), plan.steps * plan.recordBytes),
          ),
          plan.recordBytes,
        );

      const readRecord = (roots: readonly Scalar[]): void => {
        for (const node of nodesOf(roots))
          if (node.op === "reduced") {
            if (!records.has(node.reduction)) records.set(node.reduction, f.local("v128"));
            s.body.push(records.get(node.reduction)!.set(v128.load(record(), VECTOR * node.reduction)));
          }
      };
      const before = scope();
      const hoisted =
        kind === "advance"
          ? [decay, drive]
          : kind === "ends"
            ? [decay, drive, seed]
            : [decay, drive, seed, sumsUsed(plan).map((k) => sumValues[k]!), directValues];
      for (const root of hoisted.flat(2)) emit.hoist(root, new Set([form.along]), frame, before);
      const evaluate = (nodes: Scalar[], at: Scope): Vectors[] => nodes.map((node) => emit.evaluate(node, frame, at));
      /** The parts of one of several numbers side by side. */
      const pick = (x: Vectors[], j: number): Code[] => x.map((values) => vectorOf(values, j));
      const own = (x: Numbers, copy: number, j: number): Code[] => x[copy]!.map((part) => part[j]!.get);
      const spare = f.local("v128");
      /** x = value, where `value` may use the old x. */
      const update = (x: Numbers, copy: number, value: (j: number) => Code[]): Code =>
        range(unroll).map((j) => {
          const values = value(j);
          const [re, im] = x[copy]!.map((part) => part[j]!) as [Local, Local?];
          return im === undefined ? re.set(values[0]!) : [spare.set(values[0]!), im.set(values[1]!), re.set(spare.get)];
        });
      const roots = (...nodes: Scalar[][][]): Scalar[] => nodes.flat(2);

      /** The lanes in which a decay forgets what it multiplies. */
      const forgotten = (a: readonly Code[]): Code | undefined => (form.forgets ? whereZero(a) : undefined);

      const h = (states.current = numbers());
      s.body.push(load(h, c.from.get));
      /** One step of one state. */
      const advance = (copy: number, at: Scope, a = evaluate(decay[copy]!, at)): Vectors[] => {
        const b = evaluate(drive[copy]!, at);
        s.body.push(
          update(h, copy, (j) => multiplyAdd(pick(a, j), own(h, copy, j), pick(b, j), { zero: forgotten(pick(a, j)) })),
        );
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
        const p = numbers(),
          r = numbers(),
          products = inScratch(plan.at.products);
        s.body.push(load(p, products), plan.seed === undefined ? [] : load(r, adjoints));
        c.steps(1, () => {
          const at = scope(undefined, before);
          readRecord(roots(decay, drive, seed));
          for (const copy of range(copies)) {
            const a = advance(copy, at);
            // The product may have overflowed: a decay or a seed of 0 makes it 0 all the same.
            s.body.push(
              update(p, copy, (j) =>
                multiplyAdd(pick(a, j), own(p, copy, j), undefined, { zero: whereZero(pick(a, j)) }),
              ),
            );
            if (plan.seed === undefined) continue;
            const q = evaluate(seed[copy]!, at);
            s.body.push(
              update(r, copy, (j) =>
                multiplyAdd(own(p, copy, j), pick(q, j), own(r, copy, j), {
                  conjugate: true,
                  zero: whereZero(pick(q, j)),
                }),
              ),
            );
          }
        });
        s.body.push(store(h, c.to.get), store(p, products), plan.seed === undefined ? [] : store(r, adjoints));
        return;
      }

      const results = stepResults(c, plan, { copies, unroll, sumValues, directValues, record });
      const sumRoots = (way: Way): Scalar[] =>
        roots(
          sumsUsed(plan)
            .filter((k) => wayOf(plan, k) === way)
            .map((k) => sumValues[k]!),
        );
      const resultRoots = [...sumRoots("back"), ...roots(directValues)];
      const uses = (nodes: readonly Scalar[], which: keyof typeof states): boolean =>
        [...nodesOf(nodes)].some((node) => node.op === "state" && node.which === which);
      const forward = new Set([form.along]);
      if (kind === "forward") {
        const previous = uses(resultRoots, "previous") ? (states.previous = numbers()) : undefined;
        c.steps(1, () => {
          const at = scope(undefined, before);
          readRecord([...roots(decay, drive), ...resultRoots]);
          if (previous !== undefined)
            s.body.push(each(previous, (local, copy, part, j) => local.set(h[copy]![part]![j]!.get)));
          for (const copy of range(copies)) {
            advance(copy, at);
            results.copy(copy, at, "back");
          }
          results.end(at);
        });
        s.body.push(store(h, c.to.get));
      } else {
        const previous = (states.previous = numbers()),
          g = (states.adjoint = numbers()),
          r = numbers();
        // Decays that cost something to compute again go onto the tape.
        const taped = plan.decay.map((node) => ("args" in node || node.op === "guard") && emit.varies(node, forward));
        const tape = (): Code => cursor("tape", inScratch(plan.at.tape), copies * unroll * 2 * parts * VECTOR);
        const tapeAt = (what: 0 | 1, copy: number, part: number, j: number): number =>
          VECTOR * (((copy * parts + part) * unroll + j) * 2 + what);
        const ofCopy = (x: Numbers, copy: number, visit: (local: Local, part: number, j: number) => Code): Code =>
          x[copy]!.map((list, part) => list.map((local, j) => visit(local, part, j)));
        c.steps(1, () => {
          const at = scope(undefined, before);
          readRecord([...roots(decay, drive), ...sumRoots("there")]);
          const keepsPrevious = uses(sumRoots("there"), "previous");
          for (const copy of range(copies)) {
            const a = evaluate(decay[copy]!, at);
            s.body.push(
              ofCopy(h, copy, (local, part, j) => [
                keepsPrevious ? previous[copy]![part]![j]!.set(local.get) : [],
                v128.store(tape(), local.get, tapeAt(0, copy, part, j)),
                taped[part] ? v128.store(tape(), vectorOf(a[part]!, j), tapeAt(1, copy, part, j)) : [],
              ]),
            );
            advance(copy, at, a);
            results.copy(copy, at, "there");
          }
        });
        s.body.push(load(r, adjoints));
        const a = numbers();
        const isTaped = new Set(roots(decay.map((number) => number.filter((_, part) => taped[part]))));
        c.steps(-1, () => {
          const at = scope(undefined, before);
          readRecord([
            ...roots(
              decay.map((number) => number.filter((node) => !isTaped.has(node))),
              seed,
            ),
            ...resultRoots,
          ]);
          for (const copy of range(copies)) {
            s.body.push(
              ofCopy(previous, copy, (local, part, j) => local.set(v128.load(tape(), tapeAt(0, copy, part, j)))),
            );
            s.body.push(
              ofCopy(a, copy, (local, part, j) =>
                taped[part] ? local.set(v128.load(tape(), tapeAt(1, copy, part, j))) : [],
              ),
            );
            decay[copy]!.forEach((node, part) => {
              if (taped[part])
                at.values.set(
                  node,
                  a[copy]![part]!.map((local) => local.get),
                );
            });
            const [decays, seeds] = [evaluate(decay[copy]!, at), evaluate(seed[copy]!, at)];
            s.body.push(
              ofCopy(g, copy, (local, part, j) => local.set(add(r[copy]![part]![j]!.get, pick(seeds, j)[part]!))),
            );
            results.copy(copy, at, "back");
            const products = carried[copy]!.map((node) => emit.evaluate(node, frame, at));
            s.body.push(
              update(r, copy, (j) => {
                const zero = forgotten(pick(decays, j));
                if (products.length === 0)
                  return multiplyAdd(pick(decays, j), own(g, copy, j), undefined, { conjugate: true, zero });
                return pick(products, j).map((product) => (zero === undefined ? product : v128.andNot(product, zero)));
              }),
            );
          }
          results.end(at);
          s.body.push(each(h, (local, copy, part, j) => local.set(previous[copy]![part]![j]!.get)));
        });
        s.body.push(store(r, adjoints));
      }
      s.body.push(results.totals());
    },
  );
}
