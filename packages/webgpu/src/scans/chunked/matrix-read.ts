/**
 * The pass of `read.ts` on matrix units. Of the pairs of steps those of different blocks of 16 are one product: what decays between
 * them is a factor of the later step (from its block's beginning), one of the earlier (to its block's end), and the decays of the
 * blocks between, by which the sums are multiplied as the blocks go by. So neither queries nor scores are multiplied by decays,
 * and heads that share both are columns of one tile. Pairs within a block are added in f32.
 */
import type { GpuPass } from "@seqmix/tensor/wgsl";
import {
  baseText,
  BLOCK,
  declarations,
  isRagged,
  keyDecayVectors,
  numberText,
  passOf,
  pointsOf,
  readVector,
  splitHeads,
  strideOf,
  tableAt,
  vectorsOf,
  type Bound,
  type Chunks,
  type Place,
} from "./layout.js";
import { shaderOf, stripRows } from "./matrix-tile.js";
import { columnsOf, partnerOf, type ReadPass } from "./reading.js";
import { scoreHeads, scoreSize } from "./scores.js";
import { distinct } from "./states.js";
import { matrixThreads, type MatrixTile, type OperandText, type Phase, type RowSums, type SumNames } from "./tile.js";

const range = (n: number): number[] => Array.from({ length: n }, (_, k) => k);

export function matrixReadPass(chunks: Chunks, read: ReadPass, tile: MatrixTile): GpuPass {
  const { Q, count, operands, parts, keyDecays, fragments } = chunks;
  const { heads } = parts.form;
  const { state, over, x, z, score, buffers, to, dots } = read;
  const { shared, inTile, tiles } = columnsOf(chunks, { over, x, partner: partnerOf(read) });
  const outer = heads.filter((axis) => axis !== shared);
  const places = { x: operands.get(x)!, z: operands.get(z)!, ...(dots && { w: operands.get(dots.with)! }) };
  const pairs = !(keyDecays && over === "values");
  const bound = distinct([
    { name: "x", buffer: places.x.buffer, type: vectorsOf(places.x) },
    { name: "z", buffer: places.z.buffer, type: vectorsOf(places.z) },
    ...(places.w ? [{ name: "w", buffer: places.w.buffer, type: vectorsOf(places.w) } as const] : []),
    { name: "states", buffer: buffers.states, type: "vec4<f32>" },
    ...(pairs ? [{ name: "scores", buffer: buffers.scores, type: "vec4<f32>" } as const] : []),
    { name: "table", buffer: buffers.table, type: "vec4<f32>" },
    ...(keyDecays
      ? [
          {
            name: "ofKeys",
            buffer: state === "adjoint" ? keyDecays.toEnd : keyDecays.before,
            type: "vec4<f32>",
          } as const,
        ]
      : []),
    ...(to ? [{ name: "found", buffer: to.buffer, type: "vec4<f32>", access: "read_write" } as const] : []),
    ...(dots ? [{ name: "dots", buffer: dots.to, type: "f32", access: "read_write" } as const] : []),
  ] satisfies Bound[]);
  const rowTiles = Q / tile.rows;
  const groups = pointsOf(chunks, outer) * count * rowTiles * tiles;
  const plan: ReadPlan = {
    chunks,
    read,
    tile,
    places,
    shared,
    inTile,
    tiles,
    pairs,
    nameOf: (place) => bound.nameOf(place.buffer),
  };
  const code = shaderOf(tile, fragments, {
    module: `${declarations(bound.list)}${pairs ? blockModule(plan) : ""}`,
    setup: `let at = i32(group);
if (at >= ${groups}) { return; }
let columnTile = at % ${tiles};
let rowTile = at / ${tiles} % ${rowTiles};
let c = at / ${tiles * rowTiles} % ${count};
let point = at / ${tiles * rowTiles * count};
${splitHeads(chunks, "point", outer)}
${shared === undefined ? "" : `let i${shared} = columnTile * ${plan.inTile};`}
let h = ${numberText(chunks, heads)};
let t0 = c * ${Q};
let r0 = rowTile * ${tile.rows};
let xAt = ${baseText(chunks, places.x, 4)} + (t0 + r0) * ${strideOf(chunks, places.x, 4)};
let zAt = ${baseText(chunks, places.z, 4)} + t0 * ${strideOf(chunks, places.z, 4)};
${places.w ? `let wAt = ${baseText(chunks, places.w, 4)} + (t0 + r0) * ${strideOf(chunks, places.w, 4)};` : ""}
${to ? `let foundAt = ${baseText(chunks, to, 4)} + (t0 + r0) * ${strideOf(chunks, to, 4)};` : ""}
let tAt = (${numberText(chunks, scoreHeads(chunks, score))} * ${count} + c) * ${scoreSize(chunks, score) / 4};
${pairs ? loadBlocks(plan) : ""}`,
    phases: pairs ? [withStates(plan), withPairs(plan)] : [withStates(plan)],
    ...(dots && { rowSums: rowDots(plan) }),
    finish: (sums) => finished(plan, sums),
  });
  return passOf(chunks, bound.list, groups, code);
}

