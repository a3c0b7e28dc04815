/**
 * Functions on pairs of steps whose decay is a vector, one number for each key. Matrices have `rows` rows of `width` elements in
 * whole vectors; some vectors of a row go through all steps together, in registers.
 */
import {
  f32,
  f32x4,
  forLoop,
  functionBuilder,
  i32,
  memory as bulk,
  shuffle32,
  v128,
  when,
  whileLoop,
  type Code,
  type Local,
  type WasmFunction,
} from "../../wasm/emitter.js";
import { VECTOR } from "./kernels.js";

const range = (n: number): number[] => Array.from({ length: n }, (_, k) => k);
const { add, mul } = f32x4;
/** Vectors that go through the steps together. */
const TOGETHER = 8;

/** Vectors of a row, some at a time: the first and how many. */
const blocksOf = (width: number): readonly { readonly first: number; readonly count: number }[] =>
  range(Math.ceil(width / 4 / TOGETHER)).map((k) => ({
    first: TOGETHER * k,
    count: Math.min(TOGETHER, width / 4 - TOGETHER * k),
  }));

/** The address of a row. */
const rowAt = (base: Local, row: Code, bytes: number): Code => i32.add(base.get, i32.mul(row, i32.const(bytes)));
const next = (x: Local): Code => x.set(i32.add(x.get, i32.const(1)));
const back = (x: Local): Code => x.set(i32.sub(x.get, i32.const(1)));

/** (a, b, to): element by element, and 0 where b is. */
export function multiplyFunction(name: string, bytes: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [a, b, to] = f.params;
  const [at, factor] = [f.local("i32"), f.local("v128")] as const;
  const here = (x: Local): Code => i32.add(x.get, at.get);
  return f.finish(
    name,
    forLoop(at, bytes, VECTOR, [
      factor.set(v128.load(here(b))),
      v128.store(here(to), v128.and(f32x4.ne(factor.get, f32x4.const(0)), mul(v128.load(here(a)), factor.get))),
    ]),
  );
}

/** (from, to). */
export function copyFunction(name: string, bytes: number): WasmFunction {
  const f = functionBuilder(["i32", "i32"]);
  const [from, to] = f.params;
  return f.finish(name, bulk.copy(to.get, from.get, i32.const(bytes)));
}

/** (steps, before, first, toEnd): decays from before the first step to each, from the first step to each, and from each to the last. */
export function keyDecaysFunction(name: string, width: number, rows: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [steps, before, first, toEnd] = f.params;
  const [at, lane] = [f.local("i32"), f.local("i32")] as const;
  const [a, b, e] = [f.local("v128"), f.local("v128"), f.local("v128")] as const;
  const bytes = 4 * width;
  const here = (x: Local): Code => i32.add(x.get, at.get);
  const a_ = (): Code => v128.load(here(steps));
  return f.finish(
    name,
    forLoop(lane, bytes, VECTOR, [
      at.set(lane.get),
      a.set(a_()),
      b.set(f32x4.const(1)),
      v128.store(here(before), a.get),
      v128.store(here(first), b.get),
      at.set(i32.add(at.get, i32.const(bytes))),
      forLoop(at, rows * bytes, bytes, [
        a.set(mul(a.get, a_())),
        b.set(mul(b.get, a_())),
        v128.store(here(before), a.get),
        v128.store(here(first), b.get),
      ]),
      at.set(i32.add(lane.get, i32.const((rows - 1) * bytes))),
      e.set(f32x4.const(1)),
      whileLoop(i32.geS(at.get, i32.const(0)), [
        v128.store(here(toEnd), e.get),
        e.set(mul(e.get, a_())),
        at.set(i32.sub(at.get, i32.const(bytes))),
      ]),
    ]),
  );
}

const laneSum = (x: Local): Code => {
  const pairs = add(x.get, shuffle32(x.get, x.get, 2, 3, 0, 1));
  return f32.add(f32x4.extractLane(pairs, 0), f32x4.extractLane(pairs, 1));
};

