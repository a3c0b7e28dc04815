/**
 * Functions on matrices in the cache. All are in bytes: a matrix has rows of whole vectors, and a row is `row` bytes from
 * the next. Lanes beyond an extent are zeros.
 */
import {
  f32,
  f32x4,
  forLoop,
  functionBuilder,
  i32,
  i32x4,
  shuffle32,
  v128,
  when,
  whileLoop,
  call,
  type Code,
  type Local,
  type WasmFunction,
} from "../../wasm/emitter.js";
import { packFunction, tileFunction } from "../../matmul/code.js";

export const VECTOR = 16;
const range = (n: number): number[] => Array.from({ length: n }, (_, k) => k);
const plus = (x: Code, by: number): Code => (by === 0 ? x : i32.add(x, i32.const(by)));
const times = (x: Code, by: number): Code => (by === 1 ? x : i32.mul(x, i32.const(by)));
const step = (x: Local, by: number | Code): Code =>
  x.set(typeof by === "number" ? plus(x.get, by) : i32.add(x.get, by));
const { add, mul } = f32x4;

/** Elements in whole vectors. */
export const padded = (n: number): number => Math.ceil(n / 4) * 4;

/** Which part of a product of a triangular matrix is not zero. */
export type Part =
  /** All of it. */
  | "all"
  /** Of the result: what is on or below the diagonal; the rest of it is not written. */
  | "lower"
  /** Of the left operand: row i ends with column i. */
  | "to-diagonal"
  /** Of the left operand: row i begins with column i. */
  | "from-diagonal";

export interface ProductShape {
  /** Multiples of 4. */
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly a: { readonly row: number; readonly step: number };
  /** Bytes from step to step, and from eight columns to the next eight. */
  readonly b: { readonly step: number; readonly panel: number };
  readonly c: number;
  readonly part: Part;
}

/** Adds functions to a module. */
export type Define = (f: WasmFunction) => number;

/** (a, b, c, accumulate): c = or += a b. */
export function productFunction(name: string, shape: ProductShape, define: Define): WasmFunction {
  const { rows, columns, depth, part } = shape;
  const tile = (width: number): number =>
    define(
      tileFunction(`${name}${width}`, {
        rows: 4,
        columns: width,
        aRow: shape.a.row,
        aStep: shape.a.step,
        bStep: shape.b.step,
        cRow: shape.c,
      }),
    );
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [a, b, c, accumulate] = f.params;
  const [i, aAt, bAt, cAt] = [f.local("i32"), f.local("i32"), f.local("i32"), f.local("i32")] as const;
  /** Columns from `first` on, which is known where the part asks for it. */
  const panel = (width: number, first: number): Code => {
    const from = part === "lower" ? Math.floor(first / 4) * 4 : 0;
    const count =
      part === "to-diagonal"
        ? plus(i.get, 4)
        : part === "from-diagonal"
          ? i32.sub(i32.const(depth), i.get)
          : i32.const(depth);
    const skipped = part === "from-diagonal";
    return [
      i.set(i32.const(from)),
      aAt.set(plus(a.get, from * shape.a.row)),
      bAt.set(plus(b.get, Math.floor(first / 8) * shape.b.panel + 4 * (first % 8))),
      cAt.set(plus(c.get, from * shape.c + 4 * first)),
      forLoop(i, rows, 4, [
        call(tiles.get(width)!, aAt.get, bAt.get, cAt.get, count, accumulate.get),
        step(aAt, 4 * shape.a.row + (skipped ? 4 * shape.a.step : 0)),
        skipped ? step(bAt, 4 * shape.b.step) : [],
        step(cAt, 4 * shape.c),
      ]),
    ];
  };
  const widths = [...range(Math.floor(columns / 8)).map(() => 8), ...(columns % 8 > 0 ? [columns % 8] : [])];
  const tiles = new Map([...new Set(widths)].map((width) => [width, tile(width)]));
  return f.finish(
    name,
    widths.map((width, k) => panel(width, 8 * k)),
  );
}