interface ReadPlan {
  readonly chunks: Chunks;
  readonly read: ReadPass;
  readonly tile: MatrixTile;
  readonly places: { readonly x: Place; readonly z: Place; readonly w?: Place };
  /** The head's axis along the columns. */
  readonly shared: number | undefined;
  /** Heads of a tile. */
  readonly inTile: number;
  /** Tiles of columns. */
  readonly tiles: number;
  /** Whether pairs of steps are summed here. */
  readonly pairs: boolean;
  nameOf(place: Place): string;
}

/** Number of a head of the tile; what lies so many heads further; and a column within its head. */
function headText({ chunks, shared }: ReadPlan, head: string): string {
  if (shared === undefined) return "h";
  const { heads } = chunks.parts.form;
  return `(h + ${head} * ${pointsOf(chunks, heads.slice(heads.indexOf(shared) + 1))})`;
}
const headOffset = ({ shared }: ReadPlan, { index }: Place, head: string): string =>
  shared === undefined ? "" : ` + ${head} * ${index.coefficients[shared]! / 4}`;
/** @param four A column of the tile in units of four. */
function columnAt({ chunks: { V }, shared, tile }: ReadPlan, four: string): { head: string; column: string } {
  return shared === undefined
    ? { head: "0", column: `(columnTile * ${tile.columns / 4} + ${four})` }
    : { head: `(${four}) / ${V / 4}`, column: `(${four}) % ${V / 4}` };
}

const insideText = ({ chunks }: ReadPlan, value: string, step: string): string =>
  isRagged(chunks) ? `select(vec4<f32>(), ${value}, t0 + ${step} < ${chunks.L})` : value;

/** Four neighbours of an operand at a step of the chunk, or of the tile. */
function vectorAt(plan: ReadPlan, name: "z" | "w", step: string, four: string): string {
  const place = plan.places[name]!;
  const { head, column } = columnAt(plan, four);
  return readVector(
    place,
    `${plan.nameOf(place)}[${name}At + ${step} * ${strideOf(plan.chunks, place, 4)}${headOffset(plan, place, head)} + ${column}]`,
  );
}

/** Lines of the tile that are there: of columns, and of rows. */
function shortLines({ chunks, read, tile, shared }: ReadPlan): {
  readonly columns: Pick<OperandText, "lines">;
  readonly rows: Pick<OperandText, "lines">;
} {
  const { K, V, L } = chunks;
  const width = read.over === "keys" ? V : K;
  const short = shared === undefined && width % tile.columns > 0;
  return {
    columns: short ? { lines: `${width} - columnTile * ${tile.columns}` } : {},
    rows: isRagged(chunks) ? { lines: `${L} - t0 - r0` } : {},
  };
}

