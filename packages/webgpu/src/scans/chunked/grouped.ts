/**
 * Products with the states over the values of many heads that share their keys: the gradients of keys and queries,
 *
 *     r_t = sum over heads c_t e_t (x_t S^T) + sum over j of M(t, j) z_j,    M(t, j) = sum over heads c_t L(t, j) s_j (x_t . y_j).
 */
import type { Operand } from "@seqmix/tensor/backend";
import { indent, type GpuPass } from "@seqmix/tensor/wgsl";
import {
  distinct,
  baseText,
  BLOCK,
  declarations,
  isRagged,
  numberText,
  passOf,
  pointsOf,
  readState,
  readVector,
  splitHeads,
  stateFunctions,
  strideOf,
  tableAt,
  vectorsOf,
  type Chunks,
  type Place,
} from "./layout.js";
import { decayModule, loadDecays } from "./read.js";
import { boundStates } from "./reading.js";
import { MAGNITUDE_FUNCTIONS, magnitudeAt, magnitudeOf } from "./magnitudes.js";
import { scoreText, undone } from "./matrix-read.js";
import type { Told } from "./reading.js";
import { columnShare, columnSharesModule, lineTotals, rowShare, rowSharesModule } from "./row-shares.js";
import { scoreHeads, scoreSize, type Score } from "./scores.js";
import { shaderOf } from "./matrix-tile.js";
import { isMatrixTile, threadsOf, type MatrixTile, type SumNames } from "./tile.js";

export interface Group {
  /** The axis of heads that is summed. */
  readonly axis: number;
  /** Parts it is cut into, whose sums are added afterwards. */
  readonly parts: number;
}

/** The heads without the group's axis. */
export const outerHeads = ({ parts }: Chunks, { axis }: Group): readonly number[] =>
  parts.form.heads.filter((head) => head !== axis);

/** Factors of a step, by head: one of the outer products' scales, an operand's, or 1. */
export type Factor = "drive" | "seed" | { readonly operand: Operand } | undefined;

/** Statements that declare the group's head and where it begins: number \`hh\` of this part. */
const enterHead = (chunks: Chunks, { axis, parts }: Group): string => {
  const { extents } = chunks;
  return `let i${axis} = part * ${extents[axis]! / parts} + hh;
let h = ${numberText(chunks, chunks.parts.form.heads)};
let fromTable = ${tableAt(chunks, "c", 4)};`;
};

export interface GroupedScores {
  readonly later: Operand;
  readonly earlier: Operand;
  readonly laterFactor: Factor;
  readonly earlierFactor: Factor;
}

/** Sums over rows and columns of each head's pairs of steps times their scores, without those of a step with itself. */
export interface PairSums {
  /** The products of keys and queries [heads of the score, chunks, later step, earlier step], and what their pass tells. */
  readonly score: Score;
  readonly buffer: number;
  readonly told: Told | undefined;
  /** [heads, tiles across, steps], and [heads, tiles down, steps]. */
  readonly rows: number;
  readonly columns: number;
}

