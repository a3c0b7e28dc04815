/**
 * WGSL of a matrix product on matrix units (subgroup matrices): f16 operands, sums in f32. A workgroup computes a tile of the
 * result from slices of both operands in workgroup memory, and a subgroup of 32 threads a block of it, as fragments of
 * 16 x 16. While a slice is worked on, the next one is on its way into registers. A slice lies in workgroup memory as
 * in the operand, with eight elements more a row: rows at a multiple of 128 bytes would be read from the same banks.
 * The steps are written once for every subgroup, so that fragments have constant places: whether a fragment lies inside
 * its memory is checked as it is loaded, and only with constants compilers see that it does.
 *
 * Lines (rows of A, columns of B) beyond the result are read as whatever is there and never stored; depths beyond k are made zero.
 */
import { declare, declareParameters, entryPoint, indent, type Parameters } from "@seqmix/tensor/wgsl";
import { batchStart, finishFunction, placeTile, type EpilogueCode } from "./text.js";

/** A fragment's extents. */
const FRAGMENT = 16;
/** f16 elements that are read at once, and that a row has more in workgroup memory. */
const VECTOR = 8,
  PADDING = 8;
const SUBGROUP = 32;

export interface MatrixUnitTile {
  readonly rows: 64 | 128 | 256;
  readonly columns: 64 | 128 | 256;
  /** Steps along k that are in workgroup memory at a time. */
  readonly depth: 32 | 64;
  /** What a subgroup computes. */
  readonly block: { readonly rows: 32 | 64; readonly columns: 32 | 64 };
}

export interface MatrixUnitCode {
  readonly tile: MatrixUnitTile;
  /** By operand, whether neighbours in memory follow the depth (else the lines). */
  readonly alongDepth: { readonly a: boolean; readonly b: boolean };
  readonly batchAxes: number;
  /** Whether a slice may end within the tile's depth. */
  readonly ragged: boolean;
  /**
   * Whether fragments are stored at once: never with an epilogue, and only where n is a multiple of four; "inside": of tiles
   * that do not reach beyond the result. The others go through workgroup memory, element by element.
   */
  readonly direct: "never" | "inside" | "always";
  readonly epilogue?: EpilogueCode;
  /** How the result is kept. */
  readonly result: "f32" | "f16";
}

const threadsOf = ({ rows, columns, block }: MatrixUnitTile): number =>
  SUBGROUP * (rows / block.rows) * (columns / block.columns);

/** Vectors from one row of a slice to the next, and those of a slice. */
const pitchOf = (row: number): number => (row + PADDING) / VECTOR;
const sliceVectors = (lines: number, depth: number, alongDepth: boolean): number =>
  alongDepth ? lines * pitchOf(depth) : depth * pitchOf(lines);

/** Bytes of workgroup memory, at most. */
export const matrixUnitBytes = (tile: MatrixUnitTile): number =>
  16 *
    Math.max(
      ...[true, false].map(
        (along) => sliceVectors(tile.rows, tile.depth, along) + sliceVectors(tile.columns, tile.depth, along),
      ),
    ) +
  (4 * FRAGMENT * FRAGMENT * threadsOf(tile)) / SUBGROUP;

/** Invocations of a workgroup. */
export const matrixUnitThreads = threadsOf;

/**
 * Bindings: a, b (in vectors of eight), the result, the epilogue's buffers. Parameters (none: the caller puts numbers in
 * the place of `p.name`): m, n, k, batches, rows and columns (tiles), and for each operand X its XOffset, XLine, XInner
 * and XBatchI, counted in vectors, with batchI the extents.
 */