/** (later, earlier, steps, to): to[i, j] = the sum of later[i] earlier[j] and what decays between them; zeros above the diagonal. */
export function scoresFunction(name: string, width: number, rows: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [later, earlier, steps, to] = f.params;
  const [i, j] = [f.local("i32"), f.local("i32")] as const;
  const [q, a, target] = [f.local("i32"), f.local("i32"), f.local("i32")] as const;
  const p = range(TOGETHER).map(() => f.local("v128"));
  const sum = f.local("v128");
  const bytes = 4 * width;
  return f.finish(name, [
    bulk.fill(to.get, i32.const(0), i32.const(4 * rows * rows)),
    blocksOf(width).map(({ first, count }) => {
      const at = (k: number): number => VECTOR * (first + k);
      return [
        j.set(i32.const(0)),
        forLoop(j, rows, 1, [
          q.set(rowAt(earlier, j.get, bytes)),
          range(count).map((k) => p[k]!.set(v128.load(q.get, at(k)))),
          q.set(rowAt(later, j.get, bytes)),
          a.set(rowAt(steps, j.get, bytes)),
          target.set(i32.add(rowAt(to, j.get, 4 * rows), i32.shl(j.get, i32.const(2)))),
          i.set(j.get),
          forLoop(i, rows, 1, [
            when(
              i32.gtS(i.get, j.get),
              range(count).map((k) => p[k]!.set(mul(p[k]!.get, v128.load(a.get, at(k))))),
            ),
            sum.set(
              range(count)
                .map((k) => mul(v128.load(q.get, at(k)), p[k]!.get))
                .reduce((x, y) => add(x, y)),
            ),
            f32.store(target.get, f32.add(f32.load(target.get), laneSum(sum))),
            [q, a].map((x) => x.set(i32.add(x.get, i32.const(bytes)))),
            target.set(i32.add(target.get, i32.const(4 * rows))),
          ]),
        ]),
      ];
    }),
  ]);
}

/** (scores, z, steps, to): to[i] += scores[i, j] z[j] and what decays between them, for j <= i; `behind`: to[j] += scores[i, j] z[i]. */
export function addDecayedFunction(name: string, width: number, rows: number, behind: boolean): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [scores, z, steps, to] = f.params;
  const [from, at] = [f.local("i32"), f.local("i32")] as const;
  const [row, a, target] = [f.local("i32"), f.local("i32"), f.local("i32")] as const;
  const p = range(TOGETHER).map(() => f.local("v128"));
  const score = f.local("v128");
  const bytes = 4 * width;
  return f.finish(
    name,
    blocksOf(width).map(({ first, count }) => {
      const place = (k: number): number => VECTOR * (first + k);
      const decayed = range(count).map((k) => p[k]!.set(mul(p[k]!.get, v128.load(a.get, place(k)))));
      const add_ = [
        target.set(rowAt(to, at.get, bytes)),
        range(count).map((k) =>
          v128.store(target.get, add(v128.load(target.get, place(k)), mul(score.get, p[k]!.get)), place(k)),
        ),
      ];
      const scoreAt = (later: Local, earlier: Local): Code =>
        score.set(v128.load32Splat(i32.add(rowAt(scores, later.get, 4 * rows), i32.shl(earlier.get, i32.const(2)))));
      const start = [
        row.set(rowAt(z, from.get, bytes)),
        range(count).map((k) => p[k]!.set(v128.load(row.get, place(k)))),
        at.set(from.get),
      ];
      return [
        from.set(i32.const(0)),
        forLoop(from, rows, 1, [
          start,
          behind
            ? whileLoop(i32.geS(at.get, i32.const(0)), [
                scoreAt(from, at),
                add_,
                a.set(rowAt(steps, at.get, bytes)),
                decayed,
                back(at),
              ])
            : forLoop(at, rows, 1, [
                a.set(rowAt(steps, at.get, bytes)),
                when(i32.gtS(at.get, from.get), decayed),
                scoreAt(at, from),
                add_,
              ]),
        ]),
      ];
    }),
  );
}