/** M [parts, heads without the group, chunks, later step, earlier step], on and below the diagonal. */
export function groupedScoresPass(
  chunks: Chunks,
  group: Group,
  { later, earlier, laterFactor, earlierFactor }: GroupedScores,
  table: number,
  to: number,
  sums?: PairSums,
): GpuPass {
  const { Q, L, count, V, operands, sizes, fragments } = chunks;
  const shape = sizes.groupedScores ?? sizes.scores;
  const heads = outerHeads(chunks, group);
  const points = pointsOf(chunks, heads);
  const [down, across] = [Q / shape.rows, Q / shape.columns];
  const tiles = Array.from({ length: down * across }, (_, k) => [Math.floor(k / across), k % across] as const).filter(
    ([row, column]) => (row + 1) * shape.rows > column * shape.columns,
  );
  const places = { a: operands.get(later)!, b: operands.get(earlier)! };
  const mosts = [later, earlier].map((of) => magnitudeOf(chunks, of, "h", "c"));
  const knows = isMatrixTile(shape) && mosts.every((most) => most !== undefined);
  const extra = [laterFactor, earlierFactor].flatMap((factor) =>
    typeof factor === "object" ? [operands.get(factor.operand)!.buffer] : [],
  );
  const bound = distinct([
    { name: "a", buffer: places.a.buffer, type: vectorsOf(places.a) },
    { name: "b", buffer: places.b.buffer, type: vectorsOf(places.b) },
    { name: "table", buffer: table, type: "vec4<f32>" },
    ...extra.map((buffer) => ({ name: `weights${buffer}`, buffer, type: "f32" }) as const),
    ...(knows ? [{ name: "magnitudes", buffer: chunks.magnitudes!, type: "f32" } as const] : []),
    { name: "scores", buffer: to, type: "vec4<f32>", access: "read_write" },
    ...(sums
      ? ([
          { name: "ofKeys", buffer: sums.buffer, type: chunks.halfScores ? "vec2<u32>" : "vec4<f32>" },
          ...(sums.told ? [{ name: "told", buffer: sums.told.buffer, type: "vec2<f32>" } as const] : []),
          { name: "rowSums", buffer: sums.rows, type: "f32", access: "read_write" },
          { name: "columnSums", buffer: sums.columns, type: "f32", access: "read_write" },
        ] as const)
      : []),
  ]);
  const factorText = (factor: Factor, step: string): string => {
    if (factor === undefined) return "1.0";
    if (typeof factor === "string") return `table[fromTable + (${chunks.table[factor]} + ${step}) / 4][(${step}) % 4]`;
    const place = operands.get(factor.operand)!;
    return `${bound.nameOf(place.buffer)}[${baseText(chunks, place, 1)} + min(t0 + ${step}, ${L - 1}) * ${strideOf(chunks, place, 1)}]`;
  };
  const operand = (name: "a" | "b") => ({
    along: "depth" as const,
    load: (line: string, at: string) =>
      readVector(
        places[name],
        `${bound.nameOf(places[name].buffer)}[${name}At + ${line} * ${strideOf(chunks, places[name], 4)} + ${at}]`,
      ),
    ...(V % shape.depth !== 0 && {
      change: (value: string, _: string, at: string) => `select(vec4<f32>(), ${value}, ${at} < ${V})`,
    }),
    ...(isRagged(chunks) && { lines: `${L} - t0 - ${name === "a" ? "firstRow" : "firstColumn"}` }),
  });
  const groups = group.parts * points * count * tiles.length;
  const start = (name: "a" | "b", first: string): string =>
    `let ${name}At = ${baseText(chunks, places[name], 4)} + (t0 + ${first}) * ${strideOf(chunks, places[name], 4)};`;
  const constants = (name: string, k: 0 | 1): string =>
    `const ${name} = array<i32, ${tiles.length}>(${tiles.map((tile) => tile[k]).join(", ")});\n`;
  const { extents } = chunks;
  const enter = enterHead(chunks, group);
  const heading = `${start("a", "firstRow")}
${start("b", "firstColumn")}`;
  const decayed = isMatrixTile(shape)
    ? factorsOfBlocks(chunks, shape, {
        later: (step) => factorText(laterFactor, step),
        earlier: (step) => factorText(earlierFactor, step),
        sums: sums && addPairs(shape),
      })
    : undefined;
  const code = shaderOf(shape, fragments, {
    module: `${declarations(bound.list)}${knows ? MAGNITUDE_FUNCTIONS : ""}${decayed ? decayed.module : decayModule(chunks, false)}${sums ? `${rowSharesModule(shape as MatrixTile)}${columnSharesModule(shape as MatrixTile)}${stateFunctions(chunks)}` : ""}${constants("tileRows", 0)}${constants("tileColumns", 1)}`,
    setup: `let at = i32(group);
if (at >= ${groups}) { return; }
var downs = tileRows;
var acrosses = tileColumns;
let firstRow = downs[at % ${tiles.length}] * ${shape.rows};
let firstColumn = acrosses[at % ${tiles.length}] * ${shape.columns};
let c = at / ${tiles.length} % ${count};
let point = at / ${tiles.length * count} % ${points};
let part = at / ${tiles.length * count * points};
${splitHeads(chunks, "point", heads)}
let t0 = c * ${Q};
${
  knows
    ? `var laterMost = 0.0;
var earlierMost = 0.0;
for (var hh = 0; hh < ${extents[group.axis]! / group.parts}; hh++) {
${indent(enter)}
  laterMost = max(laterMost, ${mosts[0]});
  earlierMost = max(earlierMost, ${mosts[1]});
}`
    : ""
}`,
    totals: "alone",
    phases: [
      {
        known: knows ? { a: "scaleFor(exponentOf(laterMost))", b: "scaleFor(exponentOf(earlierMost))" } : undefined,
        ...(shape.rows === shape.columns && {
          beyond: { side: "above" as const, when: "firstRow > firstColumn" },
        }),
        begin: "0",
        end: String(V),
        a: operand("a"),
        b: operand("b"),
        afterAll: sums && pairSumsTold(chunks, shape as MatrixTile),
        loop: {
          variable: "hh",
          count: extents[group.axis]! / group.parts,
          ...(sums && { before: scoresOfPairs(chunks, sums) }),
          setup: `${enter}
${sums ? "var columnSum = vec4<f32>();" : ""}
workgroupBarrier();
${decayed ? decayed.load : loadDecays(chunks, threadsOf(shape), undefined)}
${heading}`,
        },
        // the sums of a head, times what decays between its steps
        after: decayed
          ? decayed.add
          : (names) =>
              weighedRows(
                names,
                (step) => factorText(laterFactor, step),
                earlierFactor && ((step) => factorText(earlierFactor, step)),
              ),
      },
    ],
    finish: ({ all, total }) =>
      all
        .map(
          ({ name, row, column }) =>
            `scores[((part * ${points} + point) * ${count} + c) * ${(Q * Q) / 4} + (firstRow + ${row}) * ${Q / 4} + (firstColumn + ${column}) / 4] = ${total(name)};`,
        )
        .join("\n"),
  });
  return passOf(chunks, bound.list, groups, code);
}