export function matrixUnitCode(code: MatrixUnitCode, parameters: Parameters): string {
  const { tile, alongDepth, batchAxes, ragged, direct, epilogue, result } = code;
  const threads = threadsOf(tile);
  const fills = [fill("a", tile.rows, tile, alongDepth.a), fill("b", tile.columns, tile, alongDepth.b)];
  const down = Array.from({ length: tile.block.rows / FRAGMENT }, (_, i) => i);
  const along = Array.from({ length: tile.block.columns / FRAGMENT }, (_, j) => j);
  const across = tile.columns / tile.block.columns;
  const read = fills.map((f) => f.load).join("\n");
  const load = `${ragged ? `if (next + ${tile.depth} <= p.k) {\n${indent(read)}\n} else {\n${indent(fills.map((f) => f.loadRagged).join("\n"))}\n}` : read}
${fills.map((f) => f.advance).join("\n")}
next += ${tile.depth};`;
  const stepsAt = (blockRow: number, blockColumn: number): string =>
    Array.from(
      { length: tile.depth / FRAGMENT },
      (_, step) => `{
${indent(
  [
    ...along.map((j) => `let b${j} = ${fills[1]!.fragment(step, blockColumn + FRAGMENT * j)};`),
    ...down.flatMap((i) => [
      `let a${i} = ${fills[0]!.fragment(step, blockRow + FRAGMENT * i)};`,
      ...along.map((j) => `s${i}_${j} = subgroupMatrixMultiplyAccumulate(a${i}, b${j}, s${i}_${j});`),
    ]),
  ].join("\n"),
)}
}`,
    ).join("\n");
  const subgroups = Array.from({ length: threads / SUBGROUP }, (_, q) => q);
  const steps = subgroups
    .map(
      (q) =>
        `  ${q === 0 ? "default" : `case ${q}u`} {\n${indent(stepsAt(Math.floor(q / across) * tile.block.rows, (q % across) * tile.block.columns), 2)}\n  }`,
    )
    .join("\n");
  const store = fills.map((f) => f.store).join("\n");
  const loop = `for (var begin = 0; begin < p.k; begin += ${tile.depth}) {
${indent(store)}
  workgroupBarrier();
  if (next < p.k) {
${indent(load, 2)}
  }
  switch subgroup {
${indent(steps)}
  }
  workgroupBarrier();
}`;
  const each = down.flatMap((i) => along.map((j) => ({ name: `s${i}_${j}`, row: FRAGMENT * i, column: FRAGMENT * j })));
  const whole = each
    .map(
      ({ name, row, column }) =>
        `subgroupMatrixStore<row_major>(&c, u32(start + (firstRow + blockRow + ${row}) * p.n + firstColumn + blockColumn + ${column}), ${name}, u32(p.n));`,
    )
    .join("\n");
  // Through workgroup memory, where each element can be looked at.
  const singly = each
    .map(
      ({
        name,
        row,
        column,
      }) => `subgroupMatrixStore<row_major>(&results, subgroup * ${FRAGMENT * FRAGMENT}u, ${name}, ${FRAGMENT}u);
workgroupBarrier();
store(start, firstRow + blockRow + ${row}, firstColumn + blockColumn + ${column}, lane);
workgroupBarrier();`,
    )
    .join("\n");
  const stores =
    direct === "never"
      ? singly
      : direct === "always"
        ? whole
        : `if (firstRow + ${tile.rows} <= p.m && firstColumn + ${tile.columns} <= p.n) {
${indent(whole)}
} else {
${indent(singly)}
}`;
  const body = `let at = i32(group);
let lane = i32(thread);
if (at >= p.rows * p.columns * p.batches) { return; }
let batch = at / (p.rows * p.columns);
${placeTile(tile)}
let blockRow = i32(subgroup) / ${across} * ${tile.block.rows};
let blockColumn = i32(subgroup) % ${across} * ${tile.block.columns};
var next = 0;
${fills.map((f) => f.head(`first${f.operand === "a" ? "Row" : "Column"}`, batchStart(f.operand, batchAxes))).join("\n")}
${each.map(({ name }) => `var ${name} = subgroup_matrix_result<f32, ${FRAGMENT}, ${FRAGMENT}>();`).join("\n")}
${load}
${loop}
let start = batch * p.m * p.n;
${stores}`;
  const declarations = [
    declare(0, "a", "read", "vec4<u32>"),
    declare(1, "b", "read", "vec4<u32>"),
    declare(2, "c", "read_write", result),
    epilogue?.declarations ?? "",
    Object.keys(parameters).length > 0 ? declareParameters(3 + (epilogue?.buffers ?? 0), parameters) : "",
  ];
  return `${declarations.join("")}${fills.map((f) => f.declaration).join("")}${direct !== "always" ? `var<workgroup> results: array<f32, ${(FRAGMENT * FRAGMENT * threads) / SUBGROUP}>;\n${epilogue ? finishFunction(epilogue) : ""}${storeFunction(result, epilogue !== undefined)}` : ""}${entryPoint(threads, body, ["@builtin(subgroup_id) subgroup: u32"])}`;
}

