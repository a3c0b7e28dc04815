/**
 * Products whose operands exceed what a pass may bind, as several programs over windows of them. A product is cut along its
 * batch, then along the rows of the result, or its columns, which are put side by side afterwards, or along k, whose partial
 * products are summed: whichever makes the operand smaller that is too large. An operand whose matrices lie among each other
 * is copied apart before. What cannot be cut at aligned places is left whole, and refused when it is prepared.
 */
import { product, type LoopKernel, type MatmulSpec, type Scalar } from "@seqmix/tensor/backend";
import { bytesOf, type GpuLimits, type GpuProgram } from "@seqmix/tensor/wgsl";
import { half, joined, windowOf, type Part } from "../native/parts.js";
import { loopPasses } from "../loops/passes.js";
import { loopProgram } from "../loops/program.js";
import { copyOf, isInterleaved } from "./copy-operand.js";
import { spansOf, tooLarge, type MatmulOperand } from "./spans.js";

/** Where a product's result starts. */
interface Place {
  readonly buffer: number;
  readonly from: number;
}

interface Cutting {
  readonly limits: GpuLimits;
  /** The program of a product that can be bound whole. */
  readonly programOf: (spec: MatmulSpec, limits: GpuLimits) => GpuProgram;
  readonly parts: Part[];
  /** Bytes of blocks that parts leave results in. */
  readonly scratch: number[];
  /** Buffers of the operands. */
  readonly operands: readonly [a: number, b: number];
}

/** @param programOf The program of a product that can be bound whole. */
export function cutMatmul(spec: MatmulSpec, limits: GpuLimits, programOf: Cutting["programOf"]): GpuProgram {
  const { m, n, k, batch } = spec;
  const parts: Part[] = [];
  const scratch: number[] = [];
  const large = tooLarge(spec, limits.bytes);
  const spans = spansOf(spec);
  /** The operand, or a copy where its matrices lie among each other. */
  const apart = (name: "a" | "b", own: number, rows: number, columns: number): readonly [MatmulOperand, number] => {
    if (!large[name] || !isInterleaved(spec[name], spec, rows, columns)) return [spec[name], own];
    const size = spans[name].from + spans[name].size;
    const { operand, loop, size: copied } = copyOf(spec[name], spec, rows, columns, size);
    const buffer = 2 + scratch.push(bytesOf(copied, spec.operands));
    parts.push({
      program: loopProgram(loop, limits),
      buffers: [
        { buffer: own, window: windowOf(0, size, spec.operands) },
        { buffer, window: windowOf(0, copied, spec.operands) },
      ],
    });
    return [operand, buffer];
  };
  const [[a, bufferOfA], [b, bufferOfB]] = [apart("a", 0, m, k), apart("b", 1, k, n)];
  const cutting: Cutting = { limits, programOf, parts, scratch, operands: [bufferOfA, bufferOfB] };
  run(cutting, { ...spec, a, b }, { buffer: 2, from: 0 });
  const name = `matmul ${product(batch) > 1 ? `${product(batch)} x ` : ""}${m}x${n}x${k}`;
  return joined(name, 3, cutting.parts, cutting.scratch);
}

function run(cutting: Cutting, spec: MatmulSpec, to: Place): void {
  const { m, n, k, a, b, batch } = spec;
  const large = tooLarge(spec, cutting.limits.bytes);
  if (large.a || large.b || large.c) {
    if (batch.some((extent) => extent > 1)) return alongBatch(cutting, spec, to);
    if (m > 1 && (large.c || (large.a && a.row >= a.column))) {
      const rows = half(m, n);
      if (rows !== undefined) return alongRows(cutting, spec, to, rows);
      if (!large.c) return rowsApart(cutting, spec, to);
    }
    if (n > 1 && (large.c || (large.b && b.column >= b.row))) return alongColumns(cutting, spec, to);
    if (!large.c && k > 1) return alongK(cutting, spec, to);
  }
  const spans = spansOf(spec);
  cutting.parts.push({
    program: cutting.programOf({ ...spec, a: moved(a, -spans.a.from), b: moved(b, -spans.b.from) }, cutting.limits),
    buffers: [
      { buffer: cutting.operands[0], window: windowOf(spans.a.from, spans.a.size, spec.operands) },
      { buffer: cutting.operands[1], window: windowOf(spans.b.from, spans.b.size, spec.operands) },
      { buffer: to.buffer, window: windowOf(to.from, spans.c) },
    ],
  });
}

const moved = (operand: MatmulOperand, by: number): MatmulOperand => ({
  ...operand,
  offset: (operand.offset ?? 0) + by,
});
const later = ({ buffer, from }: Place, by: number): Place => ({ buffer, from: from + by });