/** The sums of multiply-adds into the totals, times what decays between steps and the factors of these. */
const weighedRows = (
  { rows, total }: SumNames,
  later: (step: string) => string,
  earlier: ((step: string) => string) | undefined,
): string =>
  rows
    .map(
      ({ row, names, columns }) => `{
  let step = firstRow + ${row};
  let factor = ${later("step")};
${names
  .map((name, j) => {
    const column = `firstColumn + ${columns[j]}`;
    const own = earlier
      ? `vec4<f32>(${[0, 1, 2, 3].map((k) => earlier(`${column} + ${k}`)).join(", ")})`
      : "vec4<f32>(1.0)";
    return `  ${total(name)} += decayedRow(${name}, ${column}, step) * ${own} * factor;\n  ${name} = vec4<f32>();`;
  })
  .join("\n")}
}`,
    )
    .join("\n");

/** Factors of a head's pairs in workgroup memory: of rows and columns to their blocks' edges, of the blocks between, and of each pair within a block. */
function factorsOfBlocks(
  chunks: Chunks,
  tile: MatrixTile,
  {
    later,
    earlier,
    sums,
  }: {
    later(step: string): string;
    earlier(step: string): string;
    readonly sums: ((row: SumNames["rows"][0]) => string) | undefined;
  },
): { readonly module: string; readonly load: string; add(sums: SumNames): string } {
  const { Q, table } = chunks;
  const [down, across] = [tile.rows / BLOCK, tile.columns / BLOCK];
  const threads = threadsOf(tile);
  const number = (offset: string): string => `table[fromTable + (${offset}) / 4][(${offset}) % 4]`;
  const each = (total: number, text: string): string => `for (var f = lane; f < ${total}; f += ${threads}) { ${text} }`;
  return {
    module: `var<workgroup> rowFactors: array<f32, ${tile.rows}>;
var<workgroup> columnFactors: array<vec4<f32>, ${tile.columns / 4}>;
var<workgroup> betweens: array<f32, ${down * across}>;
var<workgroup> inBlock: array<vec4<f32>, ${(tile.rows * BLOCK) / 4}>;
`,
    load: `${each(tile.rows, `let step = firstRow + f; rowFactors[f] = ${number(`${table.fromBlock} + step`)} * ${later("step")};`)}
${each(
  tile.columns / 4,
  `let step = firstColumn + 4 * f; columnFactors[f] = table[fromTable + (${table.toBlock} + step) / 4] * vec4<f32>(${[0, 1, 2, 3].map((k) => earlier(`step + ${k}`)).join(", ")});`,
)}
${each(down * across, `betweens[f] = ${number(`${table.between} + (firstRow / ${BLOCK} + f / ${across}) * ${Q / BLOCK} + firstColumn / ${BLOCK} + f % ${across}`)};`)}
if (firstRow == firstColumn) {
  ${each(
    (tile.rows * BLOCK) / 4,
    `let row = firstRow + f / ${BLOCK / 4};
  let first = row / ${BLOCK} * ${BLOCK} + f % ${BLOCK / 4} * 4;
  inBlock[f] = table[fromTable + ${table.pairsBack / 4} + row * ${BLOCK / 4} + f % ${BLOCK / 4}] * vec4<f32>(${[0, 1, 2, 3].map((k) => earlier(`first + ${k}`)).join(", ")}) * ${later("row")};`,
  )}
}`,
    add: ({ rows, total }) =>
      rows
        .map(
          ({ row, names: [name], columns: [column], ...rest }) => `{
  let block = (firstRow + ${row}) / ${BLOCK};
  let other = (firstColumn + ${column}) / ${BLOCK};
  var f = vec4<f32>();
  if (block > other) {
    f = columnFactors[${column} / 4] * (rowFactors[${row}] * betweens[${row} / ${BLOCK} * ${across} + ${column} / ${BLOCK}]);
  } else if (block == other) {
    f = inBlock[${row} * ${BLOCK / 4} + ${column} / 4 % ${BLOCK / 4}];
  }
  ${
    sums
      ? `let weighed = timesFactors(${name}, f);
  ${total(name!)} += weighed;
  ${sums({ row, names: [name!], columns: [column!], ...rest })}`
      : `${total(name!)} += timesFactors(${name}, f);`
  }
}`,
        )
        .join("\n"),
  };
}