function withStates(plan: ReadPlan): Phase {
  const { chunks, read, places } = plan;
  const { K, V, V4, K4, count, keyDecays } = chunks;
  const { columns, rows } = shortLines(plan);
  const { over } = read;
  const stateAt = (four: string): { from: string; column: string } => {
    const { head, column } = columnAt(plan, four);
    return { from: `(${headText(plan, head)} * ${count} + c) * ${K * V4}`, column };
  };
  const ofKeys = (row: string, column: string): string =>
    keyDecays && over === "keys"
      ? ` * ofKeys[h * ${keyDecayVectors(chunks)} + (t0 + r0 + ${row}) * ${K4} + ${column}]`
      : "";
  return {
    begin: "0",
    end: String(over === "keys" ? K : V),
    a: {
      along: "depth",
      load: (line, depth) =>
        readVector(places.x, `${plan.nameOf(places.x)}[xAt + ${line} * ${strideOf(chunks, places.x, 4)} + ${depth}]`) +
        ofKeys(line, depth),
      ...rows,
    },
    b:
      over === "keys"
        ? {
            along: "lines",
            load: (line, depth) => {
              const { from, column } = stateAt(line);
              return `states[${from} + ${depth} * ${V4} + ${column}]`;
            },
            ...columns,
          }
        : {
            along: "depth",
            load: (line, depth) =>
              `states[(h * ${count} + c) * ${K * V4} + (columnTile * ${plan.tile.columns} + ${line}) * ${V4} + ${depth}]`,
            ...columns,
          },
  };
}

/** Pairs of steps in different blocks. */
function withPairs(plan: ReadPlan): Phase {
  const { chunks, read, tile } = plan;
  const { Q, table, parts, keyDecays } = chunks;
  const reverse = read.state === "adjoint";
  const factor = reverse ? table.seedFromBlock : table.driveToBlock;
  const valid = isRagged(chunks) ? `min(${Q}, ${chunks.L} - t0)` : String(Q);
  const { columns } = shortLines(plan);
  const decays = parts.form.decay.kind !== "none" && !keyDecays;
  const blocks = Q / BLOCK;
  return {
    begin: reverse ? "r0" : "0",
    end: reverse ? valid : `min(${valid}, r0 + ${tile.rows - BLOCK})`,
    causal: reverse ? "later" : "earlier",
    backwards: reverse,
    blocks: decays
      ? { decay: (block, column) => `wholes[${Math.floor(column / (tile.columns / plan.inTile)) * blocks} + ${block}]` }
      : {},
    a: {
      along: "lines",
      load: (line, depth) => `scores[tAt + ${depth} * ${Q / 4} + r0 / 4 + ${line}]`,
      // what is not computed may be anything
      change: (value, line, depth) =>
        `select(vec4<f32>(), ${value}, ${reverse ? `r0 + 4 * ${line} <= ${depth}` : `r0 + 4 * ${line} + 3 >= ${depth}`})`,
    },
    b: {
      along: "lines",
      load: (line, depth) => vectorAt(plan, "z", depth, line),
      change: (value, _, depth) => insideText(plan, value, depth),
      weight: (line, depth) => {
        const at = `${tableAt(chunks, "c", 4, headText(plan, columnAt(plan, line).head))} + (${factor} + ${depth}) / 4`;
        return `table[${at}][(${depth}) % 4]`;
      },
      ...columns,
    },
  };
}

/** Workgroup memory: decays of blocks, factors of rows, and of each pair within a block the score with all its factors. */
function blockModule({ chunks: { Q }, tile, inTile, read }: ReadPlan): string {
  return `var<workgroup> wholes: array<f32, ${(inTile * Q) / BLOCK}>;
var<workgroup> rowFactors: array<f32, ${inTile * tile.rows}>;
var<workgroup> owns: array<f32, ${inTile * tile.rows}>;
var<workgroup> inBlock: array<vec4<f32>, ${(inTile * tile.rows * BLOCK) / 4}>;
${read.dots ? `var<workgroup> ownPairs: array<f32, ${inTile * tile.rows}>;\n` : ""}`;
}

