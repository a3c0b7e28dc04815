/**
 * WGSL of a tile of a sum of products on matrix units, as `tile.ts` writes it for multiply-adds: a subgroup of 32 threads has a
 * block of the tile as fragments of 16 x 16. Operands are f16 in workgroup memory: one number for each of f32, or two, of
 * which three products are taken. The sums go through workgroup memory to the threads, a strip of 16 rows at a time.
 */
import { entryPoint, indent } from "@seqmix/tensor/wgsl";
import { FRAGMENT, type FragmentTexts, type InBlock } from "@seqmix/tensor/wgsl";
import { splitFunctions } from "../../matmul/scaling.js";
import {
  firstScales,
  judgeScales,
  knownScales,
  ownScales,
  reportLargest,
  reportMeasured,
  scalesModule,
  sliceTexts,
  sliceVectors,
  sumsAfterCopies,
  type SliceTexts,
} from "./matrix-slices.js";
import {
  isMatrixTile,
  matrixThreads,
  tileShader,
  TIMES_FACTORS,
  type MatrixTile,
  type OperandText,
  type Phase,
  type RowSums,
  type SumNames,
  type TileShape,
  type TileText,
} from "./tile.js";

/** The shader of a tile, on matrix units or multiply-adds. */
export const shaderOf = (shape: TileShape | MatrixTile, fragments: FragmentTexts, text: TileText): string =>
  isMatrixTile(shape) ? matrixTileShader(shape, fragments, text) : tileShader(shape, text);

const range = (n: number): number[] => Array.from({ length: n }, (_, k) => k);

const inBlock = (text: string): string => `{\n${indent(text)}\n}`;

/** Vectors between the rows of a strip of sums, one more than needed against bank conflicts; and those of all strips. */
const stripPitch = ({ block }: MatrixTile): number => block.columns / 4 + 1;
const stripVectors = (tile: MatrixTile): number => FRAGMENT * stripPitch(tile);

/** Where slices lie in workgroup memory, high parts of A and B, then low ones; sums take their place. */
interface Memory {
  /** First vectors, or blocks. */
  readonly a: readonly number[];
  readonly b: readonly number[];
  /** Vectors, or blocks of so many. */
  readonly size: number;
  readonly blockLength?: number;
}

type Along = OperandText["along"];

function memoryOf(tile: MatrixTile, alongs: readonly (readonly [Along, Along])[]): Memory {
  const { rows, columns, depth, block, inBlocks } = tile;
  const parts = tile.terms === 3 ? 2 : 1;
  const most = (lines: number, k: 0 | 1): number =>
    Math.max(...alongs.map((along) => sliceVectors(lines, depth, along[k])));
  const subgroups = matrixThreads(tile) / 32;
  const places = (first: number, both: number): number[] => range(parts).map((part) => first + part * both);
  if (inBlocks) {
    const [down, both] = [rows / block.rows, rows / block.rows + columns / block.columns];
    return {
      a: places(0, both),
      b: places(down, both),
      size: Math.max(parts * both, subgroups),
      blockLength: Math.max(most(block.rows, 0), most(block.columns, 1), stripVectors(tile)),
    };
  }
  const [ofA, ofB] = [most(rows, 0), most(columns, 1)];
  return {
    a: places(0, ofA + ofB),
    b: places(ofA, ofA + ofB),
    size: Math.max(parts * (ofA + ofB), subgroups * stripVectors(tile)),
  };
}

type PlacedTile = MatrixTile & Pick<Memory, "blockLength">;

/** Bytes of workgroup memory at most. */
export function matrixTileBytes(tile: MatrixTile): number {
  const { size, blockLength = 1 } = memoryOf(tile, [
    ["depth", "depth"],
    ["lines", "lines"],
  ]);
  // two phases' largest numbers
  return 16 * size * blockLength + (16 * matrixThreads(tile)) / 32 + 4;
}

interface Fragment {
  readonly name: string;
  readonly row: number;
  readonly column: number;
}

const fragmentsOf = ({ block }: MatrixTile): Fragment[] =>
  range(block.rows / FRAGMENT).flatMap((i) =>
    range(block.columns / FRAGMENT).map((j) => ({ name: `m${i}_${j}`, row: i, column: j })),
  );

