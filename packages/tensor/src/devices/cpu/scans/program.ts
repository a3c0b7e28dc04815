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
  select,
  v128,
  when,
  type Code,
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
}

/** Columns in a unit: 8 vectors. */
const COLUMNS = 32;
/** Elements a thread should take at once. */
const GRAIN = 16_384;
/** Steps in a chunk, a multiple of 16, along the last axis and for columns. */
const ROW_CHUNK = 4096;
const COLUMN_CHUNK = 512;
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
  const addSteps = (totals: boolean): void => {
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
  };
  if (cut) {
    addSteps(true);
    functions.push(carryPhase(scan, blocks, chunks, record, productOffset));
    phases.push({ run: "carry", units, grain: 64 });
  }
  addSteps(false);
  return {
    name,
    module: buildModule({ memory, functions }),
    phases,
    scratchBytes: 0,
    sharedBytes: cut ? 2 * productOffset : 0,
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

/** One unit per outer index, block of columns and chunk, the chunk fastest. */
function stepsPhase(name: string, scan: Scan, cut: Cut): WasmFunction {
  const { length, inner } = scan;
  const { blocks, chunks, steps, record, full, last, totals } = cut;
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end] = f.params;
  const local = (): Local => f.local("i32");
  const cutUp = chunks > 1;
  const [self, unit, outer, column, first, count, start, state] = [
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
  ] as const;
  const address = (entry: number, offset: Code): Code => i32.add(i32.load(args.get, entry), offset);
  const shared = (): Code => address(scan.out + 4, times(self.get, record));
  const carryIn =
    chunks > 1 && !totals
      ? shared()
      : scan.initial === undefined || totals
        ? i32.const(0)
        : address(scan.initial, state.get);
  const run = (position: number): Code =>
    call(
      position,
      scan.constantDecay ? address(scan.a, state.get) : address(scan.a, start.get),
      address(scan.b, start.get),
      address(scan.out, start.get),
      count.get,
      carryIn,
      totals ? shared() : i32.const(0),
    );
  // The chunk's first step in its own order; in reverse, rows are addressed by their last element's end, columns by their last row.
  const position = !scan.reverse
    ? first.get
    : inner === 1
      ? i32.sub(i32.const(length), first.get)
      : i32.sub(i32.const(length - 1), first.get);
  const body = forLoop(begin, end, 1, [
    // In reverse the units run backwards too: one descending walk through memory, where a sawtooth misleads prefetching.
    self.set(scan.reverse && !cutUp ? i32.sub(i32.const(scan.outer * blocks - 1), begin.get) : begin.get),
    unit.set(chunks === 1 ? self.get : i32.divU(self.get, i32.const(chunks))),
    first.set(chunks === 1 ? i32.const(0) : times(i32.remU(self.get, i32.const(chunks)), steps)),
    outer.set(blocks === 1 ? unit.get : i32.divU(unit.get, i32.const(blocks))),
    column.set(blocks === 1 ? i32.const(0) : times(i32.remU(unit.get, i32.const(blocks)), COLUMNS)),
    count.set(i32.sub(i32.const(length), first.get)),
    count.set(select(count.get, i32.const(steps), i32.ltS(count.get, i32.const(steps)))),
    state.set(times(i32.add(times(outer.get, inner), column.get), 4)),
    start.set(times(i32.add(times(i32.add(times(outer.get, length), position), inner), column.get), 4)),
    full === undefined
      ? last === undefined
        ? []
        : run(last)
      : last === undefined
        ? run(full)
        : when(i32.leS(column.get, i32.const(inner - COLUMNS)), run(full), run(last)),
  ]);
  return f.finish(name, body);
}

/** Turns the totals of a unit's chunks into the states before them. */
function carryPhase(scan: Scan, blocks: number, chunks: number, record: number, productOffset: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end] = f.params;
  const [chunk, at, from, lane, lanesEnd] = [
    f.local("i32"),
    f.local("i32"),
    f.local("i32"),
    f.local("i32"),
    f.local("i32"),
  ] as const;
  const [carry, next] = [f.local("v128"), f.local("v128")];
  const column = times(i32.remU(begin.get, i32.const(blocks)), COLUMNS);
  const initialAt = i32.add(times(i32.divU(begin.get, i32.const(blocks)), scan.inner), column);
  const lanesLeft = i32.sub(i32.const(scan.inner), column);
  const columns = select(i32.const(COLUMNS), lanesLeft, i32.ltS(i32.const(COLUMNS), lanesLeft));
  // A row's records are 4 bytes: the lanes behind the first belong to other chunks and are neither used nor written.
  const single = scan.inner === 1;
  return f.finish(
    "carry",
    forLoop(begin, end, 1, [
      lane.set(i32.const(0)),
      lanesEnd.set(times(columns, 4)),
      forLoop(lane, lanesEnd, 16, [
        from.set(i32.add(lane.get, times(initialAt, 4))),
        scan.initial === undefined
          ? carry.set(f32x4.const(0))
          : carry.set(v128.load(i32.add(i32.load(args.get, scan.initial), from.get))),
        at.set(i32.add(i32.add(i32.load(args.get, scan.out + 4), times(begin.get, chunks * record)), lane.get)),
        chunk.set(i32.const(0)),
        forLoop(chunk, chunks, 1, [
          next.set(
            f32x4.add(
              v128.load(at.get),
              scan.linear ? f32x4.mul(carry.get, v128.load(at.get, productOffset)) : carry.get,
            ),
          ),
          single ? v128.store32Lane(at.get, carry.get, 0) : v128.store(at.get, carry.get),
          carry.set(next.get),
          at.set(i32.add(at.get, i32.const(record))),
        ]),
      ]),
    ]),
  );
}
