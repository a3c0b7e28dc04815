/**
 * Long causal convolutions by FFT, without zero padding: modulo x^N - i the product's terms from x^N on come back
 * times i, so that for real arrays the real part is the causal part (cpu-fft-code.ts).
 *
 * Four channels run at once. A pass over all elements per radix-4 step until blocks fit the first-level cache; then
 * per block the rest of the transform, the product and the inverse. Lengths are padded to the next power of 2.
 */
import {
  buildModule,
  call,
  forLoop,
  functionBuilder,
  i32,
  select,
  when,
  zeroProgram,
  type Code,
  type CpuProgram,
  type Local,
  type WasmFunction,
} from "@seqmix/tensor/wasm";
import {
  ELEMENT,
  TEMPORARY,
  TWIDDLES,
  firstPassFunction,
  lastPassFunction,
  passFunction,
  productFunction,
  stageInFunction,
  stageOutFunction,
} from "./cpu-fft-code.js";

/**
 * out[b, d, t] = sum over j <= t of kernel[d, j] input[b, d, t - j], all contiguous. With kernel, input and output
 * reversed along time first or last this is its adjoint too:
 * - of the input: { reverseInput, reverseOutput } with the output's gradient as input;
 * - of the kernel: { reverseInput, reverseOutput, batchedKernel, sumBatch, outputLength: kernel's length } with the
 *   output's gradient as input and the input as kernel.
 */
export interface FftConvSpec {
  readonly batch: number;
  readonly channels: number;
  /** Of the input. */
  readonly length: number;
  /** At most `length`. */
  readonly kernelLength: number;
  /** Leading elements written; default: `length`. */
  readonly outputLength?: number;
  /** The kernel is [batch, channels, kernelLength] instead of [channels, kernelLength]. */
  readonly batchedKernel?: boolean;
  /** The output is [channels, outputLength], summed over the batch. */
  readonly sumBatch?: boolean;
  readonly reverseInput?: boolean;
  readonly reverseKernel?: boolean;
  /** The result is reversed, then cut to `outputLength`. */
  readonly reverseOutput?: boolean;
}

/** Elements of the blocks that are finished while cached: 32 KB. */
const CACHED = 1024;
const SMALLEST = 16;

const transformLength = (length: number): number =>
  2 ** Math.max(Math.log2(SMALLEST), Math.ceil(Math.log2(Math.max(1, length))));
const firstRadix = (size: number): 2 | 4 => (Math.log2(size) % 2 === 0 ? 4 : 2);

/** Depths after the first pass: the size of their blocks, and where their twiddles begin in the table, in bytes. */
function depthsOf(size: number): { size: number; blocks: number; table: number }[] {
  const depths = [];
  let table = 0;
  for (let block = size / firstRadix(size); block >= 4; block /= 4) {
    depths.push({ size: block, blocks: size / block, table });
    table += (TWIDDLES * size) / block;
  }
  return depths;
}

