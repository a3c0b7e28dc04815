/**
 * Cumulative sums and first-order linear recurrences along the middle axis of contiguous arrays [outer, length, inner].
 *
 * Along the last axis (inner 1) the steps of four lanes are combined in registers; otherwise up to 32 neighbouring
 * columns run at once. Where rows and columns give the threads too little to share, the length is cut into chunks of
 * a fixed number of steps: totals of the chunks, carries between them, then the steps. The cut depends on the shape
 * alone: the result is the same for any number of threads.
 */
import {
  buildModule,
  call,
  f32x4,
  forLoop,
  functionBuilder,
  i32,
  i32x4,
  select,
  v128,
  when,
  type Code,
  type FunctionBuilder,
  type Local,
  type WasmFunction,
} from "../wasm/emitter.js";
import type { CpuPhase, CpuProgram } from "../program.js";
import { columnsFunction, rowFunction, type ScanShape } from "./code.js";
import { zeroProgram } from "../native/zero.js";

export interface CumsumSpec {
  readonly outer: number;
  readonly length: number;
  readonly inner: number;
  /** From the last step to the first. */
  readonly reverse?: boolean;
  /** The sum of the steps before, without the step itself. */
  readonly exclusive?: boolean;
}

export interface ScanSpec {
  readonly outer: number;
  readonly length: number;
  readonly inner: number;
  /** From the last step to the first: h_t = a_t h_{t+1} + b_t. */
  readonly reverse?: boolean;
  /** a is [outer, inner], the same for all steps. */
  readonly constantDecay?: boolean;
  /** The state before the first step is given, [outer, inner]; else it is 0. */
  readonly initial?: boolean;
  /** A decay of 0 forgets the state before it, infinite or not. */
  readonly forgets?: true;
}

/** Columns in a unit: 8 vectors. */
const COLUMNS = 32;
/** Elements a thread should take at once. */
const GRAIN = 16_384;
/** Steps in a chunk, a multiple of 16, along the last axis and for columns. */
const ROW_CHUNK = 4096;
const COLUMN_CHUNK = 512;
/** Bytes of the states of a unit's columns. */
const STATES = 4 * COLUMNS;
/** With at least this many units the length is not cut. */
const ENOUGH_UNITS = 8;

/** Addresses: x, result. */
export function cumsumProgram(spec: CumsumSpec, memory: { readonly shared: boolean }): CpuProgram {
  return build(
    `cumsum [${spec.outer},${spec.length},${spec.inner}]`,
    {
      ...spec,
      linear: false,
      reverse: spec.reverse ?? false,
      exclusive: spec.exclusive ?? false,
      constantDecay: false,
      forgets: false,
      a: 0,
      b: 0,
      initial: undefined,
      out: 4,
    },
    memory,
  );
}

/** Numbers of a scan's buffers among the program's addresses; the result is the last one. */
export interface ScanPlaces {
  readonly a: number;
  readonly b: number;
  readonly initial: number | undefined;
  readonly out: number;
}

/** h_t = a_t h_{t-1} + b_t. Addresses: a, b, the initial state if there is one, result. */
export function scanProgram(spec: ScanSpec, memory: { readonly shared: boolean }, places?: ScanPlaces): CpuProgram {
  const { a, b, initial, out } = places ?? {
    a: 0,
    b: 1,
    initial: spec.initial === true ? 2 : undefined,
    out: spec.initial === true ? 3 : 2,
  };
  return build(
    `scan [${spec.outer},${spec.length},${spec.inner}]`,
    {
      ...spec,
      linear: true,
      reverse: spec.reverse ?? false,
      exclusive: false,
      constantDecay: spec.constantDecay ?? false,
      forgets: spec.forgets ?? false,
      a: 4 * a,
      b: 4 * b,
      initial: initial === undefined ? undefined : 4 * initial,
      out: 4 * out,
    },
    memory,
  );
}

interface Scan {
  readonly outer: number;
  readonly length: number;
  readonly inner: number;
  readonly linear: boolean;
  readonly reverse: boolean;
  readonly exclusive: boolean;
  readonly constantDecay: boolean;
  readonly forgets: boolean;
  /** Where the addresses stand. */
  readonly a: number;
  readonly b: number;
  readonly initial: number | undefined;
  readonly out: number;
}