/**
 * (scores, q, k, steps, before, toEnd, firsts, lasts, ends, chain, to): the gradient of the decays of a chunk's steps, by key,
 *
 *     da_t = sum over j < t of k_j D(t-1, j) (U_t[j] + W_t h_j) + e_(t-1) (R_t + W_t c),
 *     U_t[j] = scores[t, j] q_t + a_(t+1) U_(t+1)[j],   R_t = q_t u_t + a_(t+1) R_(t+1),
 *
 * with D the decay between two steps, W that to the chunk's end, e that from before it, and u, h, c what the states before and
 * the adjoint states behind the chunk add. `chain` has `rows` rows for the vectors that go together.
 */
export function decayGradientFunction(name: string, width: number, rows: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32"]);
  const [scores, q, k, steps, before, toEnd, firsts, lasts, ends, chain, to] = f.params;
  const [t, j] = [f.local("i32"), f.local("i32")] as const;
  const [qAt, aAt, wAt, hAt, uAt, eAt, target, link] = range(8).map(() => f.local("i32")) as unknown as [
    Local,
    Local,
    Local,
    Local,
    Local,
    Local,
    Local,
    Local,
  ];
  const p = range(TOGETHER).map(() => f.local("v128"));
  const score = f.local("v128");
  const bytes = 4 * width,
    linkBytes = VECTOR * TOGETHER;
  const places = [
    [qAt, q],
    [aAt, steps],
    [wAt, toEnd],
    [uAt, firsts],
    [target, to],
  ] as const;
  const atStep = (): Code => [
    places.map(([local, base]) => local.set(rowAt(base, t.get, bytes))),
    link.set(rowAt(chain, t.get, linkBytes)),
  ];
  return f.finish(
    name,
    blocksOf(width).map(({ first, count }) => {
      const at = (n: number): number => VECTOR * (first + n);
      const each = (code: (n: number) => Code): Code => range(count).map(code);
      const clear = each((n) => p[n]!.set(f32x4.const(0)));
      const decay = each((n) => p[n]!.set(mul(p[n]!.get, v128.load(aAt.get, at(n)))));
      return [
        clear,
        t.set(i32.const(rows - 1)),
        whileLoop(i32.geS(t.get, i32.const(0)), [
          atStep(),
          eAt.set(i32.sub(rowAt(before, t.get, bytes), i32.const(bytes))),
          each((n) => [
            p[n]!.set(add(p[n]!.get, mul(v128.load(qAt.get, at(n)), v128.load(uAt.get, at(n))))),
            v128.store(target.get, add(p[n]!.get, mul(v128.load(wAt.get, at(n)), v128.load(ends.get, at(n)))), at(n)),
          ]),
          when(
            i32.gtS(t.get, i32.const(0)),
            each((n) => v128.store(target.get, mul(v128.load(target.get, at(n)), v128.load(eAt.get, at(n))), at(n))),
          ),
          decay,
          back(t),
        ]),
        j.set(i32.const(0)),
        forLoop(j, rows - 1, 1, [
          clear,
          hAt.set(rowAt(lasts, j.get, bytes)),
          t.set(i32.const(rows - 1)),
          whileLoop(i32.gtS(t.get, j.get), [
            atStep(),
            score.set(v128.load32Splat(i32.add(rowAt(scores, t.get, 4 * rows), i32.shl(j.get, i32.const(2))))),
            each((n) => [
              p[n]!.set(add(p[n]!.get, mul(score.get, v128.load(qAt.get, at(n))))),
              v128.store(
                link.get,
                add(p[n]!.get, mul(v128.load(wAt.get, at(n)), v128.load(hAt.get, at(n)))),
                VECTOR * n,
              ),
            ]),
            decay,
            back(t),
          ]),
          hAt.set(rowAt(k, j.get, bytes)),
          each((n) => p[n]!.set(v128.load(hAt.get, at(n)))),
          t.set(i32.add(j.get, i32.const(1))),
          whileLoop(i32.ltS(t.get, i32.const(rows)), [
            atStep(),
            each((n) =>
              v128.store(
                target.get,
                add(v128.load(target.get, at(n)), mul(p[n]!.get, v128.load(link.get, VECTOR * n))),
                at(n),
              ),
            ),
            decay,
            next(t),
          ]),
        ]),
      ];
    }),
  );
}