/** Scores of a thread's pairs, the same for all heads: of a later step with an earlier one. */
const scoresOfPairs =
  (chunks: Chunks, { score }: PairSums) =>
  (strips: readonly SumNames[]): string => {
    const { Q, count } = chunks;
    const lines = strips.flatMap(({ all }) =>
      all.map(({ name, row, column }) => {
        const [later, earlier] = [`(firstRow + ${row})`, `(firstColumn + ${column})`];
        const at = `ofKeys[scoreAt * ${scoreSize(chunks, score) / 4} + ${later} * ${Q / 4} + ${earlier} / 4]`;
        return `let score_${name} = select(vec4<f32>(), ${scoreText(chunks, at)}${undone(chunks, later, earlier)}, vec4<i32>(${earlier}) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(${later}));`;
      }),
    );
    return [`let scoreAt = ${numberText(chunks, scoreHeads(chunks, score))} * ${count} + c;`, ...lines].join("\n");
  };

/** A thread's four pairs of a head, times their scores, into the sums of rows and columns. */
const addPairs =
  (tile: MatrixTile) =>
  (of: SumNames["rows"][0]): string => `let pair = timesFactors(score_${of.names[0]}, weighed);
  ${rowShare(tile, of, "dot(pair, vec4<f32>(1.0))")}
  columnSum += pair;`;