/** (from, to): packs `lanes` rows of `steps` elements as panels [lanes / 8][steps][8]. */
export function panelsFunction(name: string, lanes: number, steps: number, row: number, define: Define): WasmFunction {
  const pack = (width: number): number =>
    define(packFunction(`${name}${width}`, { width: 8, lanes: width, laneStride: row, stepStride: 4 }));
  const [full, rest] = [Math.floor(lanes / 8), lanes % 8];
  const f = functionBuilder(["i32", "i32"]);
  const [from, to] = f.params;
  const one = (position: number, k: number): Code =>
    call(position, plus(from.get, 8 * k * row), plus(to.get, 32 * k * steps), i32.const(steps));
  const wide = full > 0 ? pack(8) : 0,
    last = rest > 0 ? pack(rest) : 0;
  return f.finish(name, [range(full).map((k) => one(wide, k)), rest > 0 ? one(last, full) : []]);
}

/** The first lanes of a vector are kept. */
const keepLanes = (vector: Code, lanes: number): Code =>
  lanes >= 4 ? vector : v128.and(vector, i32x4.const(-1, lanes > 1 ? -1 : 0, lanes > 2 ? -1 : 0, 0));

export const constant = f32.const;

/** (from, stride, to, count): `count` rows of `width` elements to rows of whole vectors, and `fill` in the others of `rows`. */
export function gatherFunction(name: string, width: number, rows: number, fill = 0): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [from, stride, to, count] = f.params;
  const row = f.local("i32");
  const vectors = range(padded(width) / 4);
  const copy = (value: (v: number) => Code): Code => vectors.map((v) => v128.store(to.get, value(v), VECTOR * v));
  return f.finish(name, [
    forLoop(row, count, 1, [
      copy((v) => keepLanes(v128.load(from.get, VECTOR * v), width - 4 * v)),
      step(from, stride.get),
      step(to, 4 * padded(width)),
    ]),
    forLoop(row, rows, 1, [copy(() => f32x4.const(fill)), step(to, 4 * padded(width))]),
  ]);
}

/** (from, to, stride, count): rows of whole vectors to `count` rows of `width` elements. */
export function scatterFunction(name: string, width: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [from, to, stride, count] = f.params;
  const [row, x] = [f.local("i32"), f.local("v128")] as const;
  return f.finish(
    name,
    forLoop(row, count, 1, [
      range(padded(width) / 4).map((v) =>
        width - 4 * v >= 4
          ? v128.store(to.get, v128.load(from.get, VECTOR * v), VECTOR * v)
          : [
              x.set(v128.load(from.get, VECTOR * v)),
              range(width - 4 * v).map((lane) => v128.store32Lane(to.get, x.get, lane, VECTOR * v + 4 * lane)),
            ],
      ),
      step(from, 4 * padded(width)),
      step(to, stride.get),
    ]),
  );
}

/** (from, stride, to, count, fill): `count` elements next to each other, then `fill` up to `rows`. */
export function gatherScalarsFunction(name: string, rows: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32", "f32"]);
  const [from, stride, to, count, fill] = f.params;
  const row = f.local("i32");
  return f.finish(name, [
    forLoop(row, count, 1, [f32.store(to.get, f32.load(from.get)), step(from, stride.get), step(to, 4)]),
    forLoop(row, rows, 1, [f32.store(to.get, fill.get), step(to, 4)]),
  ]);
}

/** (from, factors, to): row i times factor i; times a factor of 0 it is 0, infinite or not. */
export function scaleRowsFunction(name: string, width: number, rows: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [from, factors, to] = f.params;
  const [row, factor, kept] = [f.local("i32"), f.local("v128"), f.local("v128")] as const;
  return f.finish(
    name,
    forLoop(row, rows, 1, [
      factor.set(v128.load32Splat(factors.get)),
      kept.set(f32x4.ne(factor.get, f32x4.const(0))),
      range(padded(width) / 4).map((v) =>
        v128.store(to.get, v128.and(kept.get, mul(v128.load(from.get, VECTOR * v), factor.get)), VECTOR * v),
      ),
      step(factors, 4),
      step(from, 4 * padded(width)),
      step(to, 4 * padded(width)),
    ]),
  );
}

/** (x, factor, bytes): x *= factor, and 0 where that is 0. */
export function scaleFunction(): WasmFunction {
  const f = functionBuilder(["i32", "f32", "i32"]);
  const [x, factor, bytes] = f.params;
  const [at, splat, kept] = [f.local("i32"), f.local("v128"), f.local("v128")] as const;
  const address = i32.add(x.get, at.get);
  return f.finish("scale", [
    splat.set(f32x4.splat(factor.get)),
    kept.set(f32x4.ne(splat.get, f32x4.const(0))),
    forLoop(at, bytes, VECTOR, v128.store(address, v128.and(kept.get, mul(v128.load(address), splat.get)))),
  ]);
}

