/**
 * WGSL of a tile of a sum of products on matrix units, as `tile.ts` writes it for multiply-adds: a subgroup of 32 threads has a
 * block of the tile as fragments of 16 x 16. Operands are f16 in workgroup memory: one number for each of f32, or two, of
 * which three products are taken. The sums go through workgroup memory to the threads, a strip of 16 rows at a time.
 */
import { entryPoint, indent } from "@seqmix/tensor/wgsl";
import { FRAGMENT, type FragmentTexts } from "@seqmix/tensor/wgsl";
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
  type SliceTexts,
} from "./matrix-slices.js";
import {
  isMatrixTile,
  matrixThreads,
  tileShader,
  TIMES_FACTORS,
  type MatrixTile,
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

/** Bytes of workgroup memory at most. */
export function matrixTileBytes(tile: MatrixTile): number {
  const slice = (lines: number): number =>
    Math.max(sliceVectors(lines, tile.depth, "depth"), sliceVectors(lines, tile.depth, "lines"));
  const slices = (tile.terms === 3 ? 2 : 1) * (slice(tile.rows) + slice(tile.columns));
  const subgroups = matrixThreads(tile) / 32;
  // two phases' largest numbers
  return 16 * Math.max(slices, subgroups * stripVectors(tile)) + 16 * subgroups + 4;
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
  tile: MatrixTile,
  fragments: FragmentTexts,
  { module, setup, phases, totals, rowSums, finish }: TileText,
): string {
  const all = fragmentsOf(tile);
  const names = all.map(({ name }) => name);
  const threads = matrixThreads(tile);
  const across = tile.columns / tile.block.columns;
  const parts = tile.terms === 3 ? 2 : 1;
  const size = (operand: "a" | "b"): number =>
    Math.max(
      ...phases.map((phase) =>
        sliceVectors(operand === "a" ? tile.rows : tile.columns, tile.depth, phase[operand].along),
      ),
    );
  const [aSize, bSize] = [size("a"), size("b")];
  const both = aSize + bSize;
  const known = phases.every((phase) => phase.known !== undefined);
  const measured = phases.some(({ a, b }) => [a, b].some((operand) => operand.measured));
  const strips = range(tile.block.rows / FRAGMENT).map((i) => stripSums(tile, i));
  const placed = (phase: Phase): readonly [SliceTexts, SliceTexts] => [
    sliceTexts(
      "a",
      phase.a,
      tile,
      range(parts).map((p) => p * both),
      !known,
    ),
    sliceTexts(
      "b",
      phase.b,
      tile,
      range(parts).map((p) => p * both + aSize),
      !known,
    ),
  ];
  const early = rowSums?.early ? rowSums : undefined;
  const taken = phases.map((phase, k) =>
    phaseText(tile, fragments, phase, placed(phase), { k, known, strips, early: k === 0 ? early : undefined }),
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
let strip = own * ${stripVectors(tile)};
let quad = lane % ${tile.block.columns / 4};
let stripRow = lane % 32 / ${tile.block.columns / 4};
${[...names.map((name) => `var ${name} = ${fragments.zero};`), ...allTotals.map((name) => `var ${name}: vec4<f32>;`)].join("\n")}
${measured ? "var aMeasured = 0.0;\nvar bMeasured = 0.0;\n" : ""}${known ? `${knownScales(phases)}\n${taken.join("\n")}${measured ? `\n${reportMeasured(tile, fragments, phases.length)}\nworkgroupBarrier();` : ""}` : attempts}
${totals === "alone" ? "" : inverse(known)}
${ends.join("\n")}
${rowSums ? rowsTogether(tile, rowSums) : ""}`;
  const subgroups = threads / 32;
  return `${fragments.directives}${module}${TIMES_FACTORS}var<workgroup> tiles: array<vec4<u32>, ${Math.max(parts * both, subgroups * stripVectors(tile))}>;
${known && !measured ? "" : scalesModule(tile, fragments, phases.length + (measured ? 1 : 0))}${[...(rowSums ? ["partial"] : []), ...(early ? ["partialBefore"] : [])].map((name) => `var<workgroup> ${name}: array<f32, ${tile.rows * across}>;\n`).join("")}${fragments.declare("tiles")}${splitFunctions}${entryPoint(threads, body, fragments.builtin)}`;
}

/** One product into the sums. */
function phaseText(
  tile: MatrixTile,
  fragments: FragmentTexts,
  phase: Phase,
  operands: readonly [SliceTexts, SliceTexts],
  {
    k,
    known,
    strips,
    early,
  }: {
    readonly k: number;
    readonly known: boolean;
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
${indent(firstScales(tile, fragments, names, phase, k), 4)}
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
${after ? indent(afterwards(tile, fragments, strips, after, known)) : ""}
${early ? indent(earlySums(tile, fragments, strips, early, known)) : ""}
}`;
  const whole = loop
    ? `for (var ${loop.variable} = 0; ${loop.variable} < ${loop.count}; ${loop.variable}++) {\n${indent(`${loop.setup}\n${text}`)}\n}`
    : text;
  if (known) return `{\n${indent(ownScales(k))}\n${indent(whole)}\n}`;
  return `{
  var aLargest = 0.0;
  var bLargest = 0.0;
  var fresh = true;
${indent(whole)}
${indent(reportLargest(tile, fragments, k))}
}`;
}

/** The products of a slice, for the block of each subgroup. */
function products(
  tile: MatrixTile,
  fragments: FragmentTexts,
  operands: readonly [SliceTexts, SliceTexts],
  { causal, beyond }: Pick<Phase, "causal" | "beyond">,
): string {
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
  /** Of the subgroup's block in the tile. */
  readonly row: number;
  readonly column: number;
}

function blockProducts(
  { block, terms }: MatrixTile,
  fragments: FragmentTexts,
  [A, B]: readonly [SliceTexts, SliceTexts],
  { step, row, column }: BlockStep,
  causal: Phase["causal"],
): string {
  const [down, along] = [range(block.rows / FRAGMENT), range(block.columns / FRAGMENT)];
  const left = (part: number, i: number): string =>
    fragments.load(
      "left",
      A.alongDepth ? "row_major" : "col_major",
      "tiles",
      A.fragmentAt(part, step, row + FRAGMENT * i),
      A.pitch,
    );
  const right = (part: number, j: number): string =>
    fragments.load(
      "right",
      B.alongDepth ? "col_major" : "row_major",
      "tiles",
      B.fragmentAt(part, step, column + FRAGMENT * j),
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
      ? `if (begin + ${step * FRAGMENT} < r0 + ${row + block.rows}) `
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

/** A strip of sums through workgroup memory to the threads, and what they do with it. */
function brought(tile: MatrixTile, fragments: FragmentTexts, sums: SumNames, i: number, then: string): string {
  const quads = tile.block.columns / 4;
  const stores = fragmentsOf(tile)
    .filter(({ row }) => row === i)
    .map(({ name, column }) =>
      fragments.store("tiles", `u32(strip + ${(column * FRAGMENT) / 4})`, name, `${stripPitch(tile)}u`),
    );
  const reads = sums.all.map(
    ({ name }, n) =>
      `var ${name} = bitcast<vec4<f32>>(tiles[strip + (stripRow + ${n * (32 / quads)}) * ${stripPitch(tile)} + quad]) * undoHalf * undoRest;`,
  );
  return `${stores.join("\n")}
workgroupBarrier();
${reads.join("\n")}
${then}`;
}

/** After a product in a loop: the sums are taken and begin anew. */
function afterwards(
  tile: MatrixTile,
  fragments: FragmentTexts,
  strips: readonly SumNames[],
  after: (sums: SumNames) => string,
  known: boolean,
): string {
  const texts = strips.map((strip, i) =>
    inBlock(`${brought(tile, fragments, strip, i, after(strip))}\nworkgroupBarrier();`),
  );
  return `${inverse(known)}
${texts.join("\n")}
${fragmentsOf(tile)
  .map(({ name }) => `${name} = ${fragments.zero};`)
  .join("\n")}`;
}

/** Sums of rows while the sums of products go on. */
function earlySums(
  tile: MatrixTile,
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
    (row, n) => `tiles[strip + (stripRow + ${n * (32 / quads)}) * ${pitch} + quad].x = bitcast<u32>(${each(row)});`,
  );
  const first = rows[0]!.row.replace(" + stripRow", " + lane % 32");
  return `${written.join("\n")}
workgroupBarrier();
if (lane % 32 < ${FRAGMENT}) {
  var sum = 0.0;
  for (var q = 0; q < ${quads}; q++) { sum += bitcast<f32>(tiles[strip + lane % 32 * ${pitch} + q].x); }
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