/** A head's sums to memory. The tiles above the diagonal have none of their own: they are 0. */
function pairSumsTold(chunks: Chunks, tile: MatrixTile): string {
  const { Q, L } = chunks;
  const [down, across] = [Q / tile.rows, Q / tile.columns];
  const rowsTo = (k: string): string => `rowSums[(h * ${across} + ${k}) * ${L} + t0 + firstRow + line]`;
  const columnsTo = (k: string): string => `columnSums[(h * ${down} + ${k}) * ${L} + t0 + firstColumn + line]`;
  return `${columnShare(tile, "columnSum")}
workgroupBarrier();
${lineTotals(
  tile,
  `if (t0 + firstRow + line < ${L}) {
    ${rowsTo(`firstColumn / ${tile.columns}`)} = sum;
    if (firstRow == firstColumn) { for (var k = firstColumn / ${tile.columns} + 1; k < ${across}; k++) { ${rowsTo("k")} = 0.0; } }
  }`,
  `if (t0 + firstColumn + line < ${L}) {
    ${columnsTo(`firstRow / ${tile.rows}`)} = sum;
    if (firstRow == firstColumn) { for (var k = 0; k < firstRow / ${tile.rows}; k++) { ${columnsTo("k")} = 0.0; } }
  }`,
)}`;
}

export interface GroupedRead {
  readonly state: "current" | "adjoint";
  readonly x: Operand;
  readonly z: Operand;
  readonly weights: Factor;
  readonly buffers: { readonly states: number; readonly table: number; readonly scores: number };
  /** [parts, ...]: the result's layout, as often as there are parts. */
  readonly to: Place;
  readonly size: number;
}

