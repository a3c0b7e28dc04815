/**
 * Matrix products and scans whose operands exceed what a pass may bind, as several programs over windows of them.
 * A product is cut along its batch, then along the rows of the result, or its columns, which are put side by side afterwards,
 * or along k, whose partial products are summed: whichever makes the operand smaller that is too large.
 * A scan is cut between rows. What cannot be cut at aligned places is left whole, and refused when it is prepared.
 */
import { product, type Epilogue, type LoopKernel, type MatmulSpec, type Scalar } from "@seqmix/tensor/backend";
import { fewRowsProgram } from "../matmul/few-rows.js";
import { matmulProgram } from "../matmul/program.js";
import { matrixUnitProgram } from "../matmul/matrix-units.js";
import {
  bytesOf,
  widthOf,
  WINDOW_ALIGNMENT,
  type GpuLimits,
  type GpuProgram,
  type GpuWindow,
} from "@seqmix/tensor/wgsl";
import { scanProgram, type ScanShape } from "../scans/program.js";
import { loopPasses } from "../wgsl/parts.js";

const STEP = WINDOW_ALIGNMENT / 4;

type Stored = "f32" | "f16";

type MatmulOperand = MatmulSpec["a"];

/** A program of a sequence; its buffers other than scratch are windows of the whole's. */
interface Part {
  readonly program: GpuProgram;
  readonly buffers: readonly { readonly buffer: number; readonly window: GpuWindow }[];
}

/** @param scratch Blocks of the whole that parts name as further buffers; blocks that parts share come after them. */
function joined(name: string, buffers: number, parts: readonly Part[], scratch: readonly number[]): GpuProgram {
  const shared: number[] = [];
  const passes = parts.flatMap(({ program, buffers: own }) => {
    program.scratch.forEach((bytes, k) => (shared[k] = Math.max(shared[k] ?? 0, bytes)));
    return program.passes.map((pass) => ({
      ...pass,
      buffers: pass.buffers.map((binding) => {
        const whole = own[binding.buffer];
        if (!whole) {
          const block = binding.buffer - own.length;
          return {
            ...binding,
            buffer: buffers + scratch.length + block,
            window: binding.window ?? { from: 0, bytes: program.scratch[block]! },
          };
        }
        return {
          ...binding,
          buffer: whole.buffer,
          window: binding.window
            ? { from: whole.window.from + binding.window.from, bytes: binding.window.bytes }
            : whole.window,
        };
      }),
    }));
  });
  return {
    name: `${name} in ${parts.length} parts, the first: ${parts[0]!.program.name}`,
    passes,
    scratch: [...scratch, ...shared],
  };
}

/** Of `extent` lines of `line` elements, how many make about half and end at an aligned place; undefined if none do. */
function half(extent: number, line: number): number | undefined {
  let step = STEP;
  while (step > 1 && ((step / 2) * line) % STEP === 0) step /= 2;
  const lines = Math.ceil(extent / 2 / step) * step;
  return lines < extent ? lines : undefined;
}

const windowOf = (from: number, size: number, dtype: Stored = "f32"): GpuWindow => ({
  from: from * widthOf(dtype),
  bytes: bytesOf(size, dtype),
});

/** Elements a strided operand of `rows` x `columns` spans: from the first aligned place before it. */
function spanOf(
  { offset = 0, batch, row, column }: MatmulOperand,
  extents: readonly number[],
  rows: number,
  columns: number,
  dtype: Stored,
): { readonly from: number; readonly size: number } {
  let [low, high] = [offset, offset];
  [...batch, row, column].forEach((stride, k) => {
    const reach = stride * ([...extents, rows, columns][k]! - 1);
    if (reach < 0) low += reach;
    else high += reach;
  });
  const step = WINDOW_ALIGNMENT / widthOf(dtype);
  const from = Math.floor(low / step) * step;
  return { from, size: high + 1 - from };
}

/** On matrix units where that is possible and faster. */
const productProgram = (spec: MatmulSpec, limits: GpuLimits, epilogue?: Epilogue): GpuProgram =>
  matrixUnitProgram(spec, limits, epilogue) ?? matmulProgram(spec, limits.workgroupBytes, epilogue);

