/**
 * f32 operands of a large product as f16, as tiles read them fastest: a pass writes them once, where every tile of the
 * result would convert them again. They lie [batch.., depth, line] (a line is a row of A or a column of B), the high parts
 * and then, perhaps, the low ones, with zeros behind the operand's last line and depth.
 *
 * Scales are powers of two, as in `scaling.ts`: the sixteen lines of a fragment share one where their sizes differ so
 * little that the smallest keeps its digits. Then whole fragments are multiplied by its inverse and stored at once. Lines
 * of other groups have each their own.
 */
import { product, type MatmulSpec } from "@seqmix/tensor/backend";
import { bytesOf, declare, entryPoint, FRAGMENT, indent, type GpuPass } from "@seqmix/tensor/wgsl";
import { VECTOR, type OperandReading } from "./operand-texts.js";
import { ownExtents, scaleFunctions, splitFunctions } from "./scaling.js";

/** Lines of a block, of which scales are known together. */
export const BLOCK = 128;
/** Depths that a workgroup packs, and its threads. */
const DEEP = 64,
  THREADS = 256,
  SUBGROUP = 32;
/** Neighbours along the depth that a subgroup reads at once. */
const NEAR = 16;
/** Pieces of the depth at most in which largest sizes are looked for, and depths of a piece at least. */
const MOST_PIECES = 16,
  SHORTEST_PIECE = 128;

/** How an operand is packed. */
export interface Packing {
  readonly name: "a" | "b";
  readonly terms: 1 | 3;
  /** Of each batch element, with those that fill the last block. */
  readonly lines: number;
  /** With those that fill the last slice. */
  readonly depth: number;
  /** Batch elements, without repetitions. */
  readonly elements: number;
}

/** @param slice Depths of a tile's slices. */
export const packingOf = (spec: MatmulSpec, name: "a" | "b", terms: 1 | 3, slice: number): Packing => ({
  name,
  terms,
  lines: Math.ceil((name === "a" ? spec.m : spec.n) / BLOCK) * BLOCK,
  depth: Math.ceil(spec.k / slice) * slice,
  elements: product(ownExtents(spec, spec[name])),
});

const blocksOf = ({ lines, elements }: Packing): number => (elements * lines) / BLOCK;

/** Vectors of eight f16 of one part. */
export const partVectors = ({ elements, lines, depth }: Packing): number => (elements * lines * depth) / VECTOR;

/** Bytes of the packed operand. */
export const packedBytes = (packing: Packing): number => 16 * partVectors(packing) * (packing.terms === 3 ? 2 : 1);

/** Scales, as exponents: one a line, 0 where it holds an infinity or NaN; then of each block the lowest and highest, 0 where groups have several. */
export const scaleBytes = (packing: Packing): number =>
  bytesOf(packing.elements * packing.lines + 2 * blocksOf(packing));

/** Depths of a piece, and pieces, in which largest sizes are looked for. */
function piecesOf({ k }: MatmulSpec): { readonly length: number; readonly count: number } {
  const length = Math.max(1, Math.ceil(k / MOST_PIECES / SHORTEST_PIECE)) * SHORTEST_PIECE;
  return { length, count: Math.ceil(k / length) };
}

/** Bytes of the largest sizes of a block's lines, in each piece of the depth. */
export const sizeBytes = (spec: MatmulSpec, packing: Packing): number =>
  bytesOf(blocksOf(packing) * piecesOf(spec).count * BLOCK);

/** Exponents by which sizes of a fragment's lines may differ: the smallest is to keep its digits beside the largest. */
const RANGE: Readonly<Record<1 | 3, number>> = { 1: 16, 3: 12 };

/** Which block and which of `count` parts of the depth a workgroup has. */
const place = (packing: Packing, count: number, part: string, start: string): string => `let lane = i32(thread);
let block = i32(group) / ${count};
let ${part} = i32(group) % ${count};
if (block >= ${blocksOf(packing)}) { return; }
let element = block / ${packing.lines / BLOCK};
let firstLine = block % ${packing.lines / BLOCK} * ${BLOCK};
let start = ${start};
`;