/** Rows of keys [parts, result]. */
export function groupedReadPass(
  chunks: Chunks,
  group: Group,
  { state, x, z, weights, buffers, to, size }: GroupedRead,
): GpuPass {
  const { Q, L, count, K, V, V4, operands, sizes, table, fragments } = chunks;
  const reverse = state === "adjoint";
  const shape = K > 64 ? (sizes.grouped ?? sizes.wide) : sizes.narrow;
  const tiles = Math.ceil(K / shape.columns);
  const rowTiles = Q / shape.rows;
  const heads = outerHeads(chunks, group);
  const points = pointsOf(chunks, heads);
  const places = { x: operands.get(x)!, z: operands.get(z)! };
  const weighing = typeof weights === "object" ? operands.get(weights.operand)! : undefined;
  const bounds = isMatrixTile(shape) ? boundsText(chunks, group, { state, x, z, weights }) : undefined;
  const bound = distinct([
    { name: "x", buffer: places.x.buffer, type: vectorsOf(places.x) },
    { name: "z", buffer: places.z.buffer, type: vectorsOf(places.z) },
    ...boundStates(chunks, buffers.states),
    { name: "table", buffer: buffers.table, type: "vec4<f32>" },
    { name: "scores", buffer: buffers.scores, type: "vec4<f32>" },
    ...(weighing ? [{ name: "weights", buffer: weighing.buffer, type: "f32" } as const] : []),
    { name: "found", buffer: to.buffer, type: "vec4<f32>", access: "read_write" },
  ]);
  const valid = isRagged(chunks) ? `min(${Q}, ${L} - t0)` : String(Q);
  const inside = (value: string, depth: string): string =>
    isRagged(chunks) ? `select(vec4<f32>(), ${value}, t0 + ${depth} < ${L})` : value;
  const short = (value: string, depth: string): string =>
    V % shape.depth === 0 ? value : `select(vec4<f32>(), ${value}, ${depth} < ${V})`;
  const fourFactors = (line: string): string => {
    const decay = `table[fromTable + (${reverse ? table.toEnd : table.before} + r0) / 4 + ${line}]`;
    if (weights === undefined) return decay;
    if (typeof weights === "string") return `(${decay} * table[fromTable + (${table[weights]} + r0) / 4 + ${line}])`;
    const own = [0, 1, 2, 3].map(
      (k) =>
        `${bound.nameOf(weighing!.buffer)}[${baseText(chunks, weighing!, 1)} + min(t0 + r0 + 4 * ${line} + ${k}, ${L - 1}) * ${strideOf(chunks, weighing!, 1)}]`,
    );
    return `(${decay} * vec4<f32>(${own.join(", ")}))`;
  };
  const groups = group.parts * points * count * rowTiles * tiles;
  const pairsAt = `(point * ${count} + c) * ${(Q * Q) / 4}`;
  const columns = "vec4<i32>(0, 1, 2, 3)";
  const shortColumns = K % shape.columns === 0 ? {} : { lines: `${K} - columnTile * ${shape.columns}` };
  const code = shaderOf(shape, fragments, {
    module: declarations(bound.list) + (bounds ? MAGNITUDE_FUNCTIONS : "") + stateFunctions(chunks),
    setup: `let at = i32(group);
if (at >= ${groups}) { return; }
let columnTile = at % ${tiles};
let rowTile = at / ${tiles} % ${rowTiles};
let c = at / ${tiles * rowTiles} % ${count};
let point = at / ${tiles * rowTiles * count} % ${points};
let part = at / ${tiles * rowTiles * count * points};
${splitHeads(chunks, "point", heads)}
let t0 = c * ${Q};
let r0 = rowTile * ${shape.rows};
let zAt = ${baseText(chunks, places.z, 4)} + t0 * ${strideOf(chunks, places.z, 4)} + columnTile * ${shape.columns / 4};
${bounds ?? ""}`,
    phases: [
      {
        known: bounds ? { a: "scaleFor(exponentOf(weighedMost))", b: "ofStates" } : undefined,
        begin: "0",
        end: String(V),
        loop: {
          variable: "hh",
          count: chunks.extents[group.axis]! / group.parts,
          setup: `${enterHead(chunks, group)}
let xAt = ${baseText(chunks, places.x, 4)} + (t0 + r0) * ${strideOf(chunks, places.x, 4)};
let sAt = (h * ${count} + c) * ${K * V4} + columnTile * ${shape.columns * V4};
${chunks.halfStates ? `let ofState = inversePower(${magnitudeAt(chunks, state, "before", "h", "c")});` : ""}`,
        },
        a: {
          along: "depth",
          load: (line, depth) => readVector(places.x, `x[xAt + ${line} * ${strideOf(chunks, places.x, 4)} + ${depth}]`),
          change: (value, _, depth) => short(value, depth),
          factors: fourFactors,
          ...(isRagged(chunks) && { lines: `${L} - t0 - r0` }),
        },
        b: {
          along: "depth",
          load: (line, depth) => readState(chunks, `states[sAt + ${line} * ${V4} + ${depth}]`),
          ...(chunks.halfStates && { weight: () => "ofState" }),
          change: (value, _, depth) => short(value, depth),
          ...shortColumns,
        },
      },
      {
        known: bounds ? { a: "scaleFor(exponentOf(pairsMost))", b: "scaleFor(exponentOf(keysMost))" } : undefined,
        begin: reverse ? "r0" : "0",
        end: `select(0, ${reverse ? valid : `min(${valid}, r0 + ${shape.rows})`}, part == 0)`,
        causal: reverse ? "later" : "earlier",
        backwards: !reverse,
        a: reverse
          ? {
              along: "lines",
              load: (line, depth) => `scores[${pairsAt} + min(${depth}, ${Q - 1}) * ${Q / 4} + r0 / 4 + ${line}]`,
              change: (value, line, depth) =>
                inside(
                  `select(vec4<f32>(), ${value}, vec4<i32>(r0 + 4 * ${line}) + ${columns} <= vec4<i32>(${depth}))`,
                  depth,
                ),
            }
          : {
              along: "depth",
              load: (line, depth) => `scores[${pairsAt} + (r0 + ${line}) * ${Q / 4} + min(${depth}, ${Q / 4 - 1})]`,
              change: (value, line, depth, turned) =>
                turned
                  ? inside(
                      `select(vec4<f32>(), ${value}, vec4<i32>(r0 + 4 * ${line}) + ${columns} >= vec4<i32>(${depth}))`,
                      depth,
                    )
                  : `select(vec4<f32>(), ${value}, vec4<i32>(4 * ${depth}) + ${columns} <= vec4<i32>(min(r0 + ${line}, ${valid} - 1)))`,
            },
        b: {
          along: "lines",
          load: (line, depth) =>
            readVector(
              places.z,
              `${bound.nameOf(places.z.buffer)}[zAt + ${depth} * ${strideOf(chunks, places.z, 4)} + ${line}]`,
            ),
          change: (value, _, depth) => inside(value, depth),
          ...shortColumns,
        },
      },
    ],
    finish: ({ all }) => storedRows(chunks, { to, size, valid, columns: shape.columns }, all),
  });
  return passOf(chunks, bound.list, groups, code);
}