/** A product whose result starts at an element of a buffer. */
interface Product {
  readonly spec: MatmulSpec;
  readonly result: { readonly buffer: number; readonly from: number };
}

/** @param epilogue Only where everything can be bound whole. */
export function cutMatmul(spec: MatmulSpec, limits: GpuLimits, epilogue?: Epilogue): GpuProgram {
  const operands = spec.operands ?? "f32";
  const whole = fewRowsProgram(spec, limits, epilogue) ?? productProgram(spec, limits, epilogue);
  const { m, n, k, batch } = spec;
  if (product(batch) * m * n * k === 0) return whole;
  const fits = (size: number, dtype: Stored = "f32"): boolean => bytesOf(size, dtype) <= limits.bytes;
  const sizeOf = (s: MatmulSpec): { a: ReturnType<typeof spanOf>; b: ReturnType<typeof spanOf>; c: number } => ({
    a: spanOf(s.a, s.batch, s.m, s.k, operands),
    b: spanOf(s.b, s.batch, s.k, s.n, operands),
    c: product(s.batch) * s.m * s.n,
  });
  const { a, b, c } = sizeOf(spec);
  if (fits(a.size, operands) && fits(b.size, operands) && fits(c)) return whole;

  const scratch: number[] = [];
  const parts: Part[] = [];
  const moved = (operand: MatmulOperand, by: number): MatmulOperand => ({
    ...operand,
    offset: (operand.offset ?? 0) + by,
  });
  const run = ({ spec: s, result }: Product): void => {
    const { a, b, c } = sizeOf(s);
    const bigA = !fits(a.size, operands),
      bigB = !fits(b.size, operands),
      bigC = !fits(c);
    if (bigA || bigB || bigC) {
      const axis = s.batch.findIndex((extent) => extent > 1);
      if (axis >= 0) {
        const line = product(s.batch.slice(axis + 1)) * s.m * s.n;
        const first = half(s.batch[axis]!, line);
        const of = (from: number, count: number): MatmulSpec => ({
          ...s,
          batch: s.batch.with(axis, count),
          a: moved(s.a, from * s.a.batch[axis]!),
          b: moved(s.b, from * s.b.batch[axis]!),
        });
        const count = s.batch[axis]!;
        if (first !== undefined) {
          run({ spec: of(0, first), result });
          run({ spec: of(first, count - first), result: { ...result, from: result.from + first * line } });
        } else {
          const half = Math.ceil(count / 2);
          sideBySide(
            [1, count * line],
            [half * line, (count - half) * line],
            [of(0, half), of(half, count - half)],
            result,
          );
        }
        return;
      }
      const rows = axis < 0 && (bigC || (bigA && s.a.row >= s.a.column)) ? half(s.m, s.n) : undefined;
      if (rows !== undefined) {
        run({ spec: { ...s, m: rows }, result });
        run({
          spec: { ...s, m: s.m - rows, a: moved(s.a, rows * s.a.row) },
          result: { ...result, from: result.from + rows * s.n },
        });
        return;
      }
      if (s.n > 1 && (bigC || (bigB && s.b.column >= s.b.row))) {
        const first = Math.ceil(s.n / 2);
        const of = (from: number, n: number): MatmulSpec => ({ ...s, n, b: moved(s.b, from * s.b.column) });
        const lines = product(s.batch) * s.m;
        sideBySide([lines, s.n], [first, s.n - first], [of(0, first), of(first, s.n - first)], result);
        return;
      }
      if (!bigC && s.k > 1) {
        sumAlongK(s, result, Math.ceil(s.k / 2));
        return;
      }
    }
    parts.push({
      program: productProgram({ ...s, a: moved(s.a, -a.from), b: moved(s.b, -b.from) }, limits),
      buffers: [
        { buffer: 0, window: windowOf(a.from, a.size, operands) },
        { buffer: 1, window: windowOf(b.from, b.size, operands) },
        { buffer: result.buffer, window: windowOf(result.from, c) },
      ],
    });
  };
  /** c = a[:, :first] b[:first] + a[:, first:] b[first:], both terms in scratch. */
  const sumAlongK = (s: MatmulSpec, result: Product["result"], first: number): void => {
    const size = product(s.batch) * s.m * s.n;
    const [left, right] = [2, 2].map((buffer) => buffer + scratch.push(bytesOf(size))) as [number, number];
    run({ spec: { ...s, k: first }, result: { buffer: left, from: 0 } });
    run({
      spec: { ...s, k: s.k - first, a: moved(s.a, first * s.a.column), b: moved(s.b, first * s.b.row) },
      result: { buffer: right, from: 0 },
    });
    const term = (input: number): Scalar => ({
      op: "load",
      dtype: "f32",
      input,
      index: { offset: 0, coefficients: [1] },
    });
    combine("sum", [size], { op: "add", dtype: "f32", args: [term(0), term(1)] }, [left, right], [size, size], result);
  };
  /** Two products in scratch, then beside each other in lines [lines, widths[0] + widths[1]]: where a result cannot be cut. */
  const sideBySide = (
    extents: readonly [number, number],
    widths: readonly [number, number],
    specs: readonly [MatmulSpec, MatmulSpec],
    result: Product["result"],
  ): void => {
    const [lines] = extents;
    const [left, right] = widths.map((width) => 2 + scratch.push(bytesOf(lines * width))) as [number, number];
    run({ spec: specs[0], result: { buffer: left, from: 0 } });
    run({ spec: specs[1], result: { buffer: right, from: 0 } });
    /** Columns from `start` on, from a part of this width. */
    const columns = (input: 0 | 1, start: number): Scalar => ({
      op: "guard",
      dtype: "f32",
      conditions: [{ index: { offset: -start, coefficients: [0, 1] }, lo: 0, hi: widths[input] }],
      value: { op: "load", dtype: "f32", input, index: { offset: -start, coefficients: [widths[input], 1] } },
      fill: 0,
    });
    const value: Scalar = { op: "add", dtype: "f32", args: [columns(0, 0), columns(1, widths[0])] };
    combine("side by side", extents, value, [left, right], [lines * widths[0], lines * widths[1]], result);
  };
  /** A loop over two parts in scratch. */
  const combine = (
    name: string,
    extents: readonly number[],
    value: Scalar,
    from: readonly [number, number],
    sizes: readonly [number, number],
    result: Product["result"],
  ): void => {
    const loop: LoopKernel = {
      extents,
      reduceExtents: [],
      reductions: [],
      inputs: sizes.map((size) => ({ dtype: "f32", size })),
      outputs: [{ dtype: "f32", value }],
    };
    parts.push({
      program: {
        name,
        passes: loopPasses(loop, "map", { inputs: [0, 1], outputs: [2] }, 64, limits),
        scratch: [],
      },
      buffers: [
        { buffer: from[0], window: windowOf(0, sizes[0]) },
        { buffer: from[1], window: windowOf(0, sizes[1]) },
        { buffer: result.buffer, window: windowOf(result.from, product(extents)) },
      ],
    });
  };
  run({ spec, result: { buffer: 2, from: 0 } });
  return joined(`matmul ${product(batch) > 1 ? `${product(batch)} x ` : ""}${m}x${n}x${k}`, 3, parts, scratch);
}

