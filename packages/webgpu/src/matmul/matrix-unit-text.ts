/**
 * WGSL of a matrix product on matrix units: f16 operands, sums in f32. A workgroup computes a tile of the result from slices
 * of both operands in workgroup memory, and a subgroup of 32 threads a block of it, as fragments of 16 x 16. While a slice
 * is worked on, the next one is on its way into registers. A slice lies in workgroup memory as in the operand, with eight
 * elements more a row: rows at a multiple of 128 bytes would be read from the same banks. Whether a fragment lies inside its
 * memory is checked as it is loaded, unless its place there is known as the text is compiled:
 * - slices of f16 operands lie in blocks, one for the lines of a subgroup, and all subgroups run the same steps on blocks of
 *   their own;
 * - for f32 operands the steps are written once for every subgroup. Blocks, with scales that a tile's lines share, took
 *   2.4 ms there in place of 1.6 for 4096 x 4096 x 4096 on an H200.
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
  type InBlock,
} from "@seqmix/tensor/wgsl";
import { beginTurn, endTurn, foundScalesFunctions } from "./found-scales.js";
import { operandTexts, pitchOf, type OperandReading, type OperandTexts } from "./operand-texts.js";
import { BLOCK, type Packing } from "./packing.js";
import { scaleFunctions, scalingFunctions, unscalingFunctions } from "./scaling.js";
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
  /** Whether scales of f32 operands are found on the way, else they are given. */
  readonly found?: boolean;
  /** Of packed operands. */
  readonly packed?: Readonly<Record<"a" | "b", Packing>>;
  /** How f32 operands lie in memory, of packed ones before that. */
  readonly sources?: Readonly<Record<"a" | "b", OperandReading>>;
  /** How the result is kept. */
  readonly result: "f32" | "f16";
}

/** Invocations of a workgroup. */
export const matrixUnitThreads = ({ rows, columns, block }: MatrixUnitTile): number =>
  SUBGROUP * (rows / block.rows) * (columns / block.columns);

/** Vectors of four words of a slice, or of a block of it. */
const sliceVectors = (lines: number, depth: number, alongDepth: boolean): number =>
  alongDepth ? lines * pitchOf(depth) : depth * pitchOf(lines);

/** Vectors between the rows of a strip of results in workgroup memory: one more than needed, against bank conflicts. */
const stripPitch = ({ block }: MatrixUnitTile): number => block.columns / 4 + 1;
const stripVectors = (tile: MatrixUnitTile): number =>
  ((FRAGMENT * matrixUnitThreads(tile)) / SUBGROUP) * stripPitch(tile);

type LayoutForm = Pick<MatrixUnitCode, "tile" | "terms" | "a" | "b" | "found">;

interface Layout {
  /** Where slices begin, of high and, perhaps, of low parts; in blocks, the first of them. */
  readonly a: readonly number[];
  readonly b: readonly number[];
  /** Vectors; or blocks of so many. */
  readonly size: number;
  readonly blockLength?: number;
}

/** Where slices lie in workgroup memory: high parts of A and B, then low ones. Results take the place of the slices. */
function layout(form: LayoutForm): Layout {
  const { tile, a, b, terms, found = false } = form;
  if (a.stored !== "f32" || found) return layoutInBlocks(form);
  const [aSize, bSize] = [
    sliceVectors(tile.rows, tile.depth, a.alongDepth),
    sliceVectors(tile.columns, tile.depth, b.alongDepth),
  ];
  const both = aSize + bSize;
  const slices = terms === 1 ? both : 2 * both;
  return {
    a: terms === 1 ? [0] : [0, both],
    b: terms === 1 ? [aSize] : [aSize, both + aSize],
    size: Math.max(slices, stripVectors(tile)),
  };
}

/** Blocks of A, one for each row of subgroups, then of B, then those of low parts; a strip of a subgroup's results takes a block. */
function layoutInBlocks({ tile, a, b, terms }: LayoutForm): Layout {
  const [down, across] = [tile.rows / tile.block.rows, tile.columns / tile.block.columns];
  const both = down + across;
  return {
    a: terms === 1 ? [0] : [0, both],
    b: terms === 1 ? [down] : [down, both + down],
    size: Math.max(terms === 1 ? both : 2 * both, down * across),
    blockLength: Math.max(
      sliceVectors(tile.block.rows, tile.depth, a.alongDepth),
      sliceVectors(tile.block.columns, tile.depth, b.alongDepth),
      FRAGMENT * stripPitch(tile),
    ),
  };
}

/** Bytes of workgroup memory. */
export function matrixUnitBytes(form: LayoutForm): number {
  const { size, blockLength = 1 } = layout(form);
  const sizes = form.found ? 8 * (form.tile.rows + form.tile.columns) + 16 : 0;
  return 16 * size * blockLength + sizes;
}

