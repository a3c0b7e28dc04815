/**
 * WGSL of a matrix product on matrix units: f16 operands, sums in f32. A workgroup computes a tile of the result from slices
 * of both operands in workgroup memory, and a subgroup of 32 threads a block of it, as fragments of 16 x 16. While a slice
 * is worked on, the next one is on its way into registers. A slice lies in workgroup memory as in the operand, with eight
 * elements more a row: rows at a multiple of 128 bytes would be read from the same banks. The steps are written once for
 * every subgroup, so that fragments have constant places: whether a fragment lies inside its memory is checked as it is
 * loaded, and only with constants compilers see that it does.
 *
 * Operands in f32 become f16 on their way into workgroup memory (`operand-texts.ts`): scaled line by line, and as one number
 * or as two, of which three products are taken.
 *
 * Lines (rows of A, columns of B) beyond the result are read as whatever is there and never stored; depths beyond k are made zero.
 */
import {
  declare,
  declareParameters,
  entryPoint,
  FRAGMENT,
  indent,
  type FragmentTexts,
  type GpuParameters,
} from "@seqmix/tensor/wgsl";
import { operandTexts, PADDING, VECTOR, type OperandReading, type OperandTexts } from "./operand-texts.js";
import { scalingFunctions } from "./scaling.js";
import { batchStart, finishFunction, placeTile, type EpilogueCode } from "./text.js";

const SUBGROUP = 32;

export interface MatrixUnitTile {
  readonly rows: 64 | 128 | 256;
  readonly columns: 64 | 128 | 256;
  /** Steps along k that are in workgroup memory at a time. */
  readonly depth: 16 | 32 | 64;
  /** What a subgroup computes. */
  readonly block: { readonly rows: 32 | 64; readonly columns: 32 | 64 };
}

/** How many products of f16 stand for one of f32: the high parts alone (10 bits of mantissa, as tf32), or also high with low. */
export type Terms = 1 | 3;

export interface MatrixUnitCode {
  readonly tile: MatrixUnitTile;
  readonly fragments: FragmentTexts;
  readonly a: OperandReading;
  readonly b: OperandReading;
  readonly terms: Terms;
  readonly batchAxes: number;
  /** Whether a slice may end within the tile's depth. */
  readonly ragged: boolean;
  /**
   * Whether fragments are stored at once: never with an epilogue or scaled operands, and only where n is a multiple of four;
   * "inside": of tiles that do not reach beyond the result. The others go through workgroup memory.
   */
  readonly direct: "never" | "inside" | "always";
  /** Whether four neighbours of the result are stored at once; only where none is stored directly. */
  readonly storesVectors: boolean;
  /** Depths after which sums are added to the result in memory and begun anew: those of matrix units are cut, not rounded. */
  readonly stretch?: number;
  readonly epilogue?: EpilogueCode;
  /** How the result is kept. */
  readonly result: "f32" | "f16";
}

/** Invocations of a workgroup. */
export const matrixUnitThreads = ({ rows, columns, block }: MatrixUnitTile): number =>
  SUBGROUP * (rows / block.rows) * (columns / block.columns);

/** Vectors of four words from one row of a slice to the next, and those of a slice. */
const pitchOf = (row: number): number => (row + PADDING) / VECTOR;
const sliceVectors = (lines: number, depth: number, alongDepth: boolean): number =>
  alongDepth ? lines * pitchOf(depth) : depth * pitchOf(lines);

/** Vectors between the rows of a strip of results in workgroup memory: one more than needed, against bank conflicts. */
const stripPitch = ({ block }: MatrixUnitTile): number => block.columns / 4 + 1;
const stripVectors = (tile: MatrixUnitTile): number =>
  ((FRAGMENT * matrixUnitThreads(tile)) / SUBGROUP) * stripPitch(tile);