function matrixTileShader(
  shape: MatrixTile,
  fragments: FragmentTexts,
  { module, setup, phases, totals, rowSums, finish }: TileText,
): string {
  const memory = memoryOf(
    shape,
    phases.map(({ a, b }) => [a.along, b.along] as const),
  );
  const { size, blockLength } = memory;
  const tile: PlacedTile = { ...shape, ...(blockLength !== undefined && { blockLength }) };
  const all = fragmentsOf(tile);
  const names = all.map(({ name }) => name);
  const threads = matrixThreads(tile);
  const across = tile.columns / tile.block.columns;
  const known = phases.every((phase) => phase.known !== undefined);
  const measured = phases.some(({ a, b }) => [a, b].some((operand) => operand.measured));
  const strips = range(tile.block.rows / FRAGMENT).map((i) => stripSums(tile, i));
  const placed = (phase: Phase): readonly [SliceTexts, SliceTexts] => [
    sliceTexts("a", phase.a, tile, memory.a, !known),
    sliceTexts("b", phase.b, tile, memory.b, !known),
  ];
  const early = rowSums?.early ? rowSums : undefined;
  const taken = phases.map((phase, k) =>
    phaseText(tile, fragments, phase, placed(phase), {
      k,
      known,
      first: phases.slice(0, k).every(({ alone }) => alone),
      strips,
      early: k === 0 ? early : undefined,
    }),
  );
  const zeros = names.map((name) => `${name} = ${fragments.zero};`).join("\n");
  const allTotals = totals ? strips.flatMap(({ all: sums }) => sums.map(({ name }) => `total_${name}`)) : [];
  const ends = strips.map((strip, i) =>
    inBlock(
      totals === "alone"
        ? finish(strip)
        : `${i > 0 ? "workgroupBarrier();\n" : ""}${brought(tile, fragments, strip, i, `${rowSums ? partialSums(tile, strip.rows, rowSums, "partial") : ""}${finish(strip)}`)}`,
    ),
  );
  const attempts = `var scales = vec2<i32>(253);
var aScale = 1.0;
var bScale = 1.0;
${phases.map((_, k) => `var known${k} = vec2<i32>(127);`).join("\n")}
for (var attempt = 0; attempt < 2; attempt++) {
${indent([zeros, ...allTotals.map((name) => `${name} = vec4<f32>();`)].join("\n"))}
${indent(taken.join("\n"))}
${measured ? indent(reportMeasured(tile, fragments, phases.length)) : ""}
  workgroupBarrier();
${indent(judgeScales(phases.length))}
}`;
  const body = `let lane = i32(thread);
${setup}
let own = i32(${fragments.subgroup});
let blockRow = own / ${across} * ${tile.block.rows};
let blockColumn = own % ${across} * ${tile.block.columns};
${tile.inBlocks ? `let aBlock = u32(own / ${across});\nlet bBlock = u32(own % ${across});\nlet strip = own;` : `let strip = own * ${stripVectors(tile)};`}
let quad = lane % ${tile.block.columns / 4};
let stripRow = lane % 32 / ${tile.block.columns / 4};
${[...names.map((name) => `var ${name} = ${fragments.zero};`), ...allTotals.map((name) => `var ${name}: vec4<f32>;`)].join("\n")}
${measured ? "var aMeasured = 0.0;\nvar bMeasured = 0.0;\n" : ""}${known ? `${knownScales(phases)}\n${taken.join("\n")}${measured ? `\n${reportMeasured(tile, fragments, phases.length)}\nworkgroupBarrier();` : ""}` : attempts}
${totals === "alone" ? "" : inverse(known)}
${ends.join("\n")}
${rowSums ? rowsTogether(tile, rowSums) : ""}`;
  return `${fragments.directives}${module}${TIMES_FACTORS}var<workgroup> tiles: array<${blockLength === undefined ? "vec4<u32>" : `array<vec4<u32>, ${blockLength}>`}, ${size}>;
${known && !measured ? "" : scalesModule(tile, fragments, phases.length + (measured ? 1 : 0))}${[...(rowSums ? ["partial"] : []), ...(early ? ["partialBefore"] : [])].map((name) => `var<workgroup> ${name}: array<f32, ${tile.rows * across}>;\n`).join("")}${fragments.declare("tiles", blockLength)}${splitFunctions}${entryPoint(threads, body, fragments.builtin)}`;
}