const laneSum = (x: Local): Code => {
  const pairs = add(x.get, shuffle32(x.get, x.get, 2, 3, 0, 1));
  return f32.add(f32x4.extractLane(pairs, 0), f32x4.extractLane(pairs, 1));
};

/** (a, b, bytes) -> f32. */
export function dotFunction(): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32"], ["f32"]);
  const [a, b, bytes] = f.params;
  const [at, sum] = [f.local("i32"), f.local("v128")] as const;
  return f.finish("dot", [
    forLoop(
      at,
      bytes,
      VECTOR,
      sum.set(add(sum.get, mul(v128.load(i32.add(a.get, at.get)), v128.load(i32.add(b.get, at.get))))),
    ),
    laneSum(sum),
  ]);
}

/** (a, b, to): to[i] = the sum of a[i, :] b[i, :]. */
export function rowDotsFunction(name: string, width: number, rows: number, dot: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [a, b, to] = f.params;
  const row = f.local("i32");
  const bytes = 4 * padded(width);
  return f.finish(
    name,
    forLoop(row, rows, 1, [
      f32.store(to.get, call(dot, a.get, b.get, i32.const(bytes))),
      step(a, bytes),
      step(b, bytes),
      step(to, 4),
    ]),
  );
}

/**
 * (decays, to): to[i, j] = the product of the decays of steps j + 1 to i, 1 for j = i and 0 for j > i. Products of decays, not
 * exponentials of sums: exact where a decay is 0, and good for any decay.
 */
export function decaysFunction(rows: number): WasmFunction {
  const f = functionBuilder(["i32", "i32"]);
  const [decays, to] = f.params;
  const [row, decay] = [f.local("i32"), f.local("v128")] as const;
  const bytes = 4 * rows;
  return f.finish("decays", [
    range(rows / 4).map((v) => v128.store(to.get, f32x4.const(0), VECTOR * v)),
    f32.store(to.get, f32.const(1)),
    row.set(i32.const(1)),
    forLoop(row, rows, 1, [
      step(decays, 4),
      decay.set(v128.load32Splat(decays.get)),
      range(rows / 4).map((v) => v128.store(to.get, mul(v128.load(to.get, VECTOR * v), decay.get), bytes + VECTOR * v)),
      step(to, bytes),
      f32.store(i32.add(to.get, times(row.get, 4)), f32.const(1)),
    ]),
  ]);
}

/** (x, decays): x[i, j] *= decays[i, j] on and below the diagonal; zeros to the end of the diagonal's vectors. */
export function maskFunction(rows: number): WasmFunction {
  const f = functionBuilder(["i32", "i32"]);
  const [x, decays] = f.params;
  const [row, at, end, zero] = [f.local("i32"), f.local("i32"), f.local("i32"), f.local("v128")] as const;
  const bytes = 4 * rows;
  const here = (): Code => i32.add(x.get, at.get);
  const factor = (): Code => v128.load(i32.add(decays.get, at.get));
  return f.finish("mask", [
    forLoop(row, rows, 1, [
      at.set(i32.const(0)),
      end.set(times(i32.shrU(row.get, i32.const(2)), VECTOR)),
      whileLoop(i32.leS(at.get, end.get), [
        // what is beyond the diagonal may be no number
        v128.store(here(), v128.bitselect(zero.get, mul(v128.load(here()), factor()), f32x4.eq(factor(), zero.get))),
        step(at, VECTOR),
      ]),
      step(x, bytes),
      step(decays, bytes),
    ]),
  ]);
}

/** (x, y, to): products on and below the diagonal. */
export function multiplyLowerFunction(rows: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [x, y, to] = f.params;
  const [row, at, end] = [f.local("i32"), f.local("i32"), f.local("i32")] as const;
  return f.finish("multiplyLower", [
    forLoop(row, rows, 1, [
      at.set(times(row.get, 4 * rows)),
      end.set(i32.add(at.get, times(i32.shrU(row.get, i32.const(2)), VECTOR))),
      whileLoop(i32.leS(at.get, end.get), [
        v128.store(i32.add(to.get, at.get), mul(v128.load(i32.add(x.get, at.get)), v128.load(i32.add(y.get, at.get)))),
        step(at, VECTOR),
      ]),
    ]),
  ]);
}

