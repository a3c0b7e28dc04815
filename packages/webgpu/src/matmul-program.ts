/**
 * Matrix products [batch..., m, k] x [batch..., k, n] of strided views. A workgroup of 16 x 16 threads computes a tile of the
 * result from tiles of both operands in workgroup memory, a thread 4 x 4 elements (8 x 8 for large products). Where the
 * result has too few tiles to keep the device busy, k is divided and the partial products are summed in a second pass.
 */
import { product } from "@seqmix/tensor/backend";
import { loopPass } from "./wgsl/loop.js";
import { bytesOf, declare, entryPoint, indent, type GpuPass, type GpuProgram } from "./program.js";

/** An operand's place in its buffer, in elements. */
export interface MatmulOperand {
  readonly offset: number;
  /** One stride per batch axis. */
  readonly batch: readonly number[];
  /** From one row (axis before the last) to the next. */
  readonly row: number;
  readonly column: number;
}

export interface MatmulShape {
  readonly batch: readonly number[];
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: MatmulOperand;
  readonly b: MatmulOperand;
}

/** Tiles that keep a large GPU busy. */
const FULL = 264;
const DEPTH = 16;

export function matmulProgram(shape: MatmulShape): GpuProgram {
  const { batch, m, n, k } = shape;
  const batches = product(batch);
  const name = `matmul ${batches > 1 ? `${batches} x ` : ""}${m}x${n}x${k}`;
  const size = batches * m * n;
  if (size === 0) return { name, passes: [], scratch: [] };
  const output: readonly number[] = [2];
  if (k === 0) {
    const zero = { extents: [size], reduceExtents: [], inputs: [], reductions: [], outputs: [{ dtype: "f32", value: { op: "constant", dtype: "f32", value: 0 } }] } as const;
    return { name, passes: [loopPass(zero, "map", { inputs: [], outputs: output }, 64)], scratch: [] };
  }
  const tiles = (edge: number): number => batches * Math.ceil(m / edge) * Math.ceil(n / edge);
  const edge = tiles(128) >= FULL ? 128 : 64;
  const wanted = Math.min(Math.ceil(FULL / tiles(edge)), Math.floor(k / 128), Math.max(1, Math.floor((1 << 24) / size)));
  const slice = wanted < 2 ? k : Math.ceil(Math.ceil(k / wanted) / DEPTH) * DEPTH;
  const parts = Math.ceil(k / slice);
  const tilePass: GpuPass = { code: tileCode(shape, edge, slice, parts), buffers: [{ buffer: 0, access: "read" }, { buffer: 1, access: "read" }, { buffer: parts > 1 ? 3 : 2, access: "read_write" }], groups: tiles(edge) * parts };
  const variant = `${name}, ${edge}x${edge} tiles`;
  if (parts === 1) return { name: variant, passes: [tilePass], scratch: [] };
  const sum = loopPass({
    extents: [size], reduceExtents: [parts], inputs: [{ dtype: "f32", size: size * parts }],
    reductions: [{ combine: "sum", value: { op: "load", dtype: "f32", input: 0, index: { offset: 0, coefficients: [1, size] } } }],
    outputs: [{ dtype: "f32", value: { op: "reduced", dtype: "f32", reduction: 0 } }],
  }, "serial", { inputs: [3], outputs: output }, 64);
  return { name: `${variant}, k in ${parts} parts`, passes: [tilePass, sum], scratch: [bytesOf(size * parts)] };
}

/**
 * Statements that fill a tile [depth, edge + 1] from an operand whose rows (or columns) start at `first` and number `count`.
 * Neighbouring threads read along the axis that is contiguous in memory; the odd row length keeps them off each other's banks.
 */
function fillTile(operand: "a" | "b", edge: number, { first, count, stride, depthStride }: { first: string; count: number; stride: number; depthStride: number }): string {
  const [across, depth] = Math.abs(depthStride) === 1 ? [`e / ${DEPTH}`, `e % ${DEPTH}`] : [`e % ${edge}`, `e / ${edge}`];
  return `for (var e = lane; e < ${edge * DEPTH}; e += 256) {
  let across = ${across};
  let depth = ${depth};
  let line = ${first} + across;
  let inner = begin + depth;
  ${operand}Tile[depth * ${edge + 1} + across] = select(0.0, ${operand}[${operand}Start + line * ${stride} + inner * ${depthStride}], line < ${count} && inner < end);
}`;
}

