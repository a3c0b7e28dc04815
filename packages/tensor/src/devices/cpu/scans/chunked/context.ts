/** What the chunks of a head have in common, whatever the decay: places, operands staged in the cache, states and products. */
import type { ChunkedParts, Operand, OuterOperands, Result } from "../../../../ir/chunked-parts.js";
import { product } from "../../../../ir/simplify.js";
import { packFunction } from "../../matmul/code.js";
import {
  call,
  functionBuilder,
  i32,
  memory as bulk,
  type Code,
  type Local,
  type WasmFunction,
} from "../../wasm/emitter.js";
import type { Place, Places } from "./arrays.js";
import * as kernels from "./kernels.js";
import { padded, type Define, type ProductShape } from "./kernels.js";

/** An operand's rows of the chunk, times its scale, in whole vectors. */
export interface Staged {
  readonly operand: Operand;
  readonly scale: Operand | undefined;
  readonly width: number;
  /** Bytes from the beginning of the scratch block. */
  readonly at: number;
}

export interface StagedOuter {
  readonly keys: Staged;
  readonly values: Staged;
}

/** A result that is a product with the states. */
export interface Read {
  readonly result: Result;
  readonly over: "keys" | "values";
  readonly x: Staged;
}

export const plus = (x: Code, by: number): Code => (by === 0 ? x : i32.add(x, i32.const(by)));
export const times = (x: Code, by: number): Code =>
  by === 0 ? i32.const(0) : by === 1 ? x : i32.mul(x, i32.const(by));

/** Scratch memory of the walk, and functions of its module. */
function makeModule(define: Define, Q: number) {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const scratch = f.params[3];
  let scratchBytes = 0;
  /** Place in the scratch block for so many elements. */
  const block = (elements: number): number => {
    const at = scratchBytes;
    scratchBytes += Math.ceil((4 * elements) / 64) * 64;
    return at;
  };
  const inScratch = (at: number): Code => plus(scratch.get, at);

  const known = new Map<string, number>();
  /** A function of the module, made when it is first used. */
  const fn = (key: string, make: (key: string) => WasmFunction): number => {
    let position = known.get(key);
    if (position === undefined) known.set(key, (position = define(make(key))));
    return position;
  };
  const multiply = (key: string, shape: ProductShape, a: number, b: number, c: number, accumulate: 0 | 1): Code =>
    call(
      fn(key, (own) => kernels.productFunction(own, shape, define)),
      inScratch(a),
      inScratch(b),
      inScratch(c),
      i32.const(accumulate),
    );
  const scaleRows = (width: number, rows: number, from: number, factors: number, to: number): Code =>
    call(
      fn(`scaleRows${rows}x${width}`, (own) => kernels.scaleRowsFunction(own, width, rows)),
      inScratch(from),
      inScratch(factors),
      inScratch(to),
    );
  return { f, define, Q, block, inScratch, fn, multiply, scaleRows, scratchBytes: () => scratchBytes };
}

/** Extents of a head's matrices, and where a unit's arrays lie: an address at its first step, and bytes from step to step. */
function makeAddresses(parts: ChunkedParts, places: Places, module: ReturnType<typeof makeModule>) {
  const { form } = parts;
  const { kernel, heads } = form;
  const { extents, along, reverse } = kernel;
  const { f, Q } = module;
  const extent = (axis: number): number => extents[axis]!;
  const [K, V, L] = [extent(form.keys), extent(form.values), extent(along)];
  const [args, unit, end] = f.params;
  const int = (): Local => f.local("i32");
  const [chunk, count] = [int(), int()] as const;
  const coordinates = heads.map(int);
  const bases = new Map<Place, Local>();
  const baseOf = (place: Place): Local => {
    const local = bases.get(place) ?? int();
    bases.set(place, local);
    return local;
  };
  const strideOf = ({ index }: Place): number => (reverse ? -4 : 4) * index.coefficients[along]!;
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
  const atChunk = (place: Place): Code => i32.add(baseOf(place).get, times(chunk.get, Q * strideOf(place)));
  let inside = product(heads.map(extent));
  const units = inside;
  const splitUnit: Code = heads.map((axis, k) => {
    inside /= extent(axis);
    return coordinates[k]!.set(i32.remU(i32.divU(unit.get, i32.const(inside)), i32.const(extent(axis))));
  });
  return {
    ...module,
    parts,
    places,
    K,
    V,
    L,
    Kp: padded(K),
    Vp: padded(V),
    unit,
    end,
    chunk,
    chunks: Math.ceil(L / Q),
    count,
    units,
    baseOf,
    strideOf,
    atChunk,
    /** Statements at the beginning of a unit; to be called last. */
    enterUnit: (): Code => [splitUnit, [...bases.keys()].map(setBase)],
  };
}