/** Where slices lie in workgroup memory: high parts of A and B, then low ones. */
function layout({ tile, a, b, terms }: Pick<MatrixUnitCode, "tile" | "terms" | "a" | "b">): {
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly size: number;
} {
  const [aSize, bSize] = [
    sliceVectors(tile.rows, tile.depth, a.alongDepth),
    sliceVectors(tile.columns, tile.depth, b.alongDepth),
  ];
  const both = aSize + bSize;
  const slices = terms === 1 ? both : 2 * both;
  return {
    a: terms === 1 ? [0] : [0, both],
    b: terms === 1 ? [aSize] : [aSize, both + aSize],
    // Results take the place of the slices.
    size: Math.max(slices, stripVectors(tile)),
  };
}

/** Bytes of workgroup memory. */
export const matrixUnitBytes = (code: Pick<MatrixUnitCode, "tile" | "terms" | "a" | "b">): number =>
  16 * layout(code).size;

/**
 * Bindings: a, b, the result, the epilogue's buffers, and of f32 operands the largest size in each line. GpuParameters (none:
 * the caller puts numbers in the place of `p.name`): m, n, k, slice (of k a part), parts, batches, rows and columns (tiles),
 * and for each operand X its XOffset, XLine, XInner and XBatchI, counted in what is read at once, with batchI the extents;
 * of f32 operands XLinesI, the strides of the largest sizes.
 */
export function matrixUnitCode(code: MatrixUnitCode, parameters: GpuParameters): string {
  const { tile, fragments, batchAxes, direct, epilogue, result, stretch, storesVectors } = code;
  const threads = matrixUnitThreads(tile);
  const places = layout(code);
  const operands = [
    operandTexts("a", code.a, { lines: tile.rows, depth: tile.depth, threads, places: places.a, batchAxes }),
    operandTexts("b", code.b, { lines: tile.columns, depth: tile.depth, threads, places: places.b, batchAxes }),
  ] as const;
  const scaled = code.a.stored === "f32";
  const body = [
    placeWorkgroup(code),
    ...operands.map((each) => each.head(batchStart(each.operand, batchAxes))),
    ...blockFragments(tile).map(({ name }) => `var ${name} = ${fragments.zero};`),
    loadSlices(code, operands),
    "let start = (part * p.batches + batch) * p.m * p.n;",
    ...(stretch === undefined ? [] : ["var added = false;"]),
    mainLoop(code, operands),
    storeResults(code),
  ].join("\n");
  const extra = epilogue?.buffers ?? 0;
  const declarations = [
    declare(0, "a", "read", operands[0].type),
    declare(1, "b", "read", operands[1].type),
    declare(2, "c", "read_write", storesVectors ? `vec4<${result}>` : result),
    epilogue?.declarations ?? "",
    scaled ? declare(3 + extra, "aMost", "read", "f32") + declare(4 + extra, "bMost", "read", "f32") : "",
    Object.keys(parameters).length > 0 ? declareParameters((scaled ? 5 : 3) + extra, parameters) : "",
    `var<workgroup> tiles: array<vec4<u32>, ${places.size}>;\n`,
    fragments.declare("tiles"),
    scaled ? scalingFunctions(code.a, code.b, batchAxes) : "",
    direct === "always" ? "" : `${epilogue ? finishFunction(epilogue) : ""}${storeFunction(code)}`,
  ];
  return declarations.join("") + entryPoint(threads, body, fragments.builtin);
}

/** The fragments of a subgroup's block. */
const blockFragments = ({ block }: MatrixUnitTile): { name: string; row: number; column: number }[] =>
  Array.from({ length: block.rows / FRAGMENT }, (_, i) =>
    Array.from({ length: block.columns / FRAGMENT }, (_, j) => ({
      name: `s${i}_${j}`,
      row: FRAGMENT * i,
      column: FRAGMENT * j,
    })),
  ).flat();

/** Which tile and which part of k the workgroup has, and which block the subgroup. */
function placeWorkgroup({ tile, fragments }: MatrixUnitCode): string {
  const across = tile.columns / tile.block.columns;
  return `let at = i32(group);
let lane = i32(thread);
let part = at / (p.rows * p.columns * p.batches);
if (part >= p.parts) { return; }
let batch = at / (p.rows * p.columns) % p.batches;
${placeTile(tile)}
let own = i32(${fragments.subgroup});
let blockRow = own / ${across} * ${tile.block.rows};
let blockColumn = own % ${across} * ${tile.block.columns};
let strip = own * ${FRAGMENT * stripPitch(tile)};
let end = min(p.k, (part + 1) * p.slice);
var next = part * p.slice;`;
}