/** Stores a fragment's elements that are in the result: eight a thread, neighbouring threads neighbouring elements. */
function storeFunction(result: "f32" | "f16", finished: boolean): string {
  const value = finished ? "finish(at, results[place])" : "results[place]";
  return `fn store(start: i32, row: i32, column: i32, lane: i32) {
  for (var e = lane % ${SUBGROUP}; e < ${FRAGMENT * FRAGMENT}; e += ${SUBGROUP}) {
    let r = row + e / ${FRAGMENT};
    let q = column + e % ${FRAGMENT};
    if (r < p.m && q < p.n) {
      let at = start + r * p.n + q;
      let place = lane / ${SUBGROUP} * ${FRAGMENT * FRAGMENT} + e;
      c[at] = ${result === "f16" ? `f16(${value})` : value};
    }
  }
}
`;
}

/** The texts that bring an operand's slices from memory to registers, to workgroup memory, and into fragments. */
interface Fill {
  readonly operand: "a" | "b";
  readonly declaration: string;
  /** Declares positions in memory and registers. */
  head(first: string, start: string): string;
  /** Reads the slice that begins at depth `next`. */
  readonly load: string;
  /** The same, with zeros from k on. */
  readonly loadRagged: string;
  /** Positions of the slice after. */
  readonly advance: string;
  readonly store: string;
  /** The fragment of a step along the depth, at a line of the tile. */
  fragment(step: number, line: number): string;
}

function fill(operand: "a" | "b", lines: number, tile: MatrixUnitTile, alongDepth: boolean): Fill {
  const { depth } = tile;
  const threads = threadsOf(tile);
  const name = (part: string, q: number): string => `${operand}${part}${q}`;
  const some = Array.from({ length: (lines * depth) / VECTOR / threads }, (_, q) => q);
  const inRow = (alongDepth ? depth : lines) / VECTOR;
  const pitch = pitchOf(alongDepth ? depth : lines);
  const read = (q: number): string => `${name("Read", q)} = ${operand}[${name("At", q)}];`;
  const inside = (q: number): string =>
    alongDepth ? `next + ${name("Column", q)} * ${VECTOR} < p.k` : `next + ${name("Row", q)} < p.k`;
  const type = `subgroup_matrix_${operand === "a" ? "left" : "right"}<f16, ${FRAGMENT}, ${FRAGMENT}>`;
  // A's lines are the fragment's rows, B's its columns.
  const major = alongDepth === (operand === "a") ? "row_major" : "col_major";
  return {
    operand,
    declaration: `var<workgroup> ${operand}Tile: array<vec4<u32>, ${sliceVectors(lines, depth, alongDepth)}>;\n`,
    head: (first, start) =>
      [
        `let ${operand}Start = ${start};`,
        ...some.flatMap((q) => {
          const e = q === 0 ? "lane" : `(lane + ${threads * q})`;
          const at = alongDepth
            ? `(${first} + ${name("Row", q)}) * p.${operand}Line + ${name("Column", q)}`
            : `${first} / ${VECTOR} + ${name("Column", q)} + ${name("Row", q)} * p.${operand}Inner`;
          return [
            `let ${name("Row", q)} = ${e} / ${inRow};`,
            `let ${name("Column", q)} = ${e} % ${inRow};`,
            `var ${name("At", q)} = ${operand}Start + ${at};`,
            `var ${name("Read", q)} = vec4<u32>();`,
          ];
        }),
      ].join("\n"),
    load: some.map(read).join("\n"),
    loadRagged: some
      .map((q) => `${read(q)}\n${name("Read", q)} = select(vec4<u32>(), ${name("Read", q)}, ${inside(q)});`)
      .join("\n"),
    advance: some
      .map((q) => `${name("At", q)} += ${alongDepth ? depth / VECTOR : `${depth} * p.${operand}Inner`};`)
      .join("\n"),
    store: some
      .map((q) => `${operand}Tile[${name("Row", q)} * ${pitch} + ${name("Column", q)}] = ${name("Read", q)};`)
      .join("\n"),
    fragment: (step, line) =>
      `subgroupMatrixLoad<${type}, ${major}>(&${operand}Tile, ${alongDepth ? line * pitch + (step * FRAGMENT) / VECTOR : step * FRAGMENT * pitch + line / VECTOR}u, ${pitch}u)`,
  };
}
