/**
 * WGSL of a matrix product on matrix units: f16 operands, sums in f32. A workgroup computes a tile of the result from slices
 * of both operands in workgroup memory, and a subgroup of 32 threads a block of it, as fragments of 16 x 16. While a slice
 * is worked on, the next one is on its way into registers. Slices lie in workgroup memory in blocks, one for the lines of a
 * subgroup: then all subgroups run the same steps on blocks of their own, at places that are known as the text is compiled.
 * (A text for each subgroup would not stay in the cache of instructions; places that are not known are checked at each load.)
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
import { blockOf, operandTexts, type OperandReading, type OperandTexts } from "./operand-texts.js";
import { evenFunction, scalingFunctions } from "./scaling.js";
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
   * Whether fragments are stored at once: never with an epilogue, and only where n is a multiple of four; of scaled operands
   * those of tiles whose lines share a scale; "inside": of tiles that do not reach beyond the result. The others go through
   * workgroup memory.
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

/** Vectors between the rows of a strip of results in workgroup memory: one more than needed, against bank conflicts. */
const stripPitch = ({ block }: MatrixUnitTile): number => block.columns / 4 + 1;

type LayoutForm = Pick<MatrixUnitCode, "tile" | "terms" | "a" | "b">;

interface Layout {
  /** The first block of high and, perhaps, of low parts of each operand. */
  readonly a: readonly number[];
  readonly b: readonly number[];
  /** Blocks, and vectors of each. */
  readonly blocks: number;
  readonly length: number;
}

/** Where slices lie in workgroup memory: high parts of A and B, then low ones. A subgroup's results take the place of a block. */
function layout({ tile, a, b, terms }: LayoutForm): Layout {
  const [down, across] = [tile.rows / tile.block.rows, tile.columns / tile.block.columns];
  const both = down + across;
  return {
    a: terms === 1 ? [0] : [0, both],
    b: terms === 1 ? [down] : [down, both + down],
    blocks: Math.max(terms === 1 ? both : 2 * both, down * across),
    length: Math.max(
      blockOf(a.alongDepth, tile.block.rows, tile.depth).vectors,
      blockOf(b.alongDepth, tile.block.columns, tile.depth).vectors,
      FRAGMENT * stripPitch(tile),
    ),
  };
}

