/** The frame of programs that transform rows: four channels at a time go through blocks of scratch, pass after pass. */
import {
  buildModule,
  call,
  forLoop,
  functionBuilder,
  i32,
  memory as bulk,
  select,
  type Code,
  type CpuProgram,
  type Local,
  type WasmFunction,
} from "@seqmix/tensor/wasm";
import {
  ELEMENT,
  firstPassFunction,
  lastPassFunction,
  passFunction,
  stageInFunction,
  stageOutFunction,
  TEMPORARY,
  TWIDDLES,
} from "./passes.js";
import { depthsOf, firstRadix, transformLength, type Depth } from "./roots.js";

/** Elements of the blocks that are finished while cached: 32 KB. */
const CACHED = 1024;
/** What the body of a program is written with: transforms of four rows at a time, in one of several blocks of scratch. */
export interface Body {
  readonly size: number;
  /** Elements of a block that is finished while cached. */
  readonly cachedSize: number;
  readonly args: Local;
  readonly channel: Local;
  readonly b: Local;
  readonly temporary: Local;
  /** Whether the kernel in memory is that of the row before. */
  readonly firstOfBatch: Code;
  add(f: WasmFunction): number;
  /** The blocks of scratch by number. */
  readonly block: readonly Local[];
  /** Sets `rows` to the four channels' rows of a buffer; the last one repeats where there are fewer. */
  setRows(buffer: number, rowLength: number, batched: boolean): Code;
  readonly rows: readonly Local[];
  /** Four rows into a block, and the passes over all of it. */
  load(buffer: number, rowLength: number, batched: boolean, scaled: boolean, to: Local): Code;
  /** Over the cached parts of blocks; `at` gives a part's address. */
  overParts(body: (at: (block: Local) => Code) => Code): Code;
  /** The rest of the transform of a part, or the beginning of the inverse. */
  part(block: Local, inverse: boolean): Code;
  /** The rest of the inverse and the real parts to four rows. */
  finish(block: Local, buffer: number, rowLength: number, batched: boolean): Code;
  /** After that, what comes behind `rowLength`: the rest of the real parts, then the imaginary ones. */
  finishTail(block: Local, buffer: number, rowLength: number, tailLength: number): Code;
}

/** The rows that a program reads and writes, and what its units are. */
export interface Frame {
  readonly name: string;
  readonly batch: number;
  readonly channels: number;
  /** Of the longest row. */
  readonly length: number;
  /** Lengths of the rows that are read and written. */
  readonly lengths: readonly number[];
  readonly blocks: number;
  /** Buffer of the table among the addresses. */
  readonly table: number;
  /** Batches that a unit takes in a row. */
  readonly batchStep: number;
}

/** A program whose units are four channels and a part of the batch. */
export function program(
  frame: Frame,
  memory: { readonly shared: boolean },
  write: (body: Body) => { readonly each: Code; readonly after: Code },
): CpuProgram {
  const { name, batch, channels, length, lengths, blocks, batchStep } = frame;
  const size = transformLength(length);
  const functions: WasmFunction[] = [];
  const add = (f: WasmFunction): number => functions.push(f) - 1;
  const passes = passesOf(size, add);
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const locals = localsOf(() => f.local("i32"), blocks);
  add(f.finish("convolve", units(frame, f.params, locals, write(bodyOf(frame, passes, f.params[0], locals, add)))));
  const needsStage = lengths.some((each) => each !== size);
  return {
    name,
    module: buildModule({ memory, functions }),
    phases: [
      {
        run: "convolve",
        units: Math.ceil(channels / 4) * Math.ceil(batch / batchStep),
        grain: Math.max(1, Math.floor(2048 / (size * batchStep))),
      },
    ],
    scratchBytes: TEMPORARY + blocks * size * ELEMENT + (needsStage ? 16 * size + 256 : 0),
    sharedBytes: 0,
  };
}