/**
 * Bindings: a, b, the result, the epilogue's buffers, and of f32 operands the largest size in each line. GpuParameters (none:
 * the caller puts numbers in the place of `p.name`): m, n, k, slice (of k a part), parts, batches, rows and columns (tiles),
 * and for each operand X its XOffset, XLine, XInner and XBatchI, counted in what is read at once, with batchI the extents;
 * of f32 operands XLinesI, the strides of the largest sizes. Packed operands are followed by the scales of both and by both
 * as they were.
 */
export function matrixUnitCode(code: MatrixUnitCode, parameters: GpuParameters): string {
  const { tile, fragments, batchAxes, direct, epilogue, result, stretch, storesVectors, found = false } = code;
  const threads = matrixUnitThreads(tile);
  const places = layout(code);
  const { blockLength } = places;
  const form = { depth: tile.depth, threads, batchAxes, found };
  const blockOf = (lines: number): number | undefined => (blockLength === undefined ? undefined : lines);
  const operands = [
    operandTexts("a", code.a, { ...form, lines: tile.rows, places: places.a, block: blockOf(tile.block.rows) }),
    operandTexts("b", code.b, { ...form, lines: tile.columns, places: places.b, block: blockOf(tile.block.columns) }),
  ] as const;
  const body = [
    placeWorkgroup(code),
    ...operands.map((each) => each.head(batchStart(each.operand, batchAxes))),
    ...blockFragments(tile).map(({ name }) => `var ${name} = ${fragments.zero};`),
    "let start = (part * p.batches + batch) * p.m * p.n;",
    ...(stretch === undefined ? [] : ["var added = false;"]),
    ...(found ? [turns(code, operands)] : [loadSlices(code, operands), mainLoop(code, operands)]),
    storeResults(code),
  ].join("\n");
  const extra = epilogue?.buffers ?? 0;
  const scaling = scalingBuffers(code);
  const declarations = [
    declare(0, "a", "read", operands[0].type),
    declare(1, "b", "read", operands[1].type),
    declare(2, "c", "read_write", storesVectors ? `vec4<${result}>` : result),
    epilogue?.declarations ?? "",
    ...scaling.map(({ name, type }, k) => declare(3 + extra + k, name, "read", type)),
    Object.keys(parameters).length > 0 ? declareParameters(3 + extra + scaling.length, parameters) : "",
    `var<workgroup> tiles: array<${blockLength === undefined ? "vec4<u32>" : `array<vec4<u32>, ${blockLength}>`}, ${places.size}>;\n`,
    fragments.declare("tiles", blockLength),
    scalingTexts(code),
    direct === "always" && !code.packed && !found
      ? ""
      : `${epilogue ? finishFunction(epilogue) : ""}${storeFunction(code)}`,
  ];
  return (found ? fragments.directives : "") + declarations.join("") + entryPoint(threads, body, fragments.builtin);
}

/** What scales are taken from, and what has none is summed from. */
function scalingBuffers({
  packed,
  sources,
  a,
  found = false,
}: MatrixUnitCode): { readonly name: string; readonly type: string }[] {
  if (found) return [];
  if (a.stored === "f32") return ["aMost", "bMost"].map((name) => ({ name, type: "f32" }));
  if (!packed || !sources) return [];
  return [
    ...["aScales", "bScales"].map((name) => ({ name, type: "i32" })),
    ...(["a", "b"] as const).map((each) => ({
      name: `${each}Source`,
      type: sources[each].unit === 4 ? "vec4<f32>" : "f32",
    })),
  ];
}