/** Rows of a chunk from operands, and to results. */
function makeStaging(unit: ReturnType<typeof makeAddresses>) {
  const { parts, places, K, V, Q, count, block, inScratch, fn, scaleRows, atChunk, strideOf } = unit;
  const staged = new Map<string, Staged>();
  const stage = (operand: Operand, width: number, scale?: Operand): Staged => {
    const key = [operand, scale].map((x) => (x ? parts.operands.indexOf(x) : -1)).join();
    let found = staged.get(key);
    if (!found) staged.set(key, (found = { operand, scale, width, at: block(Q * padded(width)) }));
    return found;
  };
  const outer = ({ keys, values, scale }: OuterOperands): StagedOuter => ({
    keys: stage(keys, K),
    values: stage(values, V, scale),
  });
  const S = outer(parts.drive);
  const G = parts.seed && outer(parts.seed);
  const factors = block(Q);
  /** One number for each step; `fill` for those behind the sequence. */
  const gatherScalars = (operand: Operand, to: number, fill: number): Code => {
    const place = places.operands.get(operand)!;
    return call(
      fn("gatherScalars", (own) => kernels.gatherScalarsFunction(own, Q)),
      atChunk(place),
      i32.const(strideOf(place)),
      inScratch(to),
      count.get,
      kernels.constant(fill),
    );
  };
  const gatherRows = (operand: Operand, width: number, to: number, fill = 0): Code => {
    const place = places.operands.get(operand)!;
    return call(
      fn(`gather${width}${fill === 0 ? "" : `fill${fill}`}`, (own) => kernels.gatherFunction(own, width, Q, fill)),
      atChunk(place),
      i32.const(strideOf(place)),
      inScratch(to),
      count.get,
    );
  };
  const gather = ({ operand, scale, width, at }: Staged): Code => [
    gatherRows(operand, width, at),
    scale ? [gatherScalars(scale, factors, 0), scaleRows(width, Q, at, factors, at)] : [],
  ];
  /** Stores the chunk's rows of a result. */
  const scatterRows = (result: Result, width: number, from: number): Code => {
    const place = places.results.get(result)!;
    return call(
      fn(`scatter${width}`, (own) => kernels.scatterFunction(own, width)),
      inScratch(from),
      atChunk(place),
      i32.const(strideOf(place)),
      count.get,
    );
  };
  return {
    ...unit,
    S,
    G,
    stage,
    gatherScalars,
    gatherRows,
    scatterRows,
    gatherAll: (): Code => [...staged.values()].map(gather),
    gatherOuter: ({ keys, values }: StagedOuter): Code => [gather(keys), gather(values)],
  };
}

/** States of a head, and what is done with them alone. */
function makeStates(staging: ReturnType<typeof makeStaging>) {
  const { parts, places, K, V, Kp, Vp, Q, G, block, inScratch, fn, baseOf } = staging;
  const { form, results } = parts;
  const stateBytes = 4 * Kp * Vp;
  const states = block(Kp * Vp),
    adjoints = block(G ? Kp * Vp : 0),
    transposed = block(V * Kp),
    scaled = block(Q * Math.max(Kp, Vp)),
    rows = block(Q * Math.max(Kp, Vp)),
    panels = block(Q * Math.max(K, V));
  const transpose = (from: number): Code =>
    call(
      fn("transpose", (own) => packFunction(own, { width: Kp, lanes: K, laneStride: 4 * Vp, stepStride: 4 })),
      inScratch(from),
      inScratch(transposed),
      i32.const(V),
    );
  /** A given state, or zeros. */
  const loadState = (given: Operand | undefined, state: number): Code => {
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
  const resultOf = (kind: Result["of"]["kind"]): Result | undefined => results.find(({ of }) => of.kind === kind);
  const storeState = (kind: "last" | "first", state: number): Code => {
    const found = resultOf(kind);
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
  return {
    ...staging,
    stateBytes,
    states,
    adjoints,
    transposed,
    scaled,
    rows,
    panels,
    transpose,
    loadState,
    storeState,
    resultOf,
  };
}

export type Context = ReturnType<typeof makeContext>;

/** @param Q Steps of a chunk. */
export function makeContext(parts: ChunkedParts, places: Places, define: Define, Q: number) {
  const context = makeStates(makeStaging(makeAddresses(parts, places, makeModule(define, Q))));
  const { K, V, Kp, Vp, G, inScratch, fn, multiply, stage, transposed, rows, panels } = context;
  /** state += x^T z, where x has rows of keys. */
  const addOuter = (state: number, x: number, z: Staged): Code =>
    multiply(
      "addOuter",
      {
        rows: Kp,
        columns: Vp,
        depth: Q,
        a: { row: 4, step: 4 * Kp },
        b: { step: 4 * Vp, panel: 32 },
        c: 4 * Vp,
        part: "all",
      },
      x,
      z.at,
      state,
      1,
    );
  /** rows = x state, over keys or values; over values the state is in `transposed`. */
  const readState = (state: number, over: "keys" | "values", x: number): Code => {
    const [depth, out] = over === "keys" ? [K, Vp] : [V, Kp];
    return multiply(
      `read-${over}`,
      {
        rows: Q,
        columns: out,
        depth,
        a: { row: 4 * padded(depth), step: 4 },
        b: { step: 4 * out, panel: 32 },
        c: 4 * out,
        part: "all",
      },
      x,
      over === "keys" ? state : transposed,
      rows,
      0,
    );
  };
  /** Products of later steps' rows with earlier ones', on and below the diagonal. */
  const score = (later: Staged, earlier: Staged, to: number): Code => {
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
        later.at,
        panels,
        to,
        0,
      ),
    ];
  };
  /** rows += scores r: of the steps before; with the scores transposed of those behind. */
  const addPairs = (scores: number, r: Staged, behind: boolean): Code => {
    const width = padded(r.width);
    return multiply(
      `pairs${width}${behind ? "T" : ""}`,
      {
        rows: Q,
        columns: width,
        depth: Q,
        a: behind ? { row: 4, step: 4 * Q } : { row: 4 * Q, step: 4 },
        b: { step: 4 * width, panel: 32 },
        c: 4 * width,
        part: behind ? "from-diagonal" : "to-diagonal",
      },
      scores,
      r.at,
      rows,
      1,
    );
  };
  const readsOf = (state: "current" | "adjoint"): readonly Read[] =>
    parts.results.flatMap((result) => {
      const { of } = result;
      if (of.kind !== "read" || of.state !== state) return [];
      return [{ result, over: of.over, x: stage(of.operand, of.over === "keys" ? K : V) }];
    });
  const reads = { current: readsOf("current"), adjoint: G ? readsOf("adjoint") : [] };
  return { ...context, addOuter, readState, score, addPairs, reads };
}