/** The functions of a transform, by number. */
interface Passes {
  readonly size: number;
  readonly cachedSize: number;
  /** Depths whose passes go over all of a block, and those that go over a part of it while it is cached. */
  readonly full: readonly Depth[];
  readonly cached: readonly Depth[];
  readonly forward: ReadonlyMap<Depth, number>;
  readonly inverse: ReadonlyMap<Depth, number>;
  /** By whether results are divided by the size; by whether they are the imaginary parts. */
  readonly first: (scaled: number) => number;
  readonly last: (imaginary: number) => number;
  /** By length: rows to and from a place where zeros follow them. */
  readonly stageIn: (count: number) => number;
  readonly stageOut: (count: number) => number;
}

function passesOf(size: number, add: (f: WasmFunction) => number): Passes {
  const radix = firstRadix(size);
  const depths = depthsOf(size);
  const full = depths.filter((depth) => depth.size > CACHED);
  const cached = depths.slice(full.length);
  const memoized = (make: (key: number) => WasmFunction): ((key: number) => number) => {
    const known = new Map<number, number>();
    return (key) => known.get(key) ?? known.set(key, add(make(key))).get(key)!;
  };
  return {
    size,
    cachedSize: cached[0]?.size ?? size / radix,
    full,
    cached,
    forward: new Map(depths.map((depth) => [depth, add(passFunction(`forward${depth.size}`, depth.size, false))])),
    inverse: new Map(depths.map((depth) => [depth, add(passFunction(`inverse${depth.size}`, depth.size, true))])),
    first: memoized((scaled) => firstPassFunction(`first${scaled}`, size, radix, scaled ? 1 / size : 1)),
    last: memoized((imaginary) => lastPassFunction(`last${imaginary}`, size, radix, imaginary ? "imaginary" : "real")),
    stageIn: memoized((count) => stageInFunction(`stageIn${count}`, count, size)),
    stageOut: memoized((count) => stageOutFunction(`stageOut${count}`, count)),
  };
}

interface Locals {
  /** The first of four channels; the element of the batch, the first of the unit and the one behind its last. */
  readonly channel: Local;
  readonly b: Local;
  readonly b0: Local;
  readonly b1: Local;
  /** The part of a block. */
  readonly sub: Local;
  /** Addresses. */
  readonly table: Local;
  readonly stage: Local;
  readonly temporary: Local;
  readonly block: readonly Local[];
  readonly rows: readonly [Local, Local, Local, Local];
}

function localsOf(local: () => Local, blocks: number): Locals {
  return {
    channel: local(),
    b: local(),
    b0: local(),
    b1: local(),
    sub: local(),
    table: local(),
    stage: local(),
    temporary: local(),
    block: Array.from({ length: blocks }, local),
    rows: [local(), local(), local(), local()],
  };
}

/** The loop over units, and in each over its part of the batch. */
function units(
  { batch, batchStep, blocks, table: tableAt, length }: Frame,
  [args, begin, end, scratch]: readonly [Local, Local, Local, Local],
  { channel, b, b0, b1, table, stage, temporary, block }: Locals,
  { each, after }: { readonly each: Code; readonly after: Code },
): Code {
  const parts = Math.ceil(batch / batchStep);
  const bytes = transformLength(length) * ELEMENT;
  return forLoop(begin, end, 1, [
    channel.set(i32.mul(i32.divU(begin.get, i32.const(parts)), i32.const(4))),
    b0.set(i32.mul(i32.remU(begin.get, i32.const(parts)), i32.const(batchStep))),
    b1.set(i32.add(b0.get, i32.const(batchStep))),
    b1.set(select(b1.get, i32.const(batch), i32.ltS(b1.get, i32.const(batch)))),
    table.set(i32.load(args.get, 4 * tableAt)),
    temporary.set(scratch.get),
    block.map((at, k) => at.set(i32.add(scratch.get, i32.const(TEMPORARY + k * bytes)))),
    stage.set(i32.add(scratch.get, i32.const(TEMPORARY + blocks * bytes))),
    b.set(b0.get),
    forLoop(b, b1, 1, each),
    after,
  ]);
}

/** Sets `rows` to four channels' rows of a buffer. */
const rowsSetter =
  (channels: number, args: Local, { channel, b, rows }: Locals): Body["setRows"] =>
  (buffer, rowLength, batched) =>
    rows.map((target, c) => {
      const least = i32.const(channels - 1);
      const index = i32.add(channel.get, i32.const(c));
      const clamped = channels % 4 === 0 ? index : select(index, least, i32.ltS(index, least));
      return target.set(
        i32.add(
          i32.load(args.get, 4 * buffer),
          i32.mul(batched ? i32.add(i32.mul(b.get, i32.const(channels)), clamped) : clamped, i32.const(4 * rowLength)),
        ),
      );
    });