/** Reads a slice of both operands into registers and goes on to the next. */
function loadSlices({ tile, ragged }: MatrixUnitCode, operands: readonly OperandTexts[]): string {
  const whole = operands.map((each) => each.load).join("\n");
  const read = ragged
    ? `if (next + ${tile.depth} <= end) {\n${indent(whole)}\n} else {\n${indent(operands.map((each) => each.loadRagged).join("\n"))}\n}`
    : whole;
  return `${read}\n${operands.map((each) => each.advance).join("\n")}\nnext += ${tile.depth};`;
}

function mainLoop(code: MatrixUnitCode, operands: readonly [OperandTexts, OperandTexts]): string {
  const { tile, stretch } = code;
  const across = tile.columns / tile.block.columns;
  const steps = Array.from({ length: matrixUnitThreads(tile) / SUBGROUP }, (_, q) => {
    const text = blockSteps(
      code,
      operands,
      Math.floor(q / across) * tile.block.rows,
      (q % across) * tile.block.columns,
    );
    return `  ${q === 0 ? "default" : `case ${q}`} {\n${indent(text, 2)}\n  }`;
  });
  return `for (var begin = part * p.slice; begin < end; begin += ${tile.depth}) {
${indent(operands.map((each) => each.store).join("\n"))}
  workgroupBarrier();
  if (next < end) {
${indent(loadSlices(code, operands), 2)}
  }
  switch own {
${indent(steps.join("\n"))}
  }
  workgroupBarrier();
${stretch === undefined ? "" : indent(flush(code))}
}`;
}

/** At the end of a stretch that is not the last: the sums go to memory and begin anew. */
const flush = (code: MatrixUnitCode): string => `let done = begin + ${code.tile.depth} - part * p.slice;
if ((done % ${code.stretch} == 0) & (begin + ${code.tile.depth} < end)) {
${indent(storeResults(code))}
  added = true;
${indent(
  blockFragments(code.tile)
    .map(({ name }) => `${name} = ${code.fragments.zero};`)
    .join("\n"),
)}
}`;

/** The products of a slice for the block at a row and column of the tile. */
function blockSteps(
  { tile, fragments, terms, a, b }: MatrixUnitCode,
  [A, B]: readonly [OperandTexts, OperandTexts],
  blockRow: number,
  blockColumn: number,
): string {
  const down = Array.from({ length: tile.block.rows / FRAGMENT }, (_, i) => i);
  const along = Array.from({ length: tile.block.columns / FRAGMENT }, (_, j) => j);
  const [aPitch, bPitch] = [
    pitchOf(a.alongDepth ? tile.depth : tile.rows),
    pitchOf(b.alongDepth ? tile.depth : tile.columns),
  ];
  const left = (part: number, step: number, i: number): string =>
    fragments.load(
      "left",
      a.alongDepth ? "row_major" : "col_major",
      "tiles",
      A.fragmentAt(part, step, blockRow + FRAGMENT * i),
      aPitch,
    );
  const right = (part: number, step: number, j: number): string =>
    fragments.load(
      "right",
      b.alongDepth ? "col_major" : "row_major",
      "tiles",
      B.fragmentAt(part, step, blockColumn + FRAGMENT * j),
      bPitch,
    );
  const add = (i: number, j: number, x: string, y: string): string =>
    `s${i}_${j} = ${fragments.multiply(`${x}${i}`, `${y}${j}`, `s${i}_${j}`)};`;
  return Array.from({ length: tile.depth / FRAGMENT }, (_, step) => {
    const lines = [
      ...along.map((j) => `let b${j} = ${right(0, step, j)};`),
      ...(terms === 3 ? along.map((j) => `let d${j} = ${right(1, step, j)};`) : []),
      ...down.flatMap((i) => [
        `let a${i} = ${left(0, step, i)};`,
        ...(terms === 3
          ? [`let g${i} = ${left(1, step, i)};`, ...along.flatMap((j) => [add(i, j, "g", "b"), add(i, j, "a", "d")])]
          : []),
        ...along.map((j) => add(i, j, "a", "b")),
      ]),
    ];
    return `{\n${indent(lines.join("\n"))}\n}`;
  }).join("\n");
}