/** Buffers: (a,) b (, h0), h. */
export function cutScan(shape: ScanShape, limits: GpuLimits): GpuProgram {
  const whole = scanProgram(shape);
  const { outer, length, inner, decays, initial } = shape;
  const row = length * inner;
  if (bytesOf(outer * row) <= limits.bytes) return whole;
  const values = decays ? [0, 1] : [0];
  const parts: Part[] = [];
  const run = (from: number, count: number): void => {
    // where states [outer, inner] may be cut, results may be too
    const first = bytesOf(count * row) > limits.bytes ? half(count, initial ? inner : row) : undefined;
    if (first !== undefined) {
      run(from, first);
      run(from + first, count - first);
      return;
    }
    const window = windowOf(from * row, count * row);
    const state = initial ? [{ buffer: values.length, window: windowOf(from * inner, count * inner) }] : [];
    parts.push({
      program: scanProgram({ ...shape, outer: count }),
      buffers: [
        ...values.map((buffer) => ({ buffer, window })),
        ...state,
        { buffer: values.length + state.length, window },
      ],
    });
  };
  run(0, outer);
  return joined(
    `${decays ? "scan" : "running sum"} ${outer} x ${length} x ${inner}`,
    values.length + (initial ? 2 : 1),
    parts,
    [],
  );
}
