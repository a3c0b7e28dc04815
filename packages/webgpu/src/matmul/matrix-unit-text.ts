/**
 * WGSL of a matrix product on matrix units: f16 operands, sums in f32. A workgroup computes a tile of the result from slices
 * of both operands in workgroup memory, and a subgroup of 32 threads a block of it, as fragments of 16 x 16. While a slice
 * is worked on, the next one is on its way into registers. A slice lies in workgroup memory as in the operand, with eight
 * elements more a row: rows at a multiple of 128 bytes would be read from the same banks. Whether a fragment lies inside its
 * memory is checked as it is loaded, unless its place there is known as the text is compiled:
 * - slices of f16, and of f32 whose scales are found on the way, lie in blocks, one for the lines of a subgroup, and all
 *   subgroups run the same steps on blocks of their own;
 * - for f32 with given scales the steps are written once for every subgroup: with two numbers for each of f32, large tiles
 *   are faster so (4096 x 4096 x 4096 on an H200: 1.6 ms; in blocks 2.4, with scales found on the way 2.6).
 *
 * Operands in f32 become f16 as one number or as two, of which three products are taken, in one of three ways:
 * - on their way into workgroup memory (`operand-texts.ts`), scaled line by line, with sizes that a pass has found before;
 * - the same with scales found on the way (`found-scales.ts`), for results with few rows or columns, where reading operands
 *   is what takes the time;
 * - by a pass before, for the others (`packing.ts`): tiles convert an operand again and again otherwise.
 *
 * Lines (rows of A, columns of B) beyond the result are read as whatever is there and never stored; depths beyond k are made zero.
 */
import {
  declare,
  declareParameters,
  entryPoint,
  FRAGMENT,
  indent,
  type GpuParameters,
  type InBlock,
} from "@seqmix/tensor/wgsl";
import { beginTurn, endTurn, foundScalesFunctions } from "./found-scales.js";
import {
  blockFragments,
  layout,
  matrixUnitThreads,
  stripPitch,
  SUBGROUP,
  type MatrixUnitCode,
} from "./matrix-unit-form.js";
import { storeFunction, storeResults } from "./matrix-unit-store.js";
import { operandTexts, pitchOf, type OperandTexts } from "./operand-texts.js";
import { scaleFunctions, scalingFunctions, unscalingFunctions } from "./scaling.js";
import { batchStart, finishFunction, placeTile } from "./text.js";

/**
 * Bindings: a, b, the result, the epilogue's buffers, and of f32 operands the largest size in each line. GpuParameters (none:
 * the caller puts numbers in the place of `p.name`): m, n, k, slice (of k a part), parts, batches, rows and columns (tiles),
 * and for each operand X its XOffset, XLine, XInner and XBatchI, counted in what is read at once, with batchI the extents;
 * of f32 operands XLinesI, the strides of the largest sizes. Packed operands are followed by the scales of both and by both
 * as they were.
 */
export function matrixUnitCode(code: MatrixUnitCode, parameters: GpuParameters): string {
  const { tile, fragments, batchAxes, epilogue, result, stretch, storesVectors, found = false } = code;
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
    `${epilogue ? finishFunction(epilogue) : ""}${storeFunction(code)}`,
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
