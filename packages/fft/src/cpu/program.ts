/**
 * Long convolutions and correlations by FFT, without zero padding: modulo x^N - i the terms of a product from x^N on come
 * back times i, so that for real arrays the real part is the causal part (passes.ts). Taps that look ahead come in as the
 * conjugate of their transform, since x^-1 is the conjugate of x at all roots.
 *
 * Four channels run at once. A pass over all elements per radix-4 step until blocks fit the first-level cache; then
 * per block the rest of the transform, the product and the inverse. Lengths are padded to the next power of 2.
 */
import {
  buildModule,
  call,
  f32,
  forLoop,
  functionBuilder,
  i32,
  memory as bulk,
  select,
  when,
  zeroProgram,
  type Code,
  type CpuProgram,
  type Local,
  type WasmFunction,
} from "@seqmix/tensor/wasm";
import {
  addConjugateFunction,
  addRealFunction,
  ELEMENT,
  firstPassFunction,
  gateFunction,
  lastPassFunction,
  passFunction,
  productFunction,
  stageInFunction,
  stageOutFunction,
  TEMPORARY,
  TWIDDLES,
} from "./passes.js";

/** y[b, d, t] = gate (sum_s k[d, s] u[b, d, t - s] + sum_s kReverse[d, s] u[b, d, t + s] + skip[d] u[b, d, t]). */
export interface ConvolutionSpec {
  readonly batch: number;
  readonly channels: number;
  readonly length: number;
  /** Taps that look back, and taps that look ahead; undefined without. */
  readonly taps?: number | undefined;
  readonly tapsAhead?: number | undefined;
  readonly skip?: boolean;
  readonly gate?: boolean;
  /** Write what comes behind the last output too, [batch, channels, taps - 1]: as if zeros followed the input. */
  readonly tail?: boolean;
}

/** c[d, s] = sum over b and t of a[b, d, t + s] b[b, d, t]. */
export interface CorrelationSpec {
  readonly batch: number;
  readonly channels: number;
  readonly length: number;
  /** At most `length`. */
  readonly lags: number;
}

/** Elements of the blocks that are finished while cached: 32 KB. */
const CACHED = 1024;
const SMALLEST = 16;

const transformLength = (length: number): number =>
  2 ** Math.max(Math.log2(SMALLEST), Math.ceil(Math.log2(Math.max(1, length))));
const firstRadix = (size: number): 2 | 4 => (Math.log2(size) % 2 === 0 ? 4 : 2);

interface Depth {
  readonly size: number;
  readonly blocks: number;
  /** Where its twiddles begin in the table, in bytes. */
  readonly table: number;
}

/** Depths after the first pass. */
function depthsOf(size: number): Depth[] {
  const depths = [];
  let table = 0;
  for (let block = size / firstRadix(size); block >= 4; block /= 4) {
    depths.push({ size: block, blocks: size / block, table });
    table += (TWIDDLES * size) / block;
  }
  return depths;
}

/** The roots that programs for inputs of this length take behind the other inputs; the same for all of the length. */
export function rootsOf(length: number): Float32Array<ArrayBuffer> {
  const size = transformLength(length);
  const radix = firstRadix(size);
  // Angles, in turns, of the moduli's constants.
  let angles: number[] = Array.from({ length: radix }, (_, m) => 1 / (4 * radix) + m / radix);
  const numbers: number[] = [];
  for (const _ of depthsOf(size)) {
    for (const angle of angles)
      for (let power = 1; power <= 3; power++)
        numbers.push(Math.cos((Math.PI / 2) * angle * power), Math.sin((Math.PI / 2) * angle * power));
    angles = angles.flatMap((angle) => [0, 1, 2, 3].map((m) => angle / 4 + m / 4));
  }
  return Float32Array.from(numbers);
}