/** Where the batch element of an operand starts. */
function batchStart({ offset, batch: strides }: MatmulOperand, batch: readonly number[]): string {
  const terms = [String(offset)];
  let inner = 1;
  for (let axis = batch.length - 1; axis >= 0; axis--) {
    if (strides[axis] !== 0 && batch[axis] !== 1) terms.push(`(batch / ${inner}) % ${batch[axis]} * ${strides[axis]}`);
    inner *= batch[axis]!;
  }
  return terms.join(" + ");
}

function tileCode({ batch, m, n, k, a, b }: MatmulShape, edge: number, slice: number, parts: number): string {
  const batches = product(batch);
  const [rows, columns] = [Math.ceil(m / edge), Math.ceil(n / edge)];
  const counts = Array.from({ length: edge / 16 }, (_, i) => i);
  const vectors = Array.from({ length: edge / 64 }, (_, j) => j);
  const pitch = edge + 1;
  const lines = (parts: readonly string[], depth: number): string => indent(parts.join("\n"), depth);
  const code = `let at = i32(group);
let lane = i32(thread);
let tile = at % ${rows * columns};
let batch = at / ${rows * columns} % ${batches};
let part = at / ${rows * columns * batches};
if (part >= ${parts}) { return; }
let firstRow = tile / ${columns} * ${edge};
let firstColumn = tile % ${columns} * ${edge};
let aStart = ${batchStart(a, batch)};
let bStart = ${batchStart(b, batch)};
let x = lane % 16;
let y = lane / 16;
let end = min(${k}, (part + 1) * ${slice});
// sIJ: rows y + 16 I, columns x + 64 J + 0, 16, 32, 48
${counts.flatMap((i) => vectors.map((j) => `var s${i}${j} = vec4<f32>();`)).join("\n")}
for (var begin = part * ${slice}; begin < end; begin += ${DEPTH}) {
${indent(fillTile("a", edge, { first: "firstRow", count: m, stride: a.row, depthStride: a.column }))}
${indent(fillTile("b", edge, { first: "firstColumn", count: n, stride: b.column, depthStride: b.row }))}
  workgroupBarrier();
  for (var depth = 0; depth < ${DEPTH}; depth++) {
    let p = depth * ${pitch} + x;
    let q = depth * ${pitch} + y;
${lines(vectors.map((j) => `let b${j} = vec4<f32>(${[0, 16, 32, 48].map((at) => `bTile[p + ${64 * j + at}]`).join(", ")});`), 2)}
${lines(counts.flatMap((i) => [`let a${i} = aTile[q + ${16 * i}];`, ...vectors.map((j) => `s${i}${j} += a${i} * b${j};`)]), 2)}
  }
  workgroupBarrier();
}
let start = (part * ${batches} + batch) * ${m * n};
${counts.flatMap((i) => vectors.map((j) => `store(start, firstRow + y + ${16 * i}, firstColumn + x + ${64 * j}, s${i}${j});`)).join("\n")}`;
  return `${declare(0, "a", "read", "f32")}${declare(1, "b", "read", "f32")}${declare(2, "c", "read_write", "f32")}var<workgroup> aTile: array<f32, ${DEPTH * pitch}>;
var<workgroup> bTile: array<f32, ${DEPTH * pitch}>;
fn store(start: i32, row: i32, column: i32, values: vec4<f32>) {
  if (row >= ${m}) { return; }
  let at = start + row * ${n} + column;
  if (column < ${n}) { c[at] = values.x; }
  if (column < ${n - 16}) { c[at + 16] = values.y; }
  if (column < ${n - 32}) { c[at + 32] = values.z; }
  if (column < ${n - 48}) { c[at + 48] = values.w; }
}
${entryPoint(256, code)}`;
}
