/**
 * The chunks of a head, one after another, with the state in the cache:
 *
 *     y = e (q S) + (q k^T o L) v,     S <- e_Q S + (w k)^T v,
 *
 * where L(t, j) is the decay from step j to step t, e_t that from before the chunk to t, and w_j that from j to the chunk's end.
 * With an adjoint the states before all chunks are found first; the chunks then run from the last to the first, and the adjoint
 * states G take the same products with L transposed.
 */
import type { ChunkedParts, Operand, OuterOperands, Result } from "../../../../ir/chunked-parts.js";
import { product } from "../../../../ir/simplify.js";
import {
  call,
  f32,
  forLoop,
  functionBuilder,
  i32,
  memory as bulk,
  select,
  when,
  whileLoop,
  type Code,
  type Local,
  type WasmFunction,
} from "../../wasm/emitter.js";
import { packFunction } from "../../matmul/code.js";
import type { Place, Places } from "./arrays.js";
import * as kernels from "./kernels.js";
import { padded, type Define, type ProductShape } from "./kernels.js";

export interface Walk {
  readonly code: WasmFunction;
  readonly units: number;
  /** Steps of a chunk. */
  readonly steps: number;
  readonly scratchBytes: number;
}

/** An operand's rows of the chunk, times its scale. */
interface Staged {
  readonly operand: Operand;
  readonly scale: Operand | undefined;
  readonly width: number;
  /** Bytes from the beginning of the scratch block. */
  readonly at: number;
}

const plus = (x: Code, by: number): Code => (by === 0 ? x : i32.add(x, i32.const(by)));
const times = (x: Code, by: number): Code => (by === 0 ? i32.const(0) : by === 1 ? x : i32.mul(x, i32.const(by)));

/** Steps of a chunk: products within a chunk cost as many multiplications a step, those with its state do not. */
const stepsOf = (K: number, V: number): number => (Math.max(K, V) <= 32 ? 16 : 32);