/** What the operands of a read are at most, over the heads that are summed. */
function boundsText(
  chunks: Chunks,
  group: Group,
  { state, x, z, weights }: Pick<GroupedRead, "state" | "x" | "z" | "weights">,
): string | undefined {
  const { V, table, parts, extents } = chunks;
  const { drive, seed } = parts;
  const ofX = magnitudeOf(chunks, x, "h", "c");
  const ofZ = magnitudeOf(chunks, z, "h", "c");
  // pairs of steps are of x and the other side's values
  const other = state === "current" ? drive.values : seed!.values;
  const ofOther = magnitudeOf(chunks, other, "h", "c");
  if (ofX === undefined || ofZ === undefined || ofOther === undefined || typeof weights === "object") return undefined;
  const heads = extents[group.axis]!;
  const weight = weights === undefined ? "1.0" : `mosts.${weights === "drive" ? "y" : "z"}`;
  const otherWeight = state === "current" ? (drive.scale ? "mosts.y" : "1.0") : seed!.scale ? "mosts.z" : "1.0";
  return `var weighedMost = 0.0;
var pairsMost = 0.0;
var keysMost = 0.0;
var ofStates = 253;
for (var hh = 0; hh < ${heads}; hh++) {
  let i${group.axis} = hh;
  let h = ${numberText(chunks, parts.form.heads)};
  let mosts = table[${tableAt(chunks, "c", 4)} + ${table.most / 4}];
  let weighed = ${ofX} * mosts.x * ${weight};
  if (hh / ${heads / group.parts} == part) {
    weighedMost = max(weighedMost, weighed);
    ofStates = min(ofStates, i32(bitcast<u32>(${magnitudeAt(chunks, state, "before", "h", "c")}) >> 23u));
  }
  pairsMost += weighed * ${ofOther} * ${otherWeight} * ${V}.0;
  keysMost = ${ofZ};
}`;
}

/** Stores a tile's rows and columns as far as they are there. */
const storedRows = (
  chunks: Chunks,
  { to, size, valid, columns }: Pick<GroupedRead, "to" | "size"> & { readonly valid: string; readonly columns: number },
  all: SumNames["all"],
): string => `let foundAt = part * ${size / 4} + ${baseText(chunks, to, 4)} + (t0 + r0) * ${strideOf(chunks, to, 4)};
${all
  .map(
    ({ name, row, column }) => `{
  let row = ${row};
  let column = columnTile * ${columns} + ${column};
  if ((r0 + row < ${valid}) & (column < ${4 * chunks.K4})) { found[foundAt + row * ${strideOf(chunks, to, 4)} + column / 4] = ${name}; }
}`,
  )
  .join("\n")}`;