function loadBlocks(plan: ReadPlan): string {
  const { chunks, tile, inTile, read } = plan;
  const { Q, table } = chunks;
  const threads = matrixThreads(tile);
  const reverse = read.state === "adjoint";
  const blocks = Q / BLOCK;
  const { count, apart } = stripRows(tile);
  const number = (offset: string, head: string): string =>
    `table[${tableAt(chunks, "c", 4, headText(plan, head))} + (${offset}) / 4][(${offset}) % 4]`;
  const each = (total: number, text: string): string =>
    `for (var f = lane; f < ${total}; f += ${threads}) {\n${text}\n}`;
  // four rows of a thread at once: rows of a block lie in the order in which threads have them
  const rows = `let at = f % ${BLOCK / 4};
  let other = f / ${BLOCK / 4} % ${BLOCK};
  let block = f / ${(BLOCK * BLOCK) / 4} % ${tile.rows / BLOCK};
  let head = f / ${(BLOCK * tile.rows) / 4};
  let first = r0 + block * ${BLOCK};
  let factor = ${number(`${reverse ? table.seed : table.drive} + first + other`, "head")};`;
  const pair = (k: number): string => {
    const row = `(4 * at + ${k}) / ${count} + (4 * at + ${k}) % ${count} * ${apart}`;
    const [earlier, later] = reverse ? ["row", "other"] : ["other", "row"];
    return `  {
    let row = ${row};
    var decay = select(0.0, 1.0, ${earlier} <= ${later});
    for (var step = ${earlier} + 1; step <= ${later}; step++) { decay *= owns[head * ${tile.rows} + block * ${BLOCK} + step]; }
    let value = scores[tAt + (first + other) * ${Q / 4} + (first + row) / 4][(first + row) % 4] * decay * factor;
    ${
      read.dots
        ? `if (row == other) { ownPairs[head * ${tile.rows} + block * ${BLOCK} + row] = value; }
    four[${k}] = select(0.0, value, (decay != 0.0) & (row != other));`
        : `four[${k}] = select(0.0, value, decay != 0.0);`
    }
  }`;
  };
  return `${each(inTile * blocks, `  wholes[f] = ${number(`${table.wholes} + f % ${blocks}`, `(f / ${blocks})`)};`)}
${each(inTile * tile.rows, `  rowFactors[f] = ${number(`${reverse ? table.toBlock : table.fromBlock} + r0 + f % ${tile.rows}`, `(f / ${tile.rows})`)};`)}
${each(inTile * tile.rows, `  owns[f] = ${number(`${table.own} + r0 + f % ${tile.rows}`, `(f / ${tile.rows})`)};`)}
workgroupBarrier();
${each(
  (inTile * tile.rows * BLOCK) / 4,
  `  ${rows}
  var four = vec4<f32>();
${range(4).map(pair).join("\n")}
  inBlock[f] = four;`,
)}
workgroupBarrier();`;
}