/** One product into the sums. */
function phaseText(
  tile: PlacedTile,
  fragments: FragmentTexts,
  phase: Phase,
  operands: readonly [SliceTexts, SliceTexts],
  {
    k,
    known,
    first,
    strips,
    early,
  }: {
    readonly k: number;
    readonly known: boolean;
    /** Whether there are no sums of phases before. */
    readonly first: boolean;
    readonly strips: readonly SumNames[];
    readonly early: RowSums | undefined;
  },
): string {
  const { begin, end, backwards = false, loop, after } = phase;
  const names = fragmentsOf(tile).map(({ name }) => name);
  const load = operands.map((each) => each.load).join("\n");
  const step = backwards ? -tile.depth : tile.depth;
  const more = (at: string): string => (backwards ? `${at} >= first` : `${at} < end`);
  const text = `{
  let end = ${end};
  let first = ${begin};
  var next = ${backwards ? `first + (end - first - 1) / ${tile.depth} * ${tile.depth}` : "first"};
${indent(operands.map((each) => each.head).join("\n"))}
  if (first < end) {
${indent(load, 2)}
    for (var begin = next; ${more("begin")}; begin += ${step}) {
${indent(operands.map((each) => each.change).join("\n"), 3)}
${
  known
    ? ""
    : `      if (fresh) {
${indent(firstScales(tile, fragments, names, phase, k, first), 4)}
        fresh = false;
      }
`
}${indent(operands.map((each) => each.store).join("\n"), 3)}
      workgroupBarrier();
      next += ${step};
      if (${more("next")}) {
${indent(load, 4)}
      }
${indent(products(tile, fragments, operands, phase), 3)}
      workgroupBarrier();
    }
  }
${after ? indent(afterwards(tile, fragments, strips, { ...phase, after }, known)) : ""}
${early ? indent(earlySums(tile, fragments, strips, early, known)) : ""}
}`;
  const whole = loop
    ? `${loop.before ? `${loop.before(strips)}\n` : ""}for (var ${loop.variable} = 0; ${loop.variable} < ${loop.count}; ${loop.variable}++) {\n${indent(`${loop.setup}\n${text}`)}\n}`
    : `${text}${known && phase.fixed ? `\n${sumsAfterCopies(fragments, names, k)}` : ""}`;
  if (known) return `{\n${indent(ownScales(k, phase.alone))}\n${indent(whole)}\n}`;
  return `{
  var aLargest = 0.0;
  var bLargest = 0.0;
  var fresh = true;
${indent(whole)}
${indent(reportLargest(tile, fragments, k))}
}`;
}

/** The products of a slice, for the block of each subgroup: written once, or once for each. */
function products(
  tile: PlacedTile,
  fragments: FragmentTexts,
  operands: readonly [SliceTexts, SliceTexts],
  { causal, beyond }: Pick<Phase, "causal" | "beyond">,
): string {
  if (tile.inBlocks) {
    const { rows, columns } = tile.block;
    const text = range(tile.depth / FRAGMENT)
      .map((step) => blockProducts(tile, fragments, operands, { step, row: "blockRow", column: "blockColumn" }, causal))
      .join("\n");
    const outside =
      beyond?.side === "above" ? `blockRow + ${rows} <= blockColumn` : `blockColumn + ${columns} <= blockRow`;
    return beyond ? `if ((${beyond.when}) | !(${outside})) {\n${indent(text)}\n}` : text;
  }
  const across = tile.columns / tile.block.columns;
  const cases = range(matrixThreads(tile) / 32).map((q) => {
    const [row, column] = [Math.floor(q / across) * tile.block.rows, (q % across) * tile.block.columns];
    const steps = range(tile.depth / FRAGMENT).map((step) =>
      blockProducts(tile, fragments, operands, { step, row, column }, causal),
    );
    const outside =
      beyond?.side === "above"
        ? row + tile.block.rows <= column
        : beyond?.side === "below"
          ? column + tile.block.columns <= row
          : false;
    const text = outside ? `if (${beyond!.when}) {\n${indent(steps.join("\n"))}\n}` : steps.join("\n");
    return `  ${q === 0 ? "default" : `case ${q}`} {\n${indent(text, 2)}\n  }`;
  });
  return `switch own {\n${cases.join("\n")}\n}`;
}