/** Calls of the passes over all of a block, and of those over its cached part, which is `partAt` its address. */
function passCalls({ cachedSize, full, cached, forward, inverse }: Passes, { sub, table }: Locals) {
  const partAt = (base: Local): Code => i32.add(base.get, i32.mul(sub.get, i32.const(cachedSize * ELEMENT)));
  const ofPart = (base: Local, passes: ReadonlyMap<Depth, number>, depth: Depth): Code => {
    const count = cachedSize / depth.size;
    return call(
      passes.get(depth)!,
      partAt(base),
      i32.add(i32.add(table.get, i32.const(depth.table)), i32.mul(sub.get, i32.const(count * TWIDDLES))),
      i32.const(count),
    );
  };
  const ofWhole = (at: Local, passes: ReadonlyMap<Depth, number>, depth: Depth): Code =>
    call(passes.get(depth)!, at.get, i32.add(table.get, i32.const(depth.table)), i32.const(depth.blocks));
  return {
    partAt,
    whole: (at: Local): Code => full.map((depth) => ofWhole(at, forward, depth)),
    wholeBack: (at: Local): Code => full.toReversed().map((depth) => ofWhole(at, inverse, depth)),
    part: (base: Local): Code => cached.map((depth) => ofPart(base, forward, depth)),
    partBack: (base: Local): Code => cached.toReversed().map((depth) => ofPart(base, inverse, depth)),
  };
}

function bodyOf(
  { channels }: Frame,
  passes: Passes,
  args: Local,
  locals: Locals,
  add: (f: WasmFunction) => number,
): Body {
  const { size, cachedSize, first, last, stageIn, stageOut } = passes;
  const { channel, b, b0, sub, stage, temporary, block, rows } = locals;
  const setRows = rowsSetter(channels, args, locals);
  const calls = passCalls(passes, locals);
  const staged = (c: number): Code => i32.add(stage.get, i32.const((4 * size + 64) * c));
  return {
    size,
    cachedSize,
    args,
    channel,
    b,
    temporary,
    firstOfBatch: i32.eq(b.get, b0.get),
    add,
    block,
    setRows,
    rows,
    load: (buffer, rowLength, batched, scaled, to) => [
      setRows(buffer, rowLength, batched),
      rowLength === size
        ? []
        : rows.map((source, c) => [call(stageIn(rowLength), source.get, staged(c)), source.set(staged(c))]),
      call(first(scaled ? 1 : 0), ...rows.map((source) => source.get), to.get, temporary.get),
      calls.whole(to),
    ],
    overParts: (body) => [sub.set(i32.const(0)), forLoop(sub, size / cachedSize, 1, body(calls.partAt))],
    part: (base, back) => (back ? calls.partBack(base) : calls.part(base)),
    finish: (base, buffer, rowLength, batched) => [
      calls.wholeBack(base),
      setRows(buffer, rowLength, batched),
      rowLength === size
        ? call(last(0), base.get, ...rows.map((target) => target.get), temporary.get)
        : [
            call(last(0), base.get, ...rows.map((_, c) => staged(c)), temporary.get),
            rows.map((target, c) => call(stageOut(rowLength), staged(c), target.get)),
          ],
    ],
    finishTail(base, buffer, rowLength, tailLength) {
      const real = Math.min(size - rowLength, tailLength);
      const copied = (from: number, to: number, count: number): Code =>
        count === 0
          ? []
          : rows.map((target, c) =>
              bulk.copy(
                i32.add(target.get, i32.const(4 * to)),
                i32.add(staged(c), i32.const(4 * from)),
                i32.const(4 * count),
              ),
            );
      const imaginary = call(last(1), base.get, ...rows.map((_, c) => staged(c)), temporary.get);
      return [
        setRows(buffer, tailLength, true),
        copied(rowLength, 0, real),
        tailLength > real ? [imaginary, copied(0, real, tailLength - real)] : [],
      ];
    },
  };
}