/** Its buffers: the operand, the bits of the largest sizes [block, piece, line]. */
export function sizesPass(spec: MatmulSpec, { alongDepth, unit }: OperandReading, packing: Packing): GpuPass {
  const { length, count } = piecesOf(spec);
  const across = THREADS / SUBGROUP;
  // As integers: a NaN is larger than all numbers there.
  const bits = `bitcast<vec4<u32>>(${fourText(spec, packing, alongDepth, unit)}) & vec4<u32>(0x7fffffffu)`;
  const steps = alongDepth
    ? `for (var first = 0; first < ${BLOCK}; first += ${across}) {
  let line = first + lane / ${SUBGROUP};
  var most = vec4<u32>();
  for (var depth = begin + lane % ${SUBGROUP} * 4; depth < to; depth += ${4 * SUBGROUP}) { most = max(most, ${bits}); }
  atomicMax(&sizes[line], max(max(most.x, most.y), max(most.z, most.w)));
}`
    : `let line = lane % ${SUBGROUP} * 4;
var most = vec4<u32>();
for (var depth = begin + lane / ${SUBGROUP}; depth < to; depth += ${across}) { most = max(most, ${bits}); }
${["x", "y", "z", "w"].map((e, k) => `atomicMax(&sizes[line + ${k}], most.${e});`).join("\n")}`;
  const body = `${place(packing, count, "piece", startText(spec, packing.name, unit))}let begin = piece * ${length};
let to = min(${spec.k}, begin + ${length});
if (lane < ${BLOCK}) { atomicStore(&sizes[lane], 0u); }
workgroupBarrier();
${steps}
workgroupBarrier();
if (lane < ${BLOCK}) { largest[i32(group) * ${BLOCK} + lane] = i32(atomicLoad(&sizes[lane])); }`;
  return {
    code: `${declare(0, "source", "read", unit === 4 ? "vec4<f32>" : "f32")}${declare(1, "largest", "read_write", "i32")}var<workgroup> sizes: array<atomic<u32>, ${BLOCK}>;
${entryPoint(THREADS, body)}`,
    buffers: [
      { buffer: 0, access: "read" },
      { buffer: 1, access: "read_write" },
    ],
    groups: blocksOf(packing) * count,
  };
}

/** Its buffers: the operand, the largest sizes in its lines, the packed operand, its scales. */
export function packPass(spec: MatmulSpec, { alongDepth, unit: read }: OperandReading, packing: Packing): GpuPass {
  const { lines, depth, elements, terms, name } = packing;
  const pieces = piecesOf(spec).count;
  const chunks = Math.ceil(depth / DEEP);
  // Neighbours along the depth are read one by one: then threads have all eight lines of a vector.
  const unit = alongDepth ? 1 : read;
  const body = `${place(packing, chunks, "chunk", startText(spec, name, unit))}if (lane < ${BLOCK}) {
  var size = 0;
  for (var piece = 0; piece < ${pieces}; piece++) { size = max(size, largest[(block * ${pieces} + piece) * ${BLOCK} + lane]); }
  sizes[lane] = size;
}
workgroupBarrier();
if (lane < ${BLOCK}) { scaleBits[lane] = bitsOf(lane); }
workgroupBarrier();
if (chunk == 0) {
  if (lane < ${BLOCK}) { scales[block * ${BLOCK} + lane] = scaleBits[lane]; }
  if (lane == 0) { summarize(${elements * lines} + 2 * block); }
}
let firstDepth = chunk * ${DEEP};
let to = element * ${(depth * lines) / VECTOR} + firstDepth * ${lines / VECTOR} + firstLine / ${VECTOR};
for (var e = lane; e < ${(DEEP * BLOCK) / VECTOR}; e += ${THREADS}) {
${indent(vectorPlace(alongDepth))}
  let depth = firstDepth + row;
  if (depth >= ${depth}) { continue; }
  let x = ${fourText(spec, packing, false, unit)} * ${scalesOf(0)};
  let y = ${fourText(spec, packing, false, unit, 1)} * ${scalesOf(1)};
${indent(writeEight(terms, "packed", `to + row * ${lines / VECTOR} + line / ${VECTOR}`, partVectors(packing)))}
}`;
  return {
    code: `${declare(0, "source", "read", unit === 4 ? "vec4<f32>" : "f32")}${declare(1, "largest", "read", "i32")}${declare(2, "packed", "read_write", "vec4<u32>")}${declare(3, "scales", "read_write", "i32")}var<workgroup> sizes: array<i32, ${BLOCK}>;
var<workgroup> scaleBits: array<i32, ${BLOCK}>;
${scaleFunctions}${splitFunctions}${groupFunctions(terms)}${entryPoint(THREADS, body)}`,
    buffers: [
      { buffer: 0, access: "read" },
      { buffer: 1, access: "read" },
      { buffer: 2, access: "read_write" },
      { buffer: 3, access: "read_write" },
    ],
    groups: blocksOf(packing) * chunks,
  };
}