function build(name: string, scan: Scan, memory: { readonly shared: boolean }): CpuProgram {
  const { outer, length, inner } = scan;
  if (outer * length * inner === 0) return zeroProgram(name, 0, scan.out / 4, memory);
  const blocks = Math.ceil(inner / COLUMNS);
  const units = outer * blocks;
  const chunkLength = inner === 1 ? ROW_CHUNK : COLUMN_CHUNK;
  const cut = units < ENOUGH_UNITS && length >= 2 * chunkLength && outer * length * inner >= 2 * GRAIN;
  const chunks = cut ? Math.ceil(length / chunkLength) : 1;
  const steps = cut ? chunkLength : length;
  // A chunk's record: its carry, one lane per column.
  const record = inner === 1 ? 4 : 4 * COLUMNS;
  const productOffset = units * chunks * record;
  const functions: WasmFunction[] = [];
  const phases: CpuPhase[] = [];
  const grain = Math.max(1, Math.floor(GRAIN / (steps * Math.min(inner, COLUMNS))));
  const addSteps = (totals: boolean): Pick<Cut, "full" | "last"> => {
    const shape: ScanShape = { ...scan, totals, productOffset };
    const kind = totals ? "totals" : "scan";
    const make = (lanes: number): number =>
      functions.push(
        inner === 1
          ? rowFunction(`${kind}Row`, length, shape)
          : columnsFunction(`${kind}Columns${lanes}`, lanes, 4 * inner, shape),
      ) - 1;
    const full = inner >= COLUMNS ? make(COLUMNS) : undefined;
    const last = inner % COLUMNS === 0 ? undefined : make(inner % COLUMNS);
    functions.push(stepsPhase(kind, scan, { blocks, chunks, steps, record, full, last, totals }));
    phases.push({ run: kind, units: units * chunks, grain });
    return { full, last };
  };
  if (cut) {
    const totals = addSteps(true);
    functions.push(carryPhase(scan, { blocks, chunks, steps, record, ...totals, totals: true }, productOffset));
    phases.push({ run: "carry", units, grain: 64 });
  }
  addSteps(false);
  return {
    name,
    module: buildModule({ memory, functions }),
    phases,
    scratchBytes: 0,
    // Totals and products; then the states between chunks, and products of chunks that are run again.
    sharedBytes: cut ? 3 * productOffset + units * STATES : 0,
  };
}

interface Cut {
  readonly blocks: number;
  readonly chunks: number;
  readonly steps: number;
  readonly record: number;
  readonly full: number | undefined;
  readonly last: number | undefined;
  readonly totals: boolean;
}

const times = (value: Code, factor: number): Code => (factor === 1 ? value : i32.mul(value, i32.const(factor)));

/** Code that runs one chunk of one unit. */
interface ChunkRun {
  /** Finds the chunk's addresses, from the unit and the chunk's first step on. */
  readonly prepare: (unit: Code, first: Code) => Code;
  readonly call: (carryIn: (initial: Code) => Code, totals: Code) => Code;
}

function chunkRun(f: FunctionBuilder<readonly ["i32", "i32", "i32", "i32"]>, scan: Scan, cut: Cut): ChunkRun {
  const { length, inner } = scan;
  const { blocks, steps, full, last } = cut;
  const [args] = f.params;
  const local = (): Local => f.local("i32");
  const [unit, outer, column, first, count, start, state] = [
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
  ] as const;
  const address = (entry: number, offset: Code): Code => i32.add(i32.load(args.get, entry), offset);
  // The chunk's first step in its own order; in reverse, rows are addressed by their last element's end, columns by their last row.
  const position = !scan.reverse
    ? first.get
    : inner === 1
      ? i32.sub(i32.const(length), first.get)
      : i32.sub(i32.const(length - 1), first.get);
  return {
    prepare: (unitOf, firstOf) => [
      unit.set(unitOf),
      first.set(firstOf),
      outer.set(blocks === 1 ? unit.get : i32.divU(unit.get, i32.const(blocks))),
      column.set(blocks === 1 ? i32.const(0) : times(i32.remU(unit.get, i32.const(blocks)), COLUMNS)),
      count.set(i32.sub(i32.const(length), first.get)),
      count.set(select(count.get, i32.const(steps), i32.ltS(count.get, i32.const(steps)))),
      state.set(times(i32.add(times(outer.get, inner), column.get), 4)),
      start.set(times(i32.add(times(i32.add(times(outer.get, length), position), inner), column.get), 4)),
    ],
    call(carryIn, totals) {
      const run = (place: number): Code =>
        call(
          place,
          scan.constantDecay ? address(scan.a, state.get) : address(scan.a, start.get),
          address(scan.b, start.get),
          address(scan.out, start.get),
          count.get,
          carryIn(scan.initial === undefined ? i32.const(0) : address(scan.initial, state.get)),
          totals,
        );
      if (full === undefined) return last === undefined ? [] : run(last);
      return last === undefined
        ? run(full)
        : when(i32.leS(column.get, i32.const(inner - COLUMNS)), run(full), run(last));
    },
  };
}

