/**
 * Long convolutions and correlations by FFT, without zero padding: modulo x^N - i the terms of a product from x^N on come
 * back times i, so that for real arrays the real part is the causal part (passes.ts). Taps that look ahead come in as the
 * conjugate of their transform, since x^-1 is the conjugate of x at all roots.
 *
 * Four channels run at once. A pass over all elements per radix-4 step until blocks fit the first-level cache; then
 * per block the rest of the transform, the product and the inverse. Lengths are padded to the next power of 2.
 */
import { call, f32, i32, when, zeroProgram, type Code, type CpuProgram, type Local } from "@seqmix/tensor/wasm";
import { program, type Body } from "./frame.js";
import { addConjugateFunction, addRealFunction, gateFunction, productFunction } from "./passes.js";

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

/** The longest of a convolution's rows: what its transform has room for. */
export const longestOf = ({ length, taps = 0, tapsAhead = 0 }: Omit<ConvolutionSpec, "batch" | "channels">): number =>
  Math.max(length, taps, tapsAhead);

/** Buffers: u, the kernels, skip and gate as far as there are, the table of `rootsOf` of the longest row, y and the tail. */
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

/** Buffers: a, b, the table of `rootsOf` of the length, c. */
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