/** The roots a program for inputs of this length takes as its third input; the same for all programs of the length. */
export function fftConvTable(length: number): Float32Array<ArrayBuffer> {
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

/** Addresses: input, kernel, the table of {@link fftConvTable}(length), result. */
export function fftConvProgram(spec: FftConvSpec, memory: { readonly shared: boolean }): CpuProgram {
  const {
    batch,
    channels,
    length,
    kernelLength,
    batchedKernel = false,
    sumBatch = false,
    reverseInput = false,
    reverseKernel = false,
    reverseOutput = false,
  } = spec;
  const outputLength = spec.outputLength ?? length;
  const name = `fftconv [${batch},${channels},${length}] kernel ${kernelLength}${sumBatch ? " summed" : ""}`;
  const outputSize = (sumBatch ? 1 : batch) * channels * outputLength;
  if (outputSize === 0 || batch === 0 || length === 0 || kernelLength === 0)
    return zeroProgram(name, outputSize, 3, memory);

  const size = transformLength(length);
  const radix = firstRadix(size);
  const depths = depthsOf(size);
  const full = depths.filter((depth) => depth.size > CACHED);
  const cached = depths.slice(full.length);
  const cachedSize = cached[0]?.size ?? size / radix;
  const functions: WasmFunction[] = [];
  const add = (f: WasmFunction): number => functions.push(f) - 1;
  const forward = new Map(depths.map((depth) => [depth, add(passFunction(`forward${depth.size}`, depth.size, false))]));
  const inverse = new Map(depths.map((depth) => [depth, add(passFunction(`inverse${depth.size}`, depth.size, true))]));
  const first = add(firstPassFunction("first", size, radix, 1));
  const firstScaled = add(firstPassFunction("firstScaled", size, radix, 1 / size));
  const last = add(lastPassFunction("last", size, radix));
  const product = add(productFunction("product"));
  const stageIn =
    length === size && !reverseInput ? undefined : add(stageInFunction("stageIn", length, size, reverseInput));
  const stageKernel =
    kernelLength === size && !reverseKernel
      ? undefined
      : add(stageInFunction("stageKernel", kernelLength, size, reverseKernel));
  const stageOut =
    outputLength === size && !reverseOutput
      ? undefined
      : add(stageOutFunction("stageOut", length, outputLength, reverseOutput));

  const groups = Math.ceil(channels / 4);
  // Batches share a kernel's transform, unless groups of channels are too few for the threads.
  const batchParts = sumBatch ? 1 : Math.min(batch, Math.ceil(16 / groups));
  const batchStep = Math.ceil(batch / batchParts);
  const parts = Math.ceil(batch / batchStep);
  const bytes = size * ELEMENT;

  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end, scratch] = f.params;
  const local = (): Local => f.local("i32");
  const [channel, b, b0, b1, sub, table, x, k, sum, stage, temporary] = [
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
  ] as const;
  const rows = [local(), local(), local(), local()] as const;
  /** The four channels' rows; the last one repeats where there are fewer, and is then written with the same values. */
  const setRows = (entry: number, rowLength: number, batched: boolean): Code =>
    rows.map((target, c) => {
      const least = i32.const(channels - 1);
      const index = i32.add(channel.get, i32.const(c));
      const clamped = channels % 4 === 0 ? index : select(index, least, i32.ltS(index, least));
      return target.set(
        i32.add(
          i32.load(args.get, entry),
          i32.mul(batched ? i32.add(i32.mul(b.get, i32.const(channels)), clamped) : clamped, i32.const(4 * rowLength)),
        ),
      );
    });
  const staged = (c: number): Code => i32.add(stage.get, i32.const((4 * size + 64) * c));
  const load = (
    entry: number,
    rowLength: number,
    batched: boolean,
    staging: number | undefined,
    pass: number,
    to: Local,
  ): Code => [
    setRows(entry, rowLength, batched),
    staging === undefined ? [] : rows.map((source, c) => [call(staging, source.get, staged(c)), source.set(staged(c))]),
    call(pass, ...rows.map((source) => source.get), to.get, temporary.get),
  ];
  const fullPasses = (at: Local, passes: ReadonlyMap<object, number>, order: typeof full): Code =>
    order.map((depth) =>
      call(passes.get(depth) ?? 0, at.get, i32.add(table.get, i32.const(depth.table)), i32.const(depth.blocks)),
    );
  const subAt = (base: Local): Code => i32.add(base.get, i32.mul(sub.get, i32.const(cachedSize * ELEMENT)));
  const cachedPasses = (base: Local, passes: ReadonlyMap<object, number>, order: typeof cached): Code =>
    order.map((depth) => {
      const blocks = cachedSize / depth.size;
      return call(
        passes.get(depth) ?? 0,
        subAt(base),
        i32.add(i32.add(table.get, i32.const(depth.table)), i32.mul(sub.get, i32.const(blocks * TWIDDLES))),
        i32.const(blocks),
      );
    });
  const overSubs = (body: Code): Code => [sub.set(i32.const(0)), forLoop(sub, size / cachedSize, 1, body)];
  const newKernel = (then: Code): Code => (batchedKernel ? then : when(i32.eq(b.get, b0.get), then));
  const backward = (base: Local): Code => cachedPasses(base, inverse, [...cached].reverse());
  const finish = (base: Local): Code => [
    fullPasses(base, inverse, [...full].reverse()),
    setRows(12, outputLength, !sumBatch),
    stageOut === undefined
      ? call(last, base.get, ...rows.map((target) => target.get), temporary.get)
      : [
          call(last, base.get, ...rows.map((_, c) => staged(c)), temporary.get),
          rows.map((target, c) => call(stageOut, staged(c), target.get)),
        ],
  ];
  const target = sumBatch ? sum : x;
  const body = forLoop(begin, end, 1, [
    channel.set(i32.mul(i32.divU(begin.get, i32.const(parts)), i32.const(4))),
    b0.set(i32.mul(i32.remU(begin.get, i32.const(parts)), i32.const(batchStep))),
    b1.set(i32.add(b0.get, i32.const(batchStep))),
    b1.set(select(b1.get, i32.const(batch), i32.ltS(b1.get, i32.const(batch)))),
    table.set(i32.load(args.get, 8)),
    temporary.set(scratch.get),
    x.set(i32.add(scratch.get, i32.const(TEMPORARY))),
    k.set(i32.add(x.get, i32.const(bytes))),
    sum.set(i32.add(k.get, i32.const(bytes))),
    stage.set(i32.add(k.get, i32.const(sumBatch ? 2 * bytes : bytes))),
    b.set(b0.get),
    forLoop(b, b1, 1, [
      newKernel([load(4, kernelLength, batchedKernel, stageKernel, firstScaled, k), fullPasses(k, forward, full)]),
      load(0, length, true, stageIn, first, x),
      fullPasses(x, forward, full),
      overSubs([
        newKernel(cachedPasses(k, forward, cached)),
        cachedPasses(x, forward, cached),
        call(product, subAt(target), subAt(x), subAt(k), i32.const(cachedSize), sumBatch ? b.get : i32.const(0)),
        sumBatch ? [] : backward(x),
      ]),
      sumBatch ? [] : finish(x),
    ]),
    sumBatch ? [overSubs(backward(sum)), finish(sum)] : [],
  ]);
  add(f.finish("convolve", body));
  const needsStage = stageIn !== undefined || stageKernel !== undefined || stageOut !== undefined;
  return {
    name,
    module: buildModule({ memory, functions }),
    phases: [{ run: "convolve", units: groups * parts, grain: Math.max(1, Math.floor(2048 / (size * batchStep))) }],
    scratchBytes: TEMPORARY + (sumBatch ? 3 : 2) * bytes + (needsStage ? 16 * size + 256 : 0),
    sharedBytes: 0,
  };
}