/**
 * (pairs, decays, firsts, lasts, scratch, factors): the gradient of the decays of a chunk's steps,
 *
 *     da_t = sum_j L(t-1, j) (U_t[j] + W_t p_j) + e_(t-1) (R_t + W_t c),
 *     U_t = pairs[t] + a_(t+1) U_(t+1),   R_t = r_t + a_(t+1) R_(t+1),
 *
 * where L are `decays`, W its last row, p = `lasts` and r = `firsts` what the states behind and before the chunk add, and c the
 * product of those two. `scratch` is one row for U. Results go to `to`.
 */
export function decayGradientFunction(rows: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32", "i32", "i32", "f32", "i32"]);
  const [pairs, decays, steps, firsts, lasts, u, c, to] = f.params;
  const [t, at, row, before] = [f.local("i32"), f.local("i32"), f.local("i32"), f.local("i32")] as const;
  const [a, r, w, e] = [f.local("f32"), f.local("f32"), f.local("f32"), f.local("f32")] as const;
  const [sum, splat, behind] = [f.local("v128"), f.local("v128"), f.local("v128")] as const;
  const bytes = 4 * rows;
  const element = (base: Local): Code => i32.add(base.get, times(t.get, 4));
  const first = f32.load(steps.get);
  return f.finish("decayGradient", [
    range(rows / 4).map((v) => v128.store(u.get, f32x4.const(0), VECTOR * v)),
    t.set(i32.const(rows - 1)),
    a.set(f32.const(0)),
    whileLoop(i32.geS(t.get, i32.const(0)), [
      row.set(i32.add(pairs.get, times(t.get, bytes))),
      before.set(i32.add(decays.get, times(t.get, bytes))),
      before.set(plus(before.get, -bytes)),
      w.set(f32.load(i32.add(plus(decays.get, bytes * (rows - 1)), times(t.get, 4)))),
      r.set(f32.add(f32.load(element(firsts)), f32.mul(a.get, r.get))),
      splat.set(f32x4.splat(a.get)),
      behind.set(f32x4.splat(w.get)),
      sum.set(f32x4.const(0)),
      at.set(i32.const(0)),
      whileLoop(i32.leS(at.get, times(i32.shrU(t.get, i32.const(2)), VECTOR)), [
        v128.store(
          i32.add(u.get, at.get),
          add(v128.load(i32.add(row.get, at.get)), mul(splat.get, v128.load(i32.add(u.get, at.get)))),
        ),
        when(
          i32.gtS(t.get, i32.const(0)),
          sum.set(
            add(
              sum.get,
              mul(
                v128.load(i32.add(before.get, at.get)),
                add(v128.load(i32.add(u.get, at.get)), mul(behind.get, v128.load(i32.add(lasts.get, at.get)))),
              ),
            ),
          ),
        ),
        step(at, VECTOR),
      ]),
      // the decay from before the chunk to the step before
      when(i32.gtS(t.get, i32.const(0)), e.set(f32.mul(first, f32.load(before.get))), e.set(f32.const(1))),
      f32.store(element(to), f32.add(laneSum(sum), f32.mul(e.get, f32.add(r.get, f32.mul(w.get, c.get))))),
      a.set(f32.load(element(steps))),
      step(t, -1),
    ]),
  ]);
}

/** (from, to, stride, count): `count` neighbours to elements a stride apart. */
export function scatterScalarsFunction(): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [from, to, stride, count] = f.params;
  const row = f.local("i32");
  return f.finish(
    "scatterScalars",
    forLoop(row, count, 1, [f32.store(to.get, f32.load(from.get)), step(from, 4), step(to, stride.get)]),
  );
}

/** (decays, steps, fromFirst, fromBefore): the decays of all steps from the first one, and from the one before it. */
export function beginningsFunction(rows: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [decays, steps, fromFirst, fromBefore] = f.params;
  const [row, first] = [f.local("i32"), f.local("f32")] as const;
  return f.finish("beginnings", [
    first.set(f32.load(steps.get)),
    forLoop(row, rows, 1, [
      f32.store(fromFirst.get, f32.load(decays.get)),
      f32.store(fromBefore.get, f32.mul(first.get, f32.load(decays.get))),
      step(decays, 4 * rows),
      step(fromFirst, 4),
      step(fromBefore, 4),
    ]),
  ]);
}