/** Bytes of workgroup memory; a few are for what is decided of the tile. */
export function matrixUnitBytes(form: LayoutForm): number {
  const { blocks, length } = layout(form);
  return 16 * blocks * length + 32;
}

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
  const scaled = code.a.stored === "f32";
  const even = scaled && direct !== "never";
  const form = { depth: tile.depth, threads, batchAxes, even };
  const operands = [
    operandTexts("a", code.a, { ...form, lines: tile.rows, block: tile.block.rows, places: places.a }),
    operandTexts("b", code.b, { ...form, lines: tile.columns, block: tile.block.columns, places: places.b }),
  ] as const;
  const body = [
    placeWorkgroup(code),
    ...operands.map((each) => each.head(batchStart(each.operand, batchAxes))),
    ...blockFragments(tile).map(({ name }) => `var ${name} = ${fragments.zero};`),
    loadSlices(code, operands),
    ...operands.map((each) => each.lines),
    even ? chooseScales(code) : "",
    ...operands.map((each) => each.scales),
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
    `var<workgroup> tiles: array<array<vec4<u32>, ${places.length}>, ${places.blocks}>;\n`,
    fragments.declare("tiles", places.length),
    even
      ? `var<workgroup> sizes: array<atomic<u32>, 4>;\nvar<workgroup> chosen: vec3<u32>;\n${evenFunction(code.terms)}`
      : "",
    scaled ? scalingFunctions(code.a, code.b, batchAxes) : "",
    direct === "always" && !scaled ? "" : `${epilogue ? finishFunction(epilogue) : ""}${storeFunction(code)}`,
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
function placeWorkgroup(code: MatrixUnitCode): string {
  const { tile, fragments } = code;
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
let aBlock = u32(own / ${across});
let bBlock = u32(own % ${across});
let end = min(p.k, (part + 1) * p.slice);
var next = part * p.slice;`;
}

/** Whether all lines of the tile may have one scale, so that sums need no other. */
function chooseScales({ tile, fragments, direct }: MatrixUnitCode): string {
  const threads = matrixUnitThreads(tile);
  const look = (operand: "a" | "b"): string[] => {
    const [lines, first, limit, at] =
      operand === "a" ? [tile.rows, "firstRow", "p.m", 0] : [tile.columns, "firstColumn", "p.n", 2];
    return Array.from(
      { length: Math.ceil(lines / threads) },
      (_, q) => `{
  let line = min(${first} + min(lane + ${q * threads}, ${lines - 1}), ${limit} - 1);
  let bits = bitcast<u32>(${operand}Most[${operand}Lines + line]);
  let most = ${fragments.largest("bits")};
  let inverse = ${fragments.largest("select(~bits, 0u, bits == 0u)")};
  if (lane % ${SUBGROUP} < ${fragments.reporters}) {
    atomicMax(&sizes[${at}], most);
    atomicMax(&sizes[${at + 1}], inverse);
  }
}`,
    );
  };
  const inside =
    direct === "always" ? "" : `(firstRow + ${tile.rows} <= p.m) & (firstColumn + ${tile.columns} <= p.n) & `;
  return `if (lane < 4) { atomicStore(&sizes[lane], 0u); }
workgroupBarrier();
${[...look("a"), ...look("b")].join("\n")}
workgroupBarrier();
if (lane == 0) {
  let sameScale = ${inside}isEven(atomicLoad(&sizes[0]), atomicLoad(&sizes[1])) & isEven(atomicLoad(&sizes[2]), atomicLoad(&sizes[3]));
  chosen = vec3<u32>(u32(sameScale), atomicLoad(&sizes[0]), atomicLoad(&sizes[2]));
}
let forTile = workgroupUniformLoad(&chosen);
let even = forTile.x == 1u;
let aTile = bitcast<f32>(forTile.y);
let bTile = bitcast<f32>(forTile.z);`;
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
  return `for (var begin = part * p.slice; begin < end; begin += ${tile.depth}) {
${indent(operands.map((each) => each.store).join("\n"))}
  workgroupBarrier();
  if (next < end) {
${indent(loadSlices(code, operands), 2)}
  }
${indent(blockSteps(code, operands))}
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

/** The products of a slice for the subgroup's block. */
function blockSteps(code: MatrixUnitCode, [A, B]: readonly [OperandTexts, OperandTexts]): string {
  const { tile, fragments, terms, a, b } = code;
  const down = Array.from({ length: tile.block.rows / FRAGMENT }, (_, i) => i);
  const along = Array.from({ length: tile.block.columns / FRAGMENT }, (_, j) => j);
  const places = layout(code);
  const inBlock = (operand: "a" | "b", part: number, at: number): InBlock => ({
    block: `${places[operand][part]}u + ${operand}Block`,
    at,
    length: places.length,
  });
  const left = (part: number, step: number, i: number): string =>
    fragments.load(
      "left",
      a.alongDepth ? "row_major" : "col_major",
      "tiles",
      inBlock("a", part, A.fragmentAt(step, FRAGMENT * i)),
      blockOf(a.alongDepth, tile.block.rows, tile.depth).pitch,
    );
  const right = (part: number, step: number, j: number): string =>
    fragments.load(
      "right",
      b.alongDepth ? "col_major" : "row_major",
      "tiles",
      inBlock("b", part, B.fragmentAt(step, FRAGMENT * j)),
      blockOf(b.alongDepth, tile.block.columns, tile.depth).pitch,
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
  const { length } = layout(code);
  const scaled = a.stored === "f32";
  const whole = each
    .map(({ name, row, column }) =>
      fragments.store(
        "c",
        `u32(start + (firstRow + blockRow + ${row}) * p.n + firstColumn + blockColumn + ${column})`,
        scaled ? fragments.scale(fragments.scale(name, "undoHalf"), "undoRest") : name,
        "u32(p.n)",
      ),
    )
    .join("\n");
  if (direct === "always" && !scaled) return whole;
  const strips = Array.from({ length: tile.block.rows / FRAGMENT }, (_, i) => {
    const stores = each
      .filter(({ row }) => row === FRAGMENT * i)
      .map(({ name, column }) =>
        fragments.store("tiles", { block: "u32(own)", at: column / 4, length }, name, `${stripPitch(tile)}u`),
      );
    return `${stores.join("\n")}
workgroupBarrier();
storeStrip(start, firstRow + blockRow + ${FRAGMENT * i}, firstColumn + blockColumn, own, lane % ${SUBGROUP}${scaled ? ", batch, part, aLines, bLines" : ""}${stretch === undefined ? "" : ", added"});
workgroupBarrier();`;
  });
  const singly = strips.join("\n");
  if (direct === "never") return singly;
  if (scaled)
    return `if (even) {
  let undo = 254 - scaleBits(aTile) - scaleBits(bTile);
  // In two steps: the inverse of both may be no number where the result is one.
  let undoHalf = powerOf(127 + undo / 2);
  let undoRest = powerOf(127 + undo - undo / 2);
${indent(whole)}
} else {
${indent(singly)}
}`;
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
  return `fn storeStrip(start: i32, row: i32, firstColumn: i32, own: i32, thread: i32${scaled ? ", batch: i32, part: i32, aLines: i32, bLines: i32" : ""}${adds ? ", adds: bool" : ""}) {
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
    var value = bitcast<vec4<f32>>(tiles[own][r * ${stripPitch(tile)} + quad]);
${scaled ? indent("value = unscaled(value, aMost[aLines + row + r], most, row + r, column, batch, part);", 2) : ""}
    let at = start + (row + r) * p.n + column;
${indent(storesVectors ? four : singly, 2)}
  }
}
`;
}