interface BlockStep {
  readonly step: number;
  /** Of the subgroup's block in the tile; texts where slices lie in blocks. */
  readonly row: number | string;
  readonly column: number | string;
}

function blockProducts(
  { block, terms, blockLength = 0 }: PlacedTile,
  fragments: FragmentTexts,
  [A, B]: readonly [SliceTexts, SliceTexts],
  { step, row, column }: BlockStep,
  causal: Phase["causal"],
): string {
  const [down, along] = [range(block.rows / FRAGMENT), range(block.columns / FRAGMENT)];
  const place = (slice: SliceTexts, name: string, part: number, line: number | string, k: number): number | InBlock =>
    typeof line === "number"
      ? slice.fragmentAt(part, step, line + FRAGMENT * k)
      : {
          block: `${name} + ${slice.firstBlock(part)}u`,
          at: slice.fragmentAt(part, step, FRAGMENT * k),
          length: blockLength,
        };
  const left = (part: number, i: number): string =>
    fragments.load(
      "left",
      A.alongDepth ? "row_major" : "col_major",
      "tiles",
      place(A, "aBlock", part, row, i),
      A.pitch,
    );
  const right = (part: number, j: number): string =>
    fragments.load(
      "right",
      B.alongDepth ? "col_major" : "row_major",
      "tiles",
      place(B, "bBlock", part, column, j),
      B.pitch,
    );
  const add = (i: number, j: number, x: string, y: string): string =>
    `m${i}_${j} = ${fragments.multiply(`${x}${i}`, `${y}${j}`, `m${i}_${j}`)};`;
  const rights = [
    ...along.map((j) => `let b${j} = ${right(0, j)};`),
    ...(terms === 3 ? along.map((j) => `let d${j} = ${right(1, j)};`) : []),
  ];
  const rowOf = (i: number): string[] => [
    `let a${i} = ${left(0, i)};`,
    ...(terms === 3
      ? [`let g${i} = ${left(1, i)};`, ...along.flatMap((j) => [add(i, j, "g", "b"), add(i, j, "a", "d")])]
      : []),
    ...along.map((j) => add(i, j, "a", "b")),
  ];
  // all of the block's rows are before the step, or behind it
  const needed =
    causal === "earlier"
      ? `if (begin + ${step * FRAGMENT} < r0 + ${typeof row === "number" ? row + block.rows : `${row} + ${block.rows}`}) `
      : causal === "later"
        ? `if (begin + ${step * FRAGMENT + FRAGMENT - 1} >= r0 + ${row}) `
        : "";
  return needed + inBlock([...rights, ...down.flatMap(rowOf)].join("\n"));
}

/** The sums of a thread in a strip of its block. */
function stripSums({ block }: MatrixTile, i: number): SumNames {
  const quads = block.columns / 4;
  const column = "(blockColumn + 4 * quad)";
  const all = range((FRAGMENT * quads) / 32).map((n) => ({
    name: `s${i}_${n}`,
    row: `(blockRow + ${FRAGMENT * i + n * (32 / quads)} + stripRow)`,
    column,
  }));
  return {
    all,
    rows: all.map(({ name, row }) => ({ row, names: [name], columns: [column] })),
    total: (name) => `total_${name}`,
    inTurn: (text) => text,
  };
}

/** Factors that undo the scales: two, since the inverse of both may be no number where the result is one. */
const inverse = (known: boolean): string => `let undo = 254 - ${known ? "total" : "scales.x - scales.y"};
let undoHalf = bitcast<f32>((127 + undo / 2) << 23u);
let undoRest = bitcast<f32>((127 + undo - undo / 2) << 23u);`;