export function walkFunction(name: string, parts: ChunkedParts, places: Places, define: Define): Walk {
  const { form, drive, seed, initial, final, decay, results } = parts;
  const { kernel, heads } = form;
  const { extents, along, reverse } = kernel;
  const extent = (axis: number): number => extents[axis]!;
  const [K, V, L] = [extent(form.keys), extent(form.values), extent(along)];
  const [Kp, Vp] = [padded(K), padded(V)];
  const Q = stepsOf(K, V);
  const chunks = Math.ceil(L / Q);
  const units = product(heads.map(extent));

  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, unit, end, scratch] = f.params;
  const int = (): Local => f.local("i32");
  const [chunk, count] = [int(), int()] as const;
  let scratchBytes = 0;
  const block = (elements: number): number => {
    const at = scratchBytes;
    scratchBytes += Math.ceil((4 * elements) / 64) * 64;
    return at;
  };
  const inScratch = (at: number): Code => plus(scratch.get, at);

  // ---- functions of the module ----

  const known = new Map<string, number>();
  const fn = (key: string, make: (key: string) => WasmFunction): number => {
    let position = known.get(key);
    if (position === undefined) known.set(key, (position = define(make(key))));
    return position;
  };
  const multiply = (key: string, shape: ProductShape, a: Code, b: Code, c: Code, accumulate: 0 | 1): Code =>
    call(
      fn(key, (own) => kernels.productFunction(own, shape, define)),
      a,
      b,
      c,
      i32.const(accumulate),
    );
  const scaleRows = (width: number, from: number, factors: number, to: number): Code =>
    call(
      fn(`scaleRows${width}`, (own) => kernels.scaleRowsFunction(own, width, Q)),
      inScratch(from),
      inScratch(factors),
      inScratch(to),
    );
  const dot = (): number => fn("dot", () => kernels.dotFunction());
  const rowDots = (width: number, a: number, b: number, to: number): Code => {
    const one = dot();
    return call(
      fn(`rowDots${width}`, (own) => kernels.rowDotsFunction(own, width, Q, one)),
      inScratch(a),
      inScratch(b),
      inScratch(to),
    );
  };

  // ---- where arrays lie: an address at the unit's first step, and bytes from step to step ----

  const coordinates = heads.map(int);
  const bases = new Map<Place, Local>();
  const baseOf = (place: Place): Local => {
    const local = bases.get(place) ?? int();
    bases.set(place, local);
    return local;
  };
  const stride = ({ index }: Place): number => (reverse ? -4 : 4) * index.coefficients[along]!;
  const setBase = (place: Place): Code => {
    const { position, offset, index } = place;
    const start = offset + 4 * (index.offset + (reverse ? index.coefficients[along]! * (L - 1) : 0));
    return baseOf(place).set(
      heads.reduce<Code>(
        (sum, axis, k) => i32.add(sum, times(coordinates[k]!.get, 4 * index.coefficients[axis]!)),
        plus(i32.load(args.get, 4 * position), start),
      ),
    );
  };
  const atChunk = (place: Place): Code => i32.add(baseOf(place).get, times(chunk.get, Q * stride(place)));

  // ---- operands of a chunk ----

  const staged = new Map<string, Staged>();
  const stage = (operand: Operand, width: number, scale?: Operand): Staged => {
    const key = [operand, scale].map((x) => (x ? parts.operands.indexOf(x) : -1)).join();
    let found = staged.get(key);
    if (!found) staged.set(key, (found = { operand, scale, width, at: block(Q * padded(width)) }));
    return found;
  };
  const outer = ({ keys, values, scale }: OuterOperands) => ({ keys: stage(keys, K), values: stage(values, V, scale) });
  const S = outer(drive);
  const G = seed && outer(seed);
  const steps = block(Q),
    factors = block(Q),
    decays = block(Q * Q),
    fromFirst = block(Q),
    fromBefore = block(Q);
  const toEnd = decays + 4 * Q * (Q - 1);
  const gatherScalars = (operand: Operand, to: number, fill: number): Code => {
    const place = places.operands.get(operand)!;
    return call(
      fn("gatherScalars", (own) => kernels.gatherScalarsFunction(own, Q)),
      atChunk(place),
      i32.const(stride(place)),
      inScratch(to),
      count.get,
      f32.const(fill),
    );
  };
  const gather = ({ operand, scale, width, at }: Staged): Code => {
    const place = places.operands.get(operand)!;
    return [
      call(
        fn(`gather${width}`, (own) => kernels.gatherFunction(own, width, Q)),
        atChunk(place),
        i32.const(stride(place)),
        inScratch(at),
        count.get,
      ),
      scale ? [gatherScalars(scale, factors, 0), scaleRows(width, at, factors, at)] : [],
    ];
  };
  const gatherDecays = (): Code => [
    gatherScalars(decay, steps, 1),
    call(
      fn("decays", () => kernels.decaysFunction(Q)),
      inScratch(steps),
      inScratch(decays),
    ),
    call(
      fn("beginnings", () => kernels.beginningsFunction(Q)),
      inScratch(decays),
      inScratch(steps),
      inScratch(fromFirst),
      inScratch(fromBefore),
    ),
  ];

  // ---- states ----

  const stateBytes = 4 * Kp * Vp;
  const states = block(Kp * Vp),
    adjoints = block(G ? Kp * Vp : 0),
    transposed = block(V * Kp),
    scaled = block(Q * Math.max(Kp, Vp)),
    rows = block(Q * Math.max(Kp, Vp)),
    panels = block(Q * Math.max(K, V)),
    history = block(G ? chunks * Kp * Vp : 0);
  const transpose = (from: number): Code =>
    call(
      fn("transpose", (own) => packFunction(own, { width: Kp, lanes: K, laneStride: 4 * Vp, stepStride: 4 })),
      inScratch(from),
      inScratch(transposed),
      i32.const(V),
    );
  /** state = decay state + (factors x)^T z. */
  const advance = (state: number, x: Staged, z: Staged, weights: number, by: Code): Code => [
    call(
      fn("scale", () => kernels.scaleFunction()),
      inScratch(state),
      by,
      i32.const(stateBytes),
    ),
    scaleRows(K, x.at, weights, scaled),
    multiply(
      "advance",
      {
        rows: Kp,
        columns: Vp,
        depth: Q,
        a: { row: 4, step: 4 * Kp },
        b: { step: 4 * Vp, panel: 32 },
        c: 4 * Vp,
        part: "all",
      },
      inScratch(scaled),
      inScratch(z.at),
      inScratch(state),
      1,
    ),
  ];
  /** rows = x state, over keys or values. */
  const readState = (state: number, over: "keys" | "values", x: Staged): Code => {
    const [inner, out] = over === "keys" ? [K, Vp] : [V, Kp];
    return multiply(
      `read-${over}`,
      {
        rows: Q,
        columns: out,
        depth: inner,
        a: { row: 4 * padded(inner), step: 4 },
        b: { step: 4 * out, panel: 32 },
        c: 4 * out,
        part: "all",
      },
      inScratch(x.at),
      inScratch(over === "keys" ? state : transposed),
      inScratch(rows),
      0,
    );
  };

  // ---- scores: products of a later and an earlier step's vectors, on and below the diagonal ----

  const scores = new Map<string, { readonly later: Staged; readonly earlier: Staged; readonly at: number }>();
  const scoreOf = (later: Staged, earlier: Staged): number => {
    const key = `${later.at} ${earlier.at}`;
    let found = scores.get(key);
    if (!found) scores.set(key, (found = { later, earlier, at: block(Q * Q) }));
    return found.at;
  };
  const computeScore = ({ later, earlier, at }: { later: Staged; earlier: Staged; at: number }): Code => {
    const { width } = later;
    return [
      call(
        fn(`panels${width}`, (own) => kernels.panelsFunction(own, Q, width, 4 * padded(width), define)),
        inScratch(earlier.at),
        inScratch(panels),
      ),
      multiply(
        `scores${width}`,
        {
          rows: Q,
          columns: Q,
          depth: width,
          a: { row: 4 * padded(width), step: 4 },
          b: { step: 32, panel: 32 * width },
          c: 4 * Q,
          part: "lower",
        },
        inScratch(later.at),
        inScratch(panels),
        inScratch(at),
        0,
      ),
    ];
  };
  /** rows += scores r, or with the scores transposed. */
  const addPairs = (score: number, r: Staged, transposedScore: boolean): Code => {
    const width = padded(r.width);
    return multiply(
      `pairs${width}${transposedScore ? "T" : ""}`,
      {
        rows: Q,
        columns: width,
        depth: Q,
        a: transposedScore ? { row: 4, step: 4 * Q } : { row: 4 * Q, step: 4 },
        b: { step: 4 * width, panel: 32 },
        c: 4 * width,
        part: transposedScore ? "from-diagonal" : "to-diagonal",
      },
      inScratch(score),
      inScratch(r.at),
      inScratch(rows),
      1,
    );
  };

  // ---- results ----

  const readsOf = (state: "current" | "adjoint") =>
    results.flatMap((result) => {
      const { of } = result;
      if (of.kind !== "read" || of.state !== state) return [];
      const { over } = of;
      const side = (state === "current" ? S : G)!;
      const other = over === "keys" ? "values" : "keys";
      const x = stage(of.operand, over === "keys" ? K : V);
      const score = state === "current" ? scoreOf(x, side[over]) : scoreOf(side[over], x);
      return [{ result, over, x, score, r: side[other] }];
    });
  const reads = { current: readsOf("current"), adjoint: G ? readsOf("adjoint") : [] };
  const result = (kind: Result["of"]["kind"]): Result | undefined => results.find(({ of }) => of.kind === kind);
  const ofDecay = result("decay");
  const gradient = ofDecay && G && makeGradient(ofDecay);

  function makeGradient(ofDecay: Result) {
    return {
      place: places.results.get(ofDecay)!,
      keys: scoreOf(G!.keys, S.keys),
      values: scoreOf(G!.values, S.values),
      pairs: block(Q * Q),
      firsts: block(Q),
      lasts: block(Q),
      row: block(Q),
      found: block(Q),
    };
  }
  /** Products with the states before the chunk (behind it: of the adjoint), and among its steps. */
  const read = (state: "current" | "adjoint"): Code => {
    const own = state === "current" ? states : adjoints;
    const weights = state === "current" ? fromBefore : toEnd;
    const list = reads[state];
    const [over, x, with_, to] =
      state === "current"
        ? (["values", G?.values, G?.keys, gradient?.firsts] as const)
        : (["keys", S.keys, S.values, gradient?.lasts] as const);
    const isOwn = (r: { readonly over: string; readonly x: Staged }): boolean => r.over === over && r.x === x;
    const alone = gradient !== undefined && !list.some(isOwn);
    return [
      list.some((r) => r.over === "values") || (alone && over === "values") ? transpose(own) : [],
      alone ? [readState(own, over, x!), rowDots(with_!.width, rows, with_!.at, to!)] : [],
      list.map(({ result, over, x, score, r }) => {
        const place = places.results.get(result)!;
        return [
          readState(own, over, x),
          gradient && isOwn({ over, x }) ? rowDots(with_!.width, rows, with_!.at, to!) : [],
          scaleRows(r.width, rows, weights, rows),
          addPairs(score, r, state === "adjoint"),
          call(
            fn(`scatter${r.width}`, (own) => kernels.scatterFunction(own, r.width)),
            inScratch(rows),
            atChunk(place),
            i32.const(stride(place)),
            count.get,
          ),
        ];
      }),
    ];
  };
  const computeScores = (): Code => [
    [...scores.values()].map(computeScore),
    gradient
      ? call(
          fn("multiplyLower", () => kernels.multiplyLowerFunction(Q)),
          inScratch(gradient.keys),
          inScratch(gradient.values),
          inScratch(gradient.pairs),
        )
      : [],
    [...scores.values()].map(({ at }) =>
      call(
        fn("mask", () => kernels.maskFunction(Q)),
        inScratch(at),
        inScratch(decays),
      ),
    ),
  ];
  const decayGradient = (): Code => {
    if (!gradient) return [];
    const { place, pairs, firsts, lasts, row, found } = gradient;
    return [
      call(
        fn("decayGradient", () => kernels.decayGradientFunction(Q)),
        inScratch(pairs),
        inScratch(decays),
        inScratch(steps),
        inScratch(firsts),
        inScratch(lasts),
        inScratch(row),
        call(dot(), inScratch(states), inScratch(adjoints), i32.const(stateBytes)),
        inScratch(found),
      ),
      call(
        fn("scatterScalars", () => kernels.scatterScalarsFunction()),
        inScratch(found),
        atChunk(place),
        i32.const(stride(place)),
        count.get,
      ),
    ];
  };
  const store = (kind: "last" | "first", state: number): Code => {
    const found = result(kind);
    return found
      ? call(
          fn(`scatter${V}`, (own) => kernels.scatterFunction(own, V)),
          inScratch(state),
          baseOf(places.results.get(found)!).get,
          i32.const(4 * V),
          i32.const(K),
        )
      : [];
  };

  /** A given state, or zeros. */
  const load = (given: Operand | undefined, state: number): Code => {
    if (!given) return bulk.fill(inScratch(state), i32.const(0), i32.const(stateBytes));
    const place = places.operands.get(given)!;
    return call(
      fn("gatherState", (own) => kernels.gatherFunction(own, V, Kp)),
      baseOf(place).get,
      i32.const(4 * place.index.coefficients[form.keys]!),
      inScratch(state),
      i32.const(K),
    );
  };

  // ---- chunks ----

  const begin: Code = [
    count.set(i32.sub(i32.const(L), times(chunk.get, Q))),
    count.set(select(count.get, i32.const(Q), i32.ltS(count.get, i32.const(Q)))),
    gatherDecays(),
  ];
  const atHistory = i32.add(inScratch(history), times(chunk.get, stateBytes));
  const all = (): Code => [...staged.values()].map(gather);
  const whole = (at: number): Code => f32.load(inScratch(at + 4 * (Q - 1)));
  const forward: Code = G
    ? [
        bulk.copy(atHistory, inScratch(states), i32.const(stateBytes)),
        begin,
        gather(S.keys),
        gather(S.values),
        advance(states, S.keys, S.values, toEnd, whole(fromBefore)),
      ]
    : [begin, all(), computeScores(), read("current"), advance(states, S.keys, S.values, toEnd, whole(fromBefore))];
  const backward = (): Code => {
    if (!G) return [];
    const further = (weights: number): Code => advance(adjoints, G.keys, G.values, weights, whole(weights));
    return [
      load(final, adjoints),
      chunk.set(i32.const(chunks - 1)),
      whileLoop(i32.geS(chunk.get, i32.const(0)), [
        bulk.copy(inScratch(states), atHistory, i32.const(stateBytes)),
        begin,
        all(),
        computeScores(),
        read("current"),
        read("adjoint"),
        decayGradient(),
        // the adjoint of the first step is not taken before it
        when(i32.eq(chunk.get, i32.const(0)), [further(fromFirst), store("first", adjoints)], further(fromBefore)),
        chunk.set(plus(chunk.get, -1)),
      ]),
    ];
  };
  let inside = units;
  const split = heads.map((axis, k) => {
    inside /= extent(axis);
    return coordinates[k]!.set(i32.remU(i32.divU(unit.get, i32.const(inside)), i32.const(extent(axis))));
  });
  const body: Code = [
    load(initial, states),
    chunk.set(i32.const(0)),
    forLoop(chunk, chunks, 1, forward),
    store("last", states),
    backward(),
  ];
  const code = f.finish(name, forLoop(unit, end, 1, [split, [...bases.keys()].map(setBase), body]));
  return { code, units, steps: Q, scratchBytes };
}