function alongBatch(cutting: Cutting, spec: MatmulSpec, to: Place): void {
  const { batch, a, b, m, n } = spec;
  const axis = batch.findIndex((extent) => extent > 1);
  const line = product(batch.slice(axis + 1)) * m * n;
  const count = batch[axis]!;
  const of = (from: number, some: number): MatmulSpec => ({
    ...spec,
    batch: batch.with(axis, some),
    a: moved(a, from * a.batch[axis]!),
    b: moved(b, from * b.batch[axis]!),
  });
  const first = half(count, line);
  if (first !== undefined) {
    run(cutting, of(0, first), to);
    run(cutting, of(first, count - first), later(to, first * line));
    return;
  }
  const middle = Math.ceil(count / 2);
  const widths = [middle * line, (count - middle) * line] as const;
  sideBySide(cutting, [1, count * line], widths, [of(0, middle), of(middle, count - middle)], to);
}

function alongRows(cutting: Cutting, spec: MatmulSpec, to: Place, first: number): void {
  run(cutting, { ...spec, m: first }, to);
  run(cutting, { ...spec, m: spec.m - first, a: moved(spec.a, first * spec.a.row) }, later(to, first * spec.n));
}

/** Rows whose results do not start at aligned places. */
function rowsApart(cutting: Cutting, spec: MatmulSpec, to: Place): void {
  const { a, m, n } = spec;
  const first = Math.ceil(m / 2);
  const of = (from: number, some: number): MatmulSpec => ({ ...spec, m: some, a: moved(a, from * a.row) });
  sideBySide(cutting, [1, m * n], [first * n, (m - first) * n], [of(0, first), of(first, m - first)], to);
}

function alongColumns(cutting: Cutting, spec: MatmulSpec, to: Place): void {
  const { batch, b, m, n } = spec;
  const first = Math.ceil(n / 2);
  const of = (from: number, some: number): MatmulSpec => ({ ...spec, n: some, b: moved(b, from * b.column) });
  sideBySide(cutting, [product(batch) * m, n], [first, n - first], [of(0, first), of(first, n - first)], to);
}

/** c = a[:, :first] b[:first] + a[:, first:] b[first:], both terms in scratch. */
function alongK(cutting: Cutting, spec: MatmulSpec, to: Place): void {
  const { a, b, batch, k, m, n } = spec;
  const first = Math.ceil(k / 2);
  const size = product(batch) * m * n;
  const [left, right] = blocks(cutting, [size, size]);
  run(cutting, { ...spec, k: first }, { buffer: left, from: 0 });
  run(
    cutting,
    { ...spec, k: k - first, a: moved(a, first * a.column), b: moved(b, first * b.row) },
    { buffer: right, from: 0 },
  );
  const term = (input: number): Scalar => ({
    op: "load",
    dtype: "f32",
    input,
    index: { offset: 0, coefficients: [1] },
  });
  const value: Scalar = { op: "add", dtype: "f32", args: [term(0), term(1)] };
  combine(cutting, "sum", [size], value, [left, right], [size, size], to);
}

/** Two products in scratch, then beside each other in lines [lines, widths[0] + widths[1]]: where a result cannot be cut. */
function sideBySide(
  cutting: Cutting,
  extents: readonly [lines: number, width: number],
  widths: readonly [number, number],
  specs: readonly [MatmulSpec, MatmulSpec],
  to: Place,
): void {
  const [lines] = extents;
  const sizes = [lines * widths[0], lines * widths[1]] as const;
  const [left, right] = blocks(cutting, sizes);
  run(cutting, specs[0], { buffer: left, from: 0 });
  run(cutting, specs[1], { buffer: right, from: 0 });
  /** Columns from `start` on, from a part of this width. */
  const columns = (input: 0 | 1, start: number): Scalar => ({
    op: "guard",
    dtype: "f32",
    conditions: [{ index: { offset: -start, coefficients: [0, 1] }, lo: 0, hi: widths[input] }],
    value: { op: "load", dtype: "f32", input, index: { offset: -start, coefficients: [widths[input], 1] } },
    fill: 0,
  });
  const value: Scalar = { op: "add", dtype: "f32", args: [columns(0, 0), columns(1, widths[0])] };
  combine(cutting, "side by side", extents, value, [left, right], sizes, to);
}

/** New blocks of scratch for two results, behind the operands and the result. */
const blocks = ({ scratch }: Cutting, sizes: readonly [number, number]): [number, number] =>
  sizes.map((size) => 2 + scratch.push(bytesOf(size))) as [number, number];

/** A loop over two parts in scratch. */
function combine(
  { limits, parts }: Cutting,
  name: string,
  extents: readonly number[],
  value: Scalar,
  from: readonly [number, number],
  sizes: readonly [number, number],
  to: Place,
): void {
  const loop: LoopKernel = {
    extents,
    reduceExtents: [],
    reductions: [],
    inputs: sizes.map((size) => ({ dtype: "f32", size })),
    outputs: [{ dtype: "f32", value }],
  };
  const passes = loopPasses(loop, "map", { inputs: [0, 1], outputs: [2] }, 64, limits);
  parts.push({
    program: { name, passes, scratch: [] },
    buffers: [
      { buffer: from[0], window: windowOf(0, sizes[0]) },
      { buffer: from[1], window: windowOf(0, sizes[1]) },
      { buffer: to.buffer, window: windowOf(to.from, product(extents)) },
    ],
  });
}