function scalingTexts({ tile, terms, a, b, packed, sources, batchAxes, found = false }: MatrixUnitCode): string {
  const functions = found ? foundScalesFunctions(tile.rows, tile.columns, terms) : scalingFunctions;
  if (a.stored === "f32")
    return functions + unscalingFunctions({ name: "a", reading: a }, { name: "b", reading: b }, batchAxes);
  if (!packed || !sources) return "";
  return (
    scaleFunctions +
    unscalingFunctions({ name: "aSource", reading: sources.a }, { name: "bSource", reading: sources.b }, batchAxes)
  );
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
function placeWorkgroup(code: MatrixUnitCode): string {
  const { tile, fragments } = code;
  const inBlocks = layout(code).blockLength !== undefined;
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
${
  inBlocks
    ? `let aBlock = u32(own / ${across});
let bBlock = u32(own % ${across});
let strip = own;`
    : `let strip = own * ${FRAGMENT * stripPitch(tile)};`
}
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

/** The product, perhaps twice: see `found-scales.ts`. */
function turns(code: MatrixUnitCode, operands: readonly [OperandTexts, OperandTexts]): string {
  const { tile, stretch, fragments } = code;
  const threads = matrixUnitThreads(tile);
  const lines = [tile.rows, tile.columns];
  const turn = [
    "next = part * p.slice;",
    ...operands.map(({ finding }) => finding.restart),
    ...blockFragments(tile).map(({ name }) => `${name} = ${fragments.zero};`),
    ...(stretch === undefined ? [] : ["added = false;"]),
    loadSlices(code, operands),
    beginTurn(operands, lines, threads),
    mainLoop(code, operands),
    endTurn(operands, lines, threads),
  ];
  return `let aLines = -firstRow;
let bLines = -firstColumn;
var sharesScales = false;
for (var turn = 0; turn < 2; turn++) {
${indent(turn.join("\n"))}
}`;
}

function mainLoop(code: MatrixUnitCode, operands: readonly [OperandTexts, OperandTexts]): string {
  const { tile, stretch } = code;
  const inBlocks = layout(code).blockLength !== undefined;
  const steps = inBlocks ? blockSteps(code, operands, 0, 0) : forEachSubgroup(code, operands);
  return `for (var begin = part * p.slice; begin < end; begin += ${tile.depth}) {
${indent(operands.map((each) => each.store).join("\n"))}
  workgroupBarrier();
  if (next < end) {
${indent(loadSlices(code, operands), 2)}
  }
${indent(steps)}
  workgroupBarrier();
${stretch === undefined ? "" : indent(flush(code))}
}`;
}

/** The steps, written once for every subgroup. */
function forEachSubgroup(code: MatrixUnitCode, operands: readonly [OperandTexts, OperandTexts]): string {
  const { tile } = code;
  const across = tile.columns / tile.block.columns;
  const steps = Array.from({ length: matrixUnitThreads(tile) / SUBGROUP }, (_, q) => {
    const [row, column] = [Math.floor(q / across) * tile.block.rows, (q % across) * tile.block.columns];
    return `  ${q === 0 ? "default" : `case ${q}`} {\n${indent(blockSteps(code, operands, row, column), 2)}\n  }`;
  });
  return `switch own {\n${steps.join("\n")}\n}`;
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

/** The products of a slice for the block at a row and column of the tile; in blocks, for the subgroup's own. */
function blockSteps(
  code: MatrixUnitCode,
  [A, B]: readonly [OperandTexts, OperandTexts],
  blockRow: number,
  blockColumn: number,
): string {
  const { tile, fragments, terms, a, b } = code;
  const { blockLength, ...places } = layout(code);
  const placed = (operand: "a" | "b", part: number, at: number): number | InBlock =>
    blockLength === undefined ? at : { block: `${places[operand][part]}u + ${operand}Block`, at, length: blockLength };
  const down = Array.from({ length: tile.block.rows / FRAGMENT }, (_, i) => i);
  const along = Array.from({ length: tile.block.columns / FRAGMENT }, (_, j) => j);
  const [aPitch, bPitch] = [
    pitchOf(a.alongDepth ? tile.depth : blockLength === undefined ? tile.rows : tile.block.rows),
    pitchOf(b.alongDepth ? tile.depth : blockLength === undefined ? tile.columns : tile.block.columns),
  ];
  const left = (part: number, step: number, i: number): string =>
    fragments.load(
      "left",
      a.alongDepth ? "row_major" : "col_major",
      "tiles",
      placed("a", part, A.fragmentAt(part, step, blockRow + FRAGMENT * i)),
      aPitch,
    );
  const right = (part: number, step: number, j: number): string =>
    fragments.load(
      "right",
      b.alongDepth ? "col_major" : "row_major",
      "tiles",
      placed("b", part, B.fragmentAt(part, step, blockColumn + FRAGMENT * j)),
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
  const { tile, direct, fragments, a, stretch, packed, found = false } = code;
  const each = blockFragments(tile);
  const scaled = a.stored !== "f16";
  const { blockLength } = layout(code);
  const inStrip = (at: number): string | InBlock =>
    blockLength === undefined ? `u32(strip + ${at})` : { block: "u32(strip)", at, length: blockLength };
  const whole = each
    .map(({ name, row, column }) =>
      fragments.store(
        "c",
        `u32(start + (firstRow + blockRow + ${row}) * p.n + firstColumn + blockColumn + ${column})`,
        packed
          ? fragments.scale(name, `powerOf(381 - aBits${row / FRAGMENT} - bBits${column / FRAGMENT})`)
          : found
            ? fragments.scale(name, "inverse")
            : name,
        "u32(p.n)",
      ),
    )
    .join("\n");
  if (direct === "always" && !packed && !found) return whole;
  const strips = Array.from({ length: tile.block.rows / FRAGMENT }, (_, i) => {
    const stores = each
      .filter(({ row }) => row === FRAGMENT * i)
      .map(({ name, column }) => fragments.store("tiles", inStrip(column / 4), name, `${stripPitch(tile)}u`));
    return `${stores.join("\n")}
workgroupBarrier();
storeStrip(start, firstRow + blockRow + ${FRAGMENT * i}, firstColumn + blockColumn, strip, lane % ${SUBGROUP}${scaled ? ", batch, part, aLines, bLines" : ""}${stretch === undefined ? "" : ", added"});
workgroupBarrier();`;
  });
  const singly = strips.join("\n");
  if (direct === "never") return singly;
  const conditions = [
    ...(direct === "inside" ? [`(firstRow + ${tile.rows} <= p.m)`, `(firstColumn + ${tile.columns} <= p.n)`] : []),
    ...(packed ? ["evenScales"] : []),
    ...(found ? ["sharesScales"] : []),
  ];
  const scales = packed
    ? `${fragmentScales(tile)}\n`
    : found
      ? "let inverse = powerOf(381 - aBits[0] - bBits[0]);\n"
      : "";
  const atOnce = scales + whole;
  return `${packed ? `${evenScales(code, packed)}\n` : ""}if (${conditions.join(" & ")}) {\n${indent(atOnce)}\n} else {\n${indent(singly)}\n}`;
}

/** Whether every fragment of the tile has one scale, and its inverse is a number. */
function evenScales({ tile }: MatrixUnitCode, packed: Readonly<Record<"a" | "b", Packing>>): string {
  const look = (operand: "a" | "b"): string => {
    const [lines, first] = operand === "a" ? [tile.rows, "firstRow"] : [tile.columns, "firstColumn"];
    const { elements, lines: all } = packed[operand];
    const at = (block: number): string =>
      `${operand}Scales[${elements * all} + 2 * ((${operand}Lines + ${first}) / ${BLOCK} + ${block})`;
    const blocks = Array.from({ length: Math.ceil(lines / BLOCK) }, (_, k) => k);
    const of = (combine: "min" | "max", more: string): string =>
      blocks.map((k) => `${at(k)}${more}]`).reduce((x, y) => `${combine}(${x}, ${y})`);
    return `let ${operand}Low = ${of("min", "")};\nlet ${operand}High = ${of("max", " + 1")};`;
  };
  return `${look("a")}
${look("b")}
let evenScales = (min(aLow, bLow) > 0) & (aLow + bLow >= 127) & (aHigh + bHigh <= 380);`;
}

/** The exponents of the scales of a subgroup's fragments. */
function fragmentScales({ block }: MatrixUnitTile): string {
  const of = (operand: "a" | "b", lines: number, first: string): string[] =>
    Array.from(
      { length: lines / FRAGMENT },
      (_, k) => `let ${operand}Bits${k} = ${operand}Scales[${operand}Lines + ${first} + ${FRAGMENT * k}];`,
    );
  return [...of("a", block.rows, "firstRow + blockRow"), ...of("b", block.columns, "firstColumn + blockColumn")].join(
    "\n",
  );
}

/**
 * Stores a strip's elements that are in the result, four neighbours a thread: a thread has the same columns in every row.
 * Where k is summed in stretches, all but the first add to what is there.
 */
function storeFunction(code: MatrixUnitCode): string {
  const { tile, result, epilogue, a, stretch, storesVectors, found = false } = code;
  const inBlocks = layout(code).blockLength !== undefined;
  const quads = tile.block.columns / 4;
  const scaled = a.stored !== "f16";
  const bits = (operand: "a" | "b", line: string): string =>
    found
      ? `${operand}Bits[${line}]`
      : a.stored === "f32"
        ? `bitsOf(${operand}Most[${line}])`
        : `${operand}Scales[${line}]`;
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
let scales = vec4<i32>(${["x", "y", "z", "w"].map((e) => bits("b", `columns.${e}`)).join(", ")});`)
    : ""
}
  for (var r = thread / ${quads}; r < ${FRAGMENT}; r += ${SUBGROUP / quads}) {
    if (row + r >= p.m) { break; }
    var value = bitcast<vec4<f32>>(tiles[strip${inBlocks ? "][" : " + "}r * ${stripPitch(tile)} + quad]);
${scaled ? indent(`value = unscaled(value, ${bits("a", "aLines + row + r")}, scales, row + r, column, batch, part);`, 2) : ""}
    let at = start + (row + r) * p.n + column;
${indent(storesVectors ? four : singly, 2)}
  }
}
`;
}