/** Sums with their factors and the pairs within blocks; and what is stored of them. */
function withBlocks(plan: ReadPlan, { all }: SumNames): string {
  const { tile, read, chunks } = plan;
  const { keyDecays, K4 } = chunks;
  if (!plan.pairs)
    return read.over === "values" && keyDecays
      ? all
          .map(
            ({ name, row, column }) =>
              `${name} *= ofKeys[h * ${keyDecayVectors(chunks)} + (t0 + r0 + ${row}) * ${K4} + min(columnTile * ${tile.columns / 4} + ${column} / 4, ${K4 - 1})];`,
          )
          .join("\n")
      : "";
  const { count } = stripRows(tile);
  const [first] = all as [SumNames["all"][0]];
  const vectors = count / 4;
  return `let four = ${first.column} / 4;
let head = ${plan.shared === undefined ? "0" : `four / ${chunks.V / 4}`};
let step = r0 + (${first.row}) / ${BLOCK} * ${BLOCK};
${
  keyDecays
    ? ""
    : all
        .map(
          ({ name, row }) =>
            `{ let f = rowFactors[head * ${tile.rows} + ${row}]; ${name} = select(vec4<f32>(), ${name} * f, f != 0.0); }`,
        )
        .join("\n")
}
for (var other = 0; other < ${BLOCK}; other++) {
  let value = ${insideText(plan, vectorAt(plan, "z", "(step + other)", "four"), "step + other")};
  let at = head * ${(tile.rows * BLOCK) / 4} + ((step - r0) + other) * ${BLOCK / 4} + stripRow * ${vectors};
${range(vectors)
  .map(
    (v) => `  let f${v} = inBlock[at + ${v}];
${range(4)
  .map((k) => `  ${all[4 * v + k]!.name} += f${v}[${k}] * value;`)
  .join("\n")}`,
  )
  .join("\n")}
}`;
}

function finished(plan: ReadPlan, sums: SumNames): string {
  const { chunks, read, tile } = plan;
  const { to, dots } = read;
  if (!to) return dots ? "" : withBlocks(plan, sums);
  const { Q, L, K4, V4 } = chunks;
  const width4 = read.over === "keys" ? V4 : K4;
  const valid = isRagged(chunks) ? `min(${Q}, ${L} - t0)` : String(Q);
  const stored = sums.all.map(({ name, row, column }) => {
    const at = columnAt(plan, `${column} / 4`);
    return `if ((r0 + ${row} < ${valid}) & (${at.column} < ${width4})) { found[foundAt + ${row} * ${strideOf(chunks, to, 4)}${headOffset(plan, to, at.head)} + ${at.column}] = ${name}; }`;
  });
  const own = sums.all.map(
    ({ name, row, column }) =>
      `${name} += ownPairs[head * ${tile.rows} + ${row}] * ${insideText(plan, vectorAt(plan, "z", `(r0 + ${row})`, `${column} / 4`), `r0 + ${row}`)};`,
  );
  return [...(dots ? own : [withBlocks(plan, sums)]), ...stored].join("\n");
}

/**
 * Sums of the rows times those of another operand, and its scale. Each step's pair with itself is left out: it is the same in those
 * of the states and of the adjoint states, whose difference would be lost in its rounding where decays are strong.
 */
function rowDots(plan: ReadPlan): RowSums {
  const { chunks, read, tiles, inTile } = plan;
  const { L, Q, table, K4, V4 } = chunks;
  const valid = isRagged(chunks) ? `min(${Q}, ${L} - t0)` : String(Q);
  const width4 = read.over === "keys" ? V4 : K4;
  const scale = read.state === "adjoint" ? table.drive : table.seed;
  return {
    parts: inTile,
    before: (sums: SumNames): string => withBlocks(plan, sums),
    each: ({ row, names, columns }: SumNames["rows"][0]): string => {
      const at = columnAt(plan, `${columns[0]} / 4`);
      return `select(0.0, dot(${names[0]}, ${vectorAt(plan, "w", row, `${columns[0]} / 4`)}), ${at.column} < ${width4})`;
    },
    then: (row: string, sum: string, part: string): string => `if (r0 + ${row} < ${valid}) {
  let number = ${headText(plan, part)};
  let factor = table[${tableAt(chunks, "c", 4, "number")} + (${scale} + r0 + ${row}) / 4][(r0 + ${row}) % 4];
  dots[(number * ${plan.shared === undefined ? tiles : 1} + ${plan.shared === undefined ? "columnTile" : "0"}) * ${L} + t0 + r0 + ${row}] = ${sum} * factor;
}`,
  };
}
