/**
 * Matrix products [batch..., m, k] x [batch..., k, n] of strided views. A workgroup of 16 x 16 threads computes a tile of the
 * result from tiles of both operands in workgroup memory, a thread 4 x 4 elements (8 x 8 for large products). Where the
 * result has too few tiles to keep the device busy, k is divided and the partial products are summed in a second pass.
 */
import { product, type MatmulSpec } from "@seqmix/tensor/backend";
import { loopPass } from "./wgsl/loop.js";
import { bytesOf, declare, declareParameters, entryPoint, indent, type GpuPass, type GpuProgram, type Parameters } from "./program.js";

/** Tiles that keep a large GPU busy. */
const FULL = 264;
const DEPTH = 16;

export function matmulProgram(shape: MatmulSpec): GpuProgram {
  const { batch, m, n, k, a, b } = shape;
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
  const parameters: Parameters = {
    m, n, k, slice, parts, batches, rows: Math.ceil(m / edge), columns: Math.ceil(n / edge),
    aOffset: a.offset ?? 0, aRow: a.row, aColumn: a.column, bOffset: b.offset ?? 0, bRow: b.row, bColumn: b.column,
    ...Object.fromEntries(batch.flatMap((extent, axis) => [[`batch${axis}`, extent], [`aBatch${axis}`, a.batch[axis]!], [`bBatch${axis}`, b.batch[axis]!]])),
  };
  const tilePass: GpuPass = {
    code: tileCode(shape, edge, parameters),
    buffers: [{ buffer: 0, access: "read" }, { buffer: 1, access: "read" }, { buffer: parts > 1 ? 3 : 2, access: "read_write" }],
    parameters,
    groups: tiles(edge) * parts,
  };
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
 * Statements that fill a tile [depth, edge + 1] with lines (rows of a, columns of b) from `first` on, of `count`.
 * Neighbouring threads read along the axis that is contiguous in memory; the odd row length keeps them off each other's banks.
 */
function fillTile(operand: "a" | "b", edge: number, { first, count, line, inner, alongDepth }: { first: string; count: string; line: string; inner: string; alongDepth: boolean }): string {
  const [across, depth] = alongDepth ? [`e / ${DEPTH}`, `e % ${DEPTH}`] : [`e % ${edge}`, `e / ${edge}`];
  return `for (var e = lane; e < ${edge * DEPTH}; e += 256) {
  let across = ${across};
  let depth = ${depth};
  let line = ${first} + across;
  let inner = begin + depth;
  ${operand}Tile[depth * ${edge + 1} + across] = select(0.0, ${operand}[${operand}Start + line * ${line} + inner * ${inner}], line < ${count} && inner < end);
}`;
}

/** Where the batch element of an operand starts. */
function batchStart(operand: "a" | "b", axes: number): string {
  const terms = [`p.${operand}Offset`];
  let index = "batch";
  for (let axis = axes - 1; axis >= 0; axis--) {
    terms.push(`${index} % p.batch${axis} * p.${operand}Batch${axis}`);
    index = `${index} / p.batch${axis}`;
  }
  return terms.join(" + ");
}

function tileCode({ batch, a, b }: MatmulSpec, edge: number, parameters: Parameters): string {
  const counts = Array.from({ length: edge / 16 }, (_, i) => i);
  const vectors = Array.from({ length: edge / 64 }, (_, j) => j);
  const pitch = edge + 1;
  const lines = (parts: readonly string[], depth: number): string => indent(parts.join("\n"), depth);
  const code = `let at = i32(group);
let lane = i32(thread);
let tile = at % (p.rows * p.columns);
let batch = at / (p.rows * p.columns) % p.batches;
let part = at / (p.rows * p.columns * p.batches);
if (part >= p.parts) { return; }
let firstRow = tile / p.columns * ${edge};
let firstColumn = tile % p.columns * ${edge};
let aStart = ${batchStart("a", batch.length)};
let bStart = ${batchStart("b", batch.length)};
let x = lane % 16;
let y = lane / 16;
let end = min(p.k, (part + 1) * p.slice);
// sIJ: row y + 16 I, columns x + 64 J + 0, 16, 32, 48
${counts.flatMap((i) => vectors.map((j) => `var s${i}${j} = vec4<f32>();`)).join("\n")}
for (var begin = part * p.slice; begin < end; begin += ${DEPTH}) {
${indent(fillTile("a", edge, { first: "firstRow", count: "p.m", line: "p.aRow", inner: "p.aColumn", alongDepth: Math.abs(a.column) === 1 }))}
${indent(fillTile("b", edge, { first: "firstColumn", count: "p.n", line: "p.bColumn", inner: "p.bRow", alongDepth: Math.abs(b.row) === 1 }))}
  workgroupBarrier();
  for (var depth = 0; depth < ${DEPTH}; depth++) {
    let inA = depth * ${pitch} + y;
    let inB = depth * ${pitch} + x;
${lines(vectors.map((j) => `let b${j} = vec4<f32>(${[0, 16, 32, 48].map((at) => `bTile[inB + ${64 * j + at}]`).join(", ")});`), 2)}
${lines(counts.flatMap((i) => [`let a${i} = aTile[inA + ${16 * i}];`, ...vectors.map((j) => `s${i}${j} += a${i} * b${j};`)]), 2)}
  }
  workgroupBarrier();
}
let start = (part * p.batches + batch) * p.m * p.n;
${counts.flatMap((i) => vectors.map((j) => `store(start, firstRow + y + ${16 * i}, firstColumn + x + ${64 * j}, s${i}${j});`)).join("\n")}`;
  return `${declare(0, "a", "read", "f32")}${declare(1, "b", "read", "f32")}${declare(2, "c", "read_write", "f32")}${declareParameters(3, parameters)}var<workgroup> aTile: array<f32, ${DEPTH * pitch}>;
var<workgroup> bTile: array<f32, ${DEPTH * pitch}>;
fn store(start: i32, row: i32, column: i32, values: vec4<f32>) {
  if (row >= p.m) { return; }
  let at = start + row * p.n + column;
  if (column < p.n) { c[at] = values.x; }
  if (column + 16 < p.n) { c[at + 16] = values.y; }
  if (column + 32 < p.n) { c[at + 32] = values.z; }
  if (column + 48 < p.n) { c[at + 48] = values.w; }
}
${entryPoint(256, code)}`;
}
