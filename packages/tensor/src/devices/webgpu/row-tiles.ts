/**
 * Products of some rows with weights whose rows lie along k, as when decoding for many sequences at a time: tiles of the result
 * of which each thread has 4 x 4 elements. Slices of both operands come through workgroup memory, turned so that neighbours
 * follow the lines; where a tile has few elements, groups of threads divide the slices among them.
 */
import { indent } from "./program.js";
import type { RowProduct, RowProgram } from "./row-products.js";

/** Rows and columns of a tile, depth of a slice, and groups of threads that divide it; multiples of four. */
export interface RowTile {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly groups: number;
}

/** Threads of a group: each has 4 x 4 sums. */
const groupOf = ({ rows, columns }: RowTile): number => (rows / 4) * (columns / 4);
/** Vectors from one step along k to the next in workgroup memory: one more, against bank conflicts. */
const pitchOf = (lines: number): number => lines / 4 + 1;
const sumsOf = ({ rows, columns, groups }: RowTile): number => (groups * rows * columns) / 4;

/** Bytes of workgroup memory: both slices; the sums of all groups take their place. */
export const rowTileBytes = (tile: RowTile): number =>
  16 * Math.max(tile.depth * (pitchOf(tile.rows) + pitchOf(tile.columns)), sumsOf(tile));

/** The product as a kernel. */
export function tiledRows(product: RowProduct, tile: RowTile): RowProgram {
  const { m, n } = product;
  const threads = groupOf(tile) * tile.groups;
  return {
    threads,
    groups: Math.ceil(m / tile.rows) * Math.ceil(n / tile.columns),
    memory: `var<workgroup> slices: array<vec4<f32>, ${rowTileBytes(tile) / 16}>;\n`,
    body: (finish) => text(product, tile, threads, finish),
  };
}

function text(product: RowProduct, tile: RowTile, threads: number, finish: string): string {
  const { m, n, k, half } = product;
  const { rows, columns, depth, groups } = tile;
  const down = Math.ceil(m / rows);
  const x = slice("x", "firstRow", m, rows, 0, product, tile, threads, false);
  const w = slice("w", "firstColumn", n, columns, depth * pitchOf(rows), product, tile, threads, half);
  const loads = [x.load, w.load].join("\n");
  const lanes = groupOf(tile);
  const four = [0, 1, 2, 3];
  const quads = columns / 4;
  return `let lane = i32(thread);
let firstRow = i32(group) % ${down} * ${rows};
let firstColumn = i32(group) / ${down} * ${columns};
let part = lane / ${lanes};
let rowQuad = lane % ${lanes} / ${quads};
let columnQuad = lane % ${quads};
${x.head}
${w.head}
${four.map((r) => `var s${r} = vec4<f32>();`).join("\n")}
var next = 0;
${loads}
for (var begin = 0; begin < ${k}; begin += ${depth}) {
${indent([x.store, w.store].join("\n"))}
  workgroupBarrier();
  next += ${depth / 4};
  if (begin + ${depth} < ${k}) {
${indent(loads, 2)}
  }
  for (var q = part; q < ${depth}; q += ${groups}) {
    let a = slices[q * ${pitchOf(rows)} + rowQuad];
    let b = slices[${depth * pitchOf(rows)} + q * ${pitchOf(columns)} + columnQuad];
${four.map((r) => `    s${r} = fma(vec4<f32>(a[${r}]), b, s${r});`).join("\n")}
  }
  workgroupBarrier();
}
${four.map((r) => `slices[part * ${(rows * columns) / 4} + (rowQuad * 4 + ${r}) * ${quads} + columnQuad] = s${r};`).join("\n")}
workgroupBarrier();
for (var each = lane; each < ${rows * columns}; each += ${threads}) {
  let row = firstRow + each / ${columns};
  let column = firstColumn + each % ${columns};
  if ((row < ${m}) & (column < ${n})) {
    var value = 0f;
    for (var other = 0; other < ${groups}; other++) { value += slices[other * ${(rows * columns) / 4} + each / 4][each % 4]; }
${indent(finish, 2)}
  }
}`;
}

interface Slice {
  /** Declares places and registers. */
  readonly head: string;
  /** Reads the slice that begins at vector `next` into registers. */
  readonly load: string;
  /** Puts it in workgroup memory. */
  readonly store: string;
}

/** Blocks of 4 lines and 4 depths, turned on their way. Lines beyond the last are read as the last one. */
function slice(
  name: string,
  first: string,
  limit: number,
  lines: number,
  start: number,
  { k }: RowProduct,
  { depth }: RowTile,
  threads: number,
  half: boolean,
): Slice {
  const [vectors, deep] = [k / 4, depth / 4];
  const blocks = (lines / 4) * deep;
  const some = Array.from({ length: Math.ceil(blocks / threads) }, (_, q) => q);
  const four = [0, 1, 2, 3];
  const ragged = k % depth !== 0;
  const guarded = (q: number, body: string): string =>
    (q + 1) * threads <= blocks ? body : `if (lane + ${q * threads} < ${blocks}) {\n${indent(body)}\n}`;
  const read = (q: number, r: number): string => {
    const text = `${name}[${name}At${q}_${r} + next]`;
    const wide = half ? `vec4<f32>(${text})` : text;
    return ragged ? `select(vec4<f32>(), ${wide}, next + ${name}Deep${q} < ${vectors})` : wide;
  };
  return {
    head: some
      .flatMap((q) => [
        `let ${name}Deep${q} = (lane + ${q * threads}) % ${deep};`,
        `let ${name}Quad${q} = (lane + ${q * threads}) / ${deep};`,
        ...four.flatMap((r) => [
          `let ${name}At${q}_${r} = min(${first} + ${name}Quad${q} * 4 + ${r}, ${limit - 1}) * ${vectors} + ${name}Deep${q};`,
          `var ${name}${q}_${r} = vec4<f32>();`,
        ]),
      ])
      .join("\n"),
    load: some.map((q) => guarded(q, four.map((r) => `${name}${q}_${r} = ${read(q, r)};`).join("\n"))).join("\n"),
    store: some
      .map((q) =>
        guarded(
          q,
          four
            .map(
              (d) =>
                `slices[${start} + (${name}Deep${q} * 4 + ${d}) * ${pitchOf(lines)} + ${name}Quad${q}] = vec4<f32>(${four.map((r) => `${name}${q}_${r}[${d}]`).join(", ")});`,
            )
            .join("\n"),
        ),
      )
      .join("\n"),
  };
}