/** Fragments to memory: at once, or a strip of the block's fragments at a time through workgroup memory. */
function storeResults(code: MatrixUnitCode): string {
  const { tile, direct, fragments, a, stretch } = code;
  const each = blockFragments(tile);
  const whole = each
    .map(({ name, row, column }) =>
      fragments.store(
        "c",
        `u32(start + (firstRow + blockRow + ${row}) * p.n + firstColumn + blockColumn + ${column})`,
        name,
        "u32(p.n)",
      ),
    )
    .join("\n");
  if (direct === "always") return whole;
  const strips = Array.from({ length: tile.block.rows / FRAGMENT }, (_, i) => {
    const stores = each
      .filter(({ row }) => row === FRAGMENT * i)
      .map(({ name, column }) => fragments.store("tiles", `u32(strip + ${column / 4})`, name, `${stripPitch(tile)}u`));
    return `${stores.join("\n")}
workgroupBarrier();
storeStrip(start, firstRow + blockRow + ${FRAGMENT * i}, firstColumn + blockColumn, strip, lane % ${SUBGROUP}${a.stored === "f32" ? ", batch, part, aLines, bLines" : ""}${stretch === undefined ? "" : ", added"});
workgroupBarrier();`;
  });
  const singly = strips.join("\n");
  if (direct === "never") return singly;
  return `if ((firstRow + ${tile.rows} <= p.m) & (firstColumn + ${tile.columns} <= p.n)) {\n${indent(whole)}\n} else {\n${indent(singly)}\n}`;
}

/**
 * Stores a strip's elements that are in the result, four neighbours a thread: a thread has the same columns in every row.
 * Where k is summed in stretches, all but the first add to what is there.
 */
function storeFunction({ tile, result, epilogue, a, stretch, storesVectors }: MatrixUnitCode): string {
  const quads = tile.block.columns / 4;
  const scaled = a.stored === "f32";
  const adds = stretch !== undefined;
  const element = (e: number): string => (epilogue ? `finish(at + ${e}, value[${e}])` : `value[${e}]`);
  const stored = (text: string, type: string): string => (result === "f16" ? `${type}(${text})` : text);
  const vector = epilogue ? `vec4<f32>(${[0, 1, 2, 3].map(element).join(", ")})` : "value";
  const four = `${adds ? "if (adds) { value += c[at / 4]; }\n" : ""}c[at / 4] = ${stored(vector, "vec4<f16>")};`;
  const singly = [0, 1, 2, 3]
    .map((e) => {
      const value = stored(element(e), "f16");
      const text = adds
        ? `if (adds) { value[${e}] += c[at + ${e}]; } c[at + ${e}] = ${value};`
        : `c[at + ${e}] = ${value};`;
      return `if (column + ${e} < p.n) { ${text} }`;
    })
    .join("\n");
  return `fn storeStrip(start: i32, row: i32, firstColumn: i32, strip: i32, thread: i32${scaled ? ", batch: i32, part: i32, aLines: i32, bLines: i32" : ""}${adds ? ", adds: bool" : ""}) {
  let quad = thread % ${quads};
  let column = firstColumn + 4 * quad;
  if (column >= p.n) { return; }
${
  scaled
    ? indent(`let columns = bLines + min(vec4<i32>(column) + vec4<i32>(0, 1, 2, 3), vec4<i32>(p.n - 1));
let most = vec4<f32>(bMost[columns.x], bMost[columns.y], bMost[columns.z], bMost[columns.w]);`)
    : ""
}
  for (var r = thread / ${quads}; r < ${FRAGMENT}; r += ${SUBGROUP / quads}) {
    if (row + r >= p.m) { break; }
    var value = bitcast<vec4<f32>>(tiles[strip + r * ${stripPitch(tile)} + quad]);
${scaled ? indent("value = unscaled(value, aMost[aLines + row + r], most, row + r, column, batch, part);", 2) : ""}
    let at = start + (row + r) * p.n + column;
${indent(storesVectors ? four : singly, 2)}
  }
}
`;
}