/** One unit per outer index, block of columns and chunk, the chunk fastest. */
function stepsPhase(name: string, scan: Scan, cut: Cut): WasmFunction {
  const { blocks, chunks, steps, record, totals } = cut;
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end] = f.params;
  const self = f.local("i32");
  const chunk = chunkRun(f, scan, cut);
  const shared = i32.add(i32.load(args.get, scan.out + 4), times(self.get, record));
  const body = forLoop(begin, end, 1, [
    // In reverse the units run backwards too: one descending walk through memory, where a sawtooth misleads prefetching.
    self.set(scan.reverse && chunks === 1 ? i32.sub(i32.const(scan.outer * blocks - 1), begin.get) : begin.get),
    chunk.prepare(
      chunks === 1 ? self.get : i32.divU(self.get, i32.const(chunks)),
      chunks === 1 ? i32.const(0) : times(i32.remU(self.get, i32.const(chunks)), steps),
    ),
    chunk.call((initial) => (totals ? i32.const(0) : chunks > 1 ? shared : initial), totals ? shared : i32.const(0)),
  ]);
  return f.finish(name, body);
}

/**
 * Turns the totals of a unit's chunks into the states before them. Where the product of a chunk's decays does not say
 * what becomes of the state before it, the chunk is run again from that state.
 */
function carryPhase(scan: Scan, cut: Cut, productOffset: number): WasmFunction {
  const { blocks, chunks, steps, record } = cut;
  const { linear } = scan;
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end] = f.params;
  const local = (): Local => f.local("i32");
  const [chunk, at, from, lane, lanesEnd, now, again] = [
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
  ] as const;
  const [before, carry, product, zero] = [f.local("v128"), f.local("v128"), f.local("v128"), f.local("v128")];
  const run = chunkRun(f, scan, cut);
  const shared = i32.load(args.get, scan.out + 4);
  const column = times(i32.remU(begin.get, i32.const(blocks)), COLUMNS);
  const initialAt = i32.add(times(i32.divU(begin.get, i32.const(blocks)), scan.inner), column);
  const lanesLeft = i32.sub(i32.const(scan.inner), column);
  const columns = select(i32.const(COLUMNS), lanesLeft, i32.ltS(i32.const(COLUMNS), lanesLeft));
  // A row's records are 4 bytes: the lanes behind the first belong to other chunks and are neither used nor written.
  const single = scan.inner === 1;
  const store = (address: Local, value: Code): Code =>
    single ? v128.store32Lane(address.get, value, 0) : v128.store(address.get, value);
  const eachVector = (body: Code): Code => [lane.set(i32.const(0)), forLoop(lane, lanesEnd, 16, body)];
  const recordOf = i32.add(shared, times(i32.add(times(begin.get, chunks), chunk.get), record));
  // The product may have been too small for a number on the way, and the state is so large that it matters.
  const lost = v128.andNot(
    f32x4.lt(f32x4.abs(product.get), f32x4.const(1e-30)),
    f32x4.le(f32x4.abs(before.get), f32x4.const(1e7)),
  );
  /** The state after the chunk from the one before it. */
  const pass: Code = !linear
    ? carry.set(f32x4.add(v128.load(from.get), before.get))
    : [
        product.set(v128.load(from.get, productOffset)),
        zero.set(f32x4.eq(before.get, f32x4.const(0))),
        again.set(i32.or(again.get, anyLane(v128.andNot(v128.or(notFinite(product.get), lost), zero.get), single))),
        carry.set(f32x4.add(v128.load(from.get), v128.andNot(f32x4.mul(before.get, product.get), zero.get))),
      ];
  return f.finish(
    "carry",
    forLoop(begin, end, 1, [
      lanesEnd.set(times(columns, 4)),
      // the states before the chunk at hand
      now.set(i32.add(shared, i32.add(i32.const(2 * productOffset), times(begin.get, STATES)))),
      eachVector([
        from.set(i32.add(lane.get, times(initialAt, 4))),
        carry.set(
          scan.initial === undefined ? f32x4.const(0) : v128.load(i32.add(i32.load(args.get, scan.initial), from.get)),
        ),
        at.set(i32.add(now.get, lane.get)),
        v128.store(at.get, carry.get),
      ]),
      chunk.set(i32.const(0)),
      forLoop(chunk, chunks, 1, [
        again.set(i32.const(0)),
        eachVector([
          at.set(i32.add(now.get, lane.get)),
          from.set(i32.add(recordOf, lane.get)),
          before.set(v128.load(at.get)),
          pass,
          store(from, before.get),
          store(at, carry.get),
        ]),
        linear
          ? when(again.get, [run.prepare(begin.get, times(chunk.get, steps)), run.call(() => recordOf, now.get)])
          : [],
      ]),
    ]),
  );
}

/** All ones where a number is infinite or NaN. */
export const notFinite = (x: Code): Code => v128.not(f32x4.lt(f32x4.abs(x), f32x4.const(Infinity)));
/** Whether a mask has a lane, or its first. */
const anyLane = (mask: Code, first: boolean): Code => (first ? i32x4.extractLane(mask, 0) : v128.anyTrue(mask));