/** A vector of the subgroup's strip; and the place of the first of a fragment. */
const inStrip = ({ inBlocks }: MatrixTile, at: string): string => `tiles[strip${inBlocks ? "][" : " + "}${at}]`;
const stripPlace = (tile: PlacedTile, at: number): string | InBlock =>
  tile.inBlocks ? { block: "u32(strip)", at, length: tile.blockLength! } : `u32(strip + ${at})`;

/** A strip of sums through workgroup memory to the threads, and what they do with it. */
function brought(tile: PlacedTile, fragments: FragmentTexts, sums: SumNames, i: number, then: string): string {
  const quads = tile.block.columns / 4;
  const stores = fragmentsOf(tile)
    .filter(({ row }) => row === i)
    .map(({ name, column }) =>
      fragments.store("tiles", stripPlace(tile, (column * FRAGMENT) / 4), name, `${stripPitch(tile)}u`),
    );
  const reads = sums.all.map(
    ({ name }, n) =>
      `var ${name} = bitcast<vec4<f32>>(${inStrip(tile, `(stripRow + ${n * (32 / quads)}) * ${stripPitch(tile)} + quad`)}) * undoHalf * undoRest;`,
  );
  return `${stores.join("\n")}
workgroupBarrier();
${reads.join("\n")}
${then}`;
}

/** After a product in a loop: the sums are taken and begin anew. */
function afterwards(
  tile: PlacedTile,
  fragments: FragmentTexts,
  strips: readonly SumNames[],
  { after, afterAll, keeps }: Pick<Phase, "afterAll" | "keeps"> & { after(sums: SumNames): string },
  known: boolean,
): string {
  const texts = strips.map((strip, i) =>
    inBlock(`${brought(tile, fragments, strip, i, after(strip))}\nworkgroupBarrier();`),
  );
  return `${inverse(known)}
${texts.join("\n")}
${afterAll ? `${afterAll}\nworkgroupBarrier();\n` : ""}${
    keeps
      ? ""
      : fragmentsOf(tile)
          .map(({ name }) => `${name} = ${fragments.zero};`)
          .join("\n")
  }`;
}

/** Sums of rows while the sums of products go on. */
function earlySums(
  tile: PlacedTile,
  fragments: FragmentTexts,
  strips: readonly SumNames[],
  rowSums: RowSums,
  known: boolean,
): string {
  const texts = strips.map((strip, i) =>
    inBlock(
      `${brought(tile, fragments, strip, i, partialSums(tile, strip.rows, rowSums, "partialBefore"))}\nworkgroupBarrier();`,
    ),
  );
  return `${inverse(known)}\n${texts.join("\n")}`;
}

/** Sums of a strip's rows over the block's columns, by way of the places that the sums had. */
function partialSums(tile: MatrixTile, rows: SumNames["rows"], { each }: RowSums, to: string): string {
  const quads = tile.block.columns / 4;
  const across = tile.columns / tile.block.columns;
  const pitch = stripPitch(tile);
  const written = rows.map(
    (row, n) =>
      `${inStrip(tile, `(stripRow + ${n * (32 / quads)}) * ${pitch} + quad`)}.x = bitcast<u32>(${each(row)});`,
  );
  const first = rows[0]!.row.replace(" + stripRow", " + lane % 32");
  return `${written.join("\n")}
workgroupBarrier();
if (lane % 32 < ${FRAGMENT}) {
  var sum = 0.0;
  for (var q = 0; q < ${quads}; q++) { sum += bitcast<f32>(${inStrip(tile, `lane % 32 * ${pitch} + q`)}.x); }
  ${to}[${first} * ${across} + blockColumn / ${tile.block.columns}] = sum;
}
`;
}

function rowsTogether(tile: MatrixTile, { use, early }: RowSums): string {
  const across = tile.columns / tile.block.columns;
  const sum = (name: string): string =>
    `(${range(across)
      .map((k) => `${name}[row * ${across} + ${k}]`)
      .join(" + ")})`;
  return `workgroupBarrier();
for (var row = lane; row < ${tile.rows}; row += ${matrixThreads(tile)}) {
${indent(use("row", sum("partial"), early ? sum("partialBefore") : "0.0"))}
}`;
}