/** What the body of a program is written with: transforms of four rows at a time, in one of several blocks of scratch. */
interface Body {
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

interface Frame {
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
function program(
  { name, batch, channels, length, lengths, blocks, table: tableAt, batchStep }: Frame,
  memory: { readonly shared: boolean },
  write: (body: Body) => { readonly each: Code; readonly after: Code },
): CpuProgram {
  const size = transformLength(length);
  const radix = firstRadix(size);
  const depths = depthsOf(size);
  const full = depths.filter((depth) => depth.size > CACHED);
  const cached = depths.slice(full.length);
  const cachedSize = cached[0]?.size ?? size / radix;
  const functions: WasmFunction[] = [];
  const add = (f: WasmFunction): number => functions.push(f) - 1;
  const memoized = (make: (key: number) => WasmFunction): ((key: number) => number) => {
    const known = new Map<number, number>();
    return (key) => known.get(key) ?? known.set(key, add(make(key))).get(key)!;
  };
  const forward = new Map(depths.map((depth) => [depth, add(passFunction(`forward${depth.size}`, depth.size, false))]));
  const inverse = new Map(depths.map((depth) => [depth, add(passFunction(`inverse${depth.size}`, depth.size, true))]));
  const first = memoized((scaled) => firstPassFunction(`first${scaled}`, size, radix, scaled ? 1 / size : 1));
  const last = memoized((imaginary) =>
    lastPassFunction(`last${imaginary}`, size, radix, imaginary ? "imaginary" : "real"),
  );
  const stageIn = memoized((count) => stageInFunction(`stageIn${count}`, count, size));
  const stageOut = memoized((count) => stageOutFunction(`stageOut${count}`, count));

  const parts = Math.ceil(batch / batchStep);
  const bytes = size * ELEMENT;
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end, scratch] = f.params;
  const local = (): Local => f.local("i32");
  const [channel, b, b0, b1, sub, table, stage, temporary] = [
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
  ] as const;
  const block = Array.from({ length: blocks }, local);
  const rows = [local(), local(), local(), local()] as const;
  const setRows = (buffer: number, rowLength: number, batched: boolean): Code =>
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
  const staged = (c: number): Code => i32.add(stage.get, i32.const((4 * size + 64) * c));
  const fullPasses = (at: Local, passes: ReadonlyMap<Depth, number>, order: readonly Depth[]): Code =>
    order.map((depth) =>
      call(passes.get(depth)!, at.get, i32.add(table.get, i32.const(depth.table)), i32.const(depth.blocks)),
    );
  const partAt = (base: Local): Code => i32.add(base.get, i32.mul(sub.get, i32.const(cachedSize * ELEMENT)));
  const cachedPasses = (base: Local, passes: ReadonlyMap<Depth, number>, order: readonly Depth[]): Code =>
    order.map((depth) => {
      const count = cachedSize / depth.size;
      return call(
        passes.get(depth)!,
        partAt(base),
        i32.add(i32.add(table.get, i32.const(depth.table)), i32.mul(sub.get, i32.const(count * TWIDDLES))),
        i32.const(count),
      );
    });
  const { each, after } = write({
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
      fullPasses(to, forward, full),
    ],
    overParts: (body) => [sub.set(i32.const(0)), forLoop(sub, size / cachedSize, 1, body(partAt))],
    part: (base, back) =>
      back ? cachedPasses(base, inverse, [...cached].reverse()) : cachedPasses(base, forward, cached),
    finish: (base, buffer, rowLength, batched) => [
      fullPasses(base, inverse, [...full].reverse()),
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
  });
  const body = forLoop(begin, end, 1, [
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
  add(f.finish("convolve", body));
  const needsStage = lengths.some((each) => each !== size);
  return {
    name,
    module: buildModule({ memory, functions }),
    phases: [
      {
        run: "convolve",
        units: Math.ceil(channels / 4) * parts,
        grain: Math.max(1, Math.floor(2048 / (size * batchStep))),
      },
    ],
    scratchBytes: TEMPORARY + blocks * bytes + (needsStage ? 16 * size + 256 : 0),
    sharedBytes: 0,
  };
}

/** The longest of a convolution's rows: what its transform has room for. */
export const longestOf = ({ length, taps = 0, tapsAhead = 0 }: Omit<ConvolutionSpec, "batch" | "channels">): number =>
  Math.max(length, taps, tapsAhead);

/** Buffers: u, the kernels, skip and gate as far as there are, the table of {@link rootsOf}(longest row), y and the tail. */
export function convolutionProgram(spec: ConvolutionSpec, memory: { readonly shared: boolean }): CpuProgram {
  const { batch, channels, length, taps, tapsAhead, skip = false, gate = false, tail = false } = spec;
  const name = `fftConv [${batch},${channels},${length}], ${[taps !== undefined && `${taps} taps`, tapsAhead !== undefined && `${tapsAhead} ahead`, skip && "skip", gate && "gate"].filter(Boolean).join(", ")}`;
  const given = [taps !== undefined, tapsAhead !== undefined, skip, gate];
  const at = (k: number): number => 1 + given.slice(0, k).filter(Boolean).length;
  const [kAt, kReverseAt, skipAt, gateAt, table] = [at(0), at(1), at(2), at(3), at(4)] as const;
  const y = table + 1;
  if (batch * channels * length === 0) return zeroProgram(name, 0, y, memory);
  const both = taps !== undefined && tapsAhead !== undefined;
  const groups = Math.ceil(channels / 4);
  // Batches share a kernel's transform, unless groups of channels are too few for the threads.
  const batchStep = Math.ceil(batch / Math.min(batch, Math.ceil(16 / groups)));
  const lengths = [length, taps ?? length, tapsAhead ?? length, ...(tail ? [taps! - 1] : [])];
  const frame = { name, batch, channels, length: longestOf(spec), lengths, blocks: both ? 3 : 2, table, batchStep };
  return program(frame, memory, (body) => {
    const { add, block, cachedSize, channel, rows, setRows, temporary, size } = body;
    const [x, k, ahead] = block as [Local, Local, Local];
    const product = add(productFunction("product", taps === undefined));
    const join = both ? add(addConjugateFunction("join")) : 0;
    const addSkip = skip ? add(addRealFunction("addSkip", 1 / size)) : 0;
    const multiply = gate ? add(gateFunction("gate", length)) : 0;
    // A kernel that looks ahead alone stays as it is: the product takes the conjugate.
    const kernelIn = [
      both
        ? [body.load(kAt, taps, false, true, k), body.load(kReverseAt, tapsAhead, false, true, ahead)]
        : body.load(kAt, taps ?? tapsAhead!, false, true, k),
      skip ? [setRows(skipAt, 1, false), rows.map((row, c) => f32.store(temporary.get, f32.load(row.get), 4 * c))] : [],
    ];
    const kernelPart = (partAt: (of: Local) => Code): Code => [
      body.part(k, false),
      both ? [body.part(ahead, false), call(join, partAt(k), partAt(ahead), i32.const(cachedSize))] : [],
      skip ? call(addSkip, partAt(k), temporary.get, i32.const(cachedSize)) : [],
    ];
    const gated = rows.map((row, c) =>
      when(i32.ltS(i32.add(channel.get, i32.const(c)), i32.const(channels)), [
        call(multiply, row.get, sameRow(body, gateAt, length, c, channels)),
      ]),
    );
    return {
      each: [
        // the skip's four numbers wait where loads of rows write: u comes first
        body.load(0, length, true, false, x),
        when(body.firstOfBatch, kernelIn),
        body.overParts((partAt) => [
          when(body.firstOfBatch, kernelPart(partAt)),
          body.part(x, false),
          call(product, partAt(x), partAt(x), partAt(k), i32.const(cachedSize), i32.const(0)),
          body.part(x, true),
        ]),
        body.finish(x, y, length, true),
        gate ? gated : [],
        tail ? body.finishTail(x, y + 1, length, taps! - 1) : [],
      ],
      after: [],
    };
  });
}

/** The address of a channel's row in another buffer. */
const sameRow = ({ args, b, channel }: Body, buffer: number, length: number, c: number, channels: number): Code =>
  i32.add(
    i32.load(args.get, 4 * buffer),
    i32.mul(i32.add(i32.mul(b.get, i32.const(channels)), i32.add(channel.get, i32.const(c))), i32.const(4 * length)),
  );

/** Buffers: a, b, the table of {@link rootsOf}(length), c. */
export function correlationProgram(spec: CorrelationSpec, memory: { readonly shared: boolean }): CpuProgram {
  const { batch, channels, length, lags } = spec;
  const name = `fftCorrelation [${batch},${channels},${length}], ${lags} lags`;
  if (batch * channels * length * lags === 0) return zeroProgram(name, channels * lags, 3, memory);
  const frame = { name, batch, channels, length, lengths: [length, lags], blocks: 3, table: 2, batchStep: batch };
  return program(frame, memory, (body) => {
    const { add, b, block, cachedSize } = body;
    const [x, y, sum] = block as [Local, Local, Local];
    const product = add(productFunction("product", true));
    return {
      each: [
        body.load(0, length, true, true, x),
        body.load(1, length, true, false, y),
        body.overParts((partAt) => [
          body.part(x, false),
          body.part(y, false),
          call(product, partAt(sum), partAt(x), partAt(y), i32.const(cachedSize), b.get),
        ]),
      ],
      after: [body.overParts(() => body.part(sum, true)), body.finish(sum, 3, lags, false)],
    };
  });
}