const scalesOf = (half: number): string =>
  `powersOf(vec4<i32>(${[0, 1, 2, 3].map((e) => `scaleBits[line + ${4 * half + e}]`).join(", ")}))`;

/** Which vector of a workgroup's a thread has: its depth and first line. Whole sectors of 32 bytes are read and written. */
const vectorPlace = (alongDepth: boolean): string =>
  alongDepth
    ? `let row = e / ${SUBGROUP} % ${DEEP / NEAR} * ${NEAR} + e % ${NEAR};
let line = (e / ${(SUBGROUP * DEEP) / NEAR} * ${SUBGROUP / NEAR} + e / ${NEAR} % ${SUBGROUP / NEAR}) * ${VECTOR};`
    : `let row = e / ${BLOCK / VECTOR};
let line = e % ${BLOCK / VECTOR} * ${VECTOR};`;

/** Where the batch element `element` of the operand starts, in what is read at once. */
function startText(spec: MatmulSpec, name: "a" | "b", unit: number): string {
  const { batch, offset = 0 } = spec[name];
  const own = ownExtents(spec, spec[name]);
  const terms = own.map((extent, axis) => {
    const inner = product(own.slice(axis + 1));
    return extent === 1 ? "" : ` + element / ${inner} % ${extent} * ${batch[axis]! / unit}`;
  });
  return `${offset / unit}${terms.join("")}`;
}

/** Four neighbours from `line` of the block and `depth` on, or the four behind them; zero behind the operand's end. */
function fourText(
  spec: MatmulSpec,
  { name, lines }: Packing,
  alongDepth: boolean,
  unit: number,
  half: 0 | 1 = 0,
): string {
  const operand = spec[name];
  const all = name === "a" ? spec.m : spec.n;
  const [lineStride, innerStride] = name === "a" ? [operand.row, operand.column] : [operand.column, operand.row];
  const line = { at: "(firstLine + line)", stride: lineStride, end: all, ragged: lines > all };
  const inner = { at: "depth", stride: innerStride, end: spec.k, ragged: true };
  const [near, far] = alongDepth ? [inner, line] : [line, inner];
  const each = [0, 1, 2, 3].map(
    (e) => `source[start + ${far.at} * ${far.stride} + (${near.at} + ${4 * half + e}) * ${near.stride}]`,
  );
  const read =
    unit === 4
      ? `source[start + ${far.at} * ${far.stride / 4} + ${near.at} / 4 + ${half}]`
      : `vec4<f32>(${each.join(", ")})`;
  const inside = [
    ...(near.ragged ? [`(vec4<i32>(${near.at} + ${4 * half}) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(${near.end}))`] : []),
    ...(far.ragged ? [`vec4<bool>(${far.at} < ${far.end})`] : []),
  ].join(" & ");
  return `select(vec4<f32>(), ${read}, ${inside})`;
}

const writeEight = (terms: 1 | 3, memory: string, at: string, low: number): string =>
  terms === 1
    ? `${memory}[${at}] = pack8(x, y);`
    : `let u = highPart(x);
let v = highPart(y);
${memory}[${at}] = pack8(u, v);
${memory}[${at} + ${low}] = pack8(x - u, y - v);`;

/** `bitsOf` a line's scale, 0 beside infinities; `summarize` the scales of a block. */
const groupFunctions = (terms: 1 | 3): string => `fn bitsOf(line: i32) -> i32 {
  let first = line / ${FRAGMENT} * ${FRAGMENT};
  var low = 255;
  var high = 0;
  for (var k = first; k < first + ${FRAGMENT}; k++) {
    let exponent = sizes[k] >> 23u;
    high = max(high, exponent);
    low = min(low, select(max(exponent, 1), 255, sizes[k] == 0));
  }
  let own = sizes[line] >> 23u;
  let together = (high < 255) & (high - low <= ${RANGE[terms]});
  return select(bitsFor(select(own, high, together)), 0, own == 255);
}
fn summarize(at: i32) {
  var low = 255;
  var high = 0;
  for (var k = 0; k < ${BLOCK}; k++) {
    let bits = scaleBits[k];
    low = select(min(low, bits), 0, bits != scaleBits[k / ${FRAGMENT} * ${FRAGMENT}]);
    high = max(high, bits);
  }
  scales[at] = low;
  scales[at + 1] = high;
}
`;
