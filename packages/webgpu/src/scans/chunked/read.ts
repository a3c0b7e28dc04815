/**
 * The pass of a product with the states of every step, from those before the chunk and the pairs of steps within it:
 *
 *     y_t = e_t (x_t S) + sum over j <= t of T(t, j) L(t, j) z_j;
 *
 * of the adjoint states, from those behind the chunk and the steps j >= t.
 */
import type { GpuPass } from "@seqmix/tensor/wgsl";
import {
  distinct,
  baseText,
  boundRows,
  BLOCK,
  declarations,
  isRagged,
  numberText,
  passOf,
  readVector,
  splitHeads,
  strideOf,
  tableAt,
  vectorsOf,
  type Bound,
  type Chunks,
  type Place,
} from "./layout.js";
import { placeOfRows } from "./key-rows.js";
import { columnsOf, rowsOf, type ReadPass } from "./reading.js";
import { scoreHeads, scoreSize } from "./scores.js";
import { tileShader, threadsOf, type Phase, type SumNames, type TileShape } from "./tile.js";

/** Bytes of workgroup memory beside the tile's. */
export const decayBytes = (Q: number): number => 4 * (Q * BLOCK + 3 * Q + (Q / BLOCK) ** 2);

export function readPass(chunks: Chunks, read: ReadPass, shape: TileShape): GpuPass {
  const { Q, L, count, H, K, V, V4, K4, operands, parts, table, keyRows } = chunks;
  const { state, over, x, z, score, buffers, to, dots } = read;
  const reverse = state === "adjoint";
  const { tiles } = columnsOf(chunks, over);
  const threads = threadsOf(shape);
  const [inner, width4] = over === "keys" ? [K, V4] : [V, K4];
  const rowTiles = Q / shape.rows;
  const places = { x: operands.get(x)!, z: operands.get(z)!, ...(dots && { w: operands.get(dots.with)! }) };
  const rows = rowsOf(chunks, read);
  // by key the pairs of steps are a pass of their own
  const pairs = !(keyRows && over === "values");
  const bound = distinct([
    boundRows(rows, places.x),
    ...(pairs ? [{ name: "z", buffer: places.z.buffer, type: vectorsOf(places.z) } as const] : []),
    ...(places.w ? [{ name: "w", buffer: places.w.buffer, type: vectorsOf(places.w) } as const] : []),
    { name: "states", buffer: buffers.states, type: "vec4<f32>" },
    ...(pairs ? [{ name: "scores", buffer: buffers.scores, type: "vec4<f32>" } as const] : []),
    { name: "table", buffer: buffers.table, type: "vec4<f32>" },
    ...(to ? [{ name: "found", buffer: to.buffer, type: "vec4<f32>", access: "read_write" } as const] : []),
    ...(dots ? [{ name: "dots", buffer: dots.to, type: "f32", access: "read_write" } as const] : []),
  ] satisfies Bound[]);
  const valid = isRagged(chunks) ? `min(${Q}, ${L} - t0)` : String(Q);
  const inside = (value: string, depth: string): string =>
    isRagged(chunks) ? `select(vec4<f32>(), ${value}, t0 + ${depth} < ${L})` : value;
  const load = (name: "x" | "z", step: string, column: string): string =>
    readVector(
      places[name],
      `${bound.nameOf(places[name].buffer)}[${name}At + ${step} * ${strideOf(chunks, places[name], 4)} + ${column}]`,
    );
  const short = (value: string, depth: string): string =>
    inner % shape.depth === 0 ? value : `select(vec4<f32>(), ${value}, ${depth} < ${inner})`;
  const width = over === "keys" ? V : K;
  const shortColumns = width % shape.columns === 0 ? {} : { lines: `${width} - columnTile * ${shape.columns}` };
  const withStates: Phase = {
    begin: "0",
    end: String(inner),
    a: {
      along: "depth",
      load: (line, depth) => (rows === undefined ? load("x", line, depth) : `rows[xAt + ${line} * ${K4} + ${depth}]`),
      change: (value, _, depth) => short(value, depth),
      ...(isRagged(chunks) && { lines: `${L} - t0 - r0` }),
      // decays by key are in the rows, or come to the results with their pairs
      ...(!keyRows && {
        factors: (line) => `table[fromTable + (${reverse ? table.toEnd : table.before} + r0) / 4 + ${line}]`,
      }),
    },
    b:
      over === "keys"
        ? {
            along: "lines",
            load: (line, depth) => `states[sAt + ${depth} * ${V4} + ${line}]`,
            change: (value, _, depth) => short(value, depth),
            ...shortColumns,
          }
        : {
            along: "depth",
            load: (line, depth) => `states[sAt + ${line} * ${V4} + ${depth}]`,
            change: (value, _, depth) => short(value, depth),
            ...shortColumns,
          },
  };
  const withPairs: Phase = {
    begin: reverse ? "r0" : "0",
    end: reverse ? valid : `min(${valid}, r0 + ${shape.rows})`,
    causal: reverse ? "later" : "earlier",
    backwards: !reverse,
    a: {
      along: "lines",
      load: (line, depth) => `scores[tAt + min(${depth}, ${Q - 1}) * ${Q / 4} + ${line}]`,
      change: (value, line, depth) => inside(`decayed(${value}, r0 + 4 * ${line}, min(${depth}, ${Q - 1}))`, depth),
    },
    b: {
      along: "lines",
      load: (line, depth) => load("z", depth, line),
      change: (value, _, depth) => `${inside(value, depth)} * factors[min(${depth}, ${Q - 1})]`,
      ...shortColumns,
    },
  };
  const groups = H * count * rowTiles * tiles;
  const heads = scoreHeads(chunks, score);
  const code = tileShader(shape, {
    module: `${declarations(bound.list)}${decayModule(chunks, reverse)}`,
    setup: `let at = i32(group);
if (at >= ${groups}) { return; }
let columnTile = at % ${tiles};
let rowTile = at / ${tiles} % ${rowTiles};
let c = at / ${tiles * rowTiles} % ${count};
let h = at / ${tiles * rowTiles * count};
${splitHeads(chunks, "h", parts.form.heads)}
let t0 = c * ${Q};
let r0 = rowTile * ${shape.rows};
let fromTable = ${tableAt(chunks, "c", 4)};
let xAt = ${placeOfRows(chunks, rows, places.x, "t0 + r0")};
let zAt = ${baseText(chunks, places.z, 4)} + t0 * ${strideOf(chunks, places.z, 4)} + columnTile * ${shape.columns / 4};
let sAt = (h * ${count} + c) * ${K * V4} + columnTile * ${over === "keys" ? shape.columns / 4 : shape.columns * V4};
let tAt = (${numberText(chunks, heads)} * ${count} + c) * ${scoreSize(chunks, score) / 4} + r0 / 4;
${places.w ? `let wAt = ${baseText(chunks, places.w, 4)} + (t0 + r0) * ${strideOf(chunks, places.w, 4)};` : ""}
${loadDecays(chunks, threads, reverse ? table.seed : table.drive)}
workgroupBarrier();`,
    phases: pairs ? [withStates, withPairs] : [withStates],
    rowSums: dots &&
      places.w && {
        each: ({ row, names, columns }) =>
          names
            .map((sum, j) =>
              timesOther(chunks, places.w!, bound.nameOf(places.w!.buffer), sum, row, columns[j]!, { shape, width4 }),
            )
            .join(" + "),
        use: (row, sum) => `if (r0 + ${row} < ${valid}) {
  let factor = table[fromTable + (${reverse ? table.drive : table.seed} + r0 + ${row}) / 4][${row} % 4];
  dots[(h * ${tiles} + columnTile) * ${L} + t0 + r0 + ${row}] = ${sum} * factor;
}`,
      },
    finish: (sums) =>
      to
        ? [dots ? addDiagonal(sums, { Q, load }) : "", store(chunks, sums, to, { shape, width4, valid })].join("\n")
        : "",
  });
  return passOf(chunks, bound.list, groups, code);
}

/** The decays of a chunk in workgroup memory, and the function that multiplies scores with them. */
export function decayModule({ Q }: Chunks, reverse: boolean): string {
  const blocks = Q / BLOCK;
  // lines: four steps from l on, which are the later ones, or with \`reverse\` the earlier ones; d: the other step
  const near = reverse
    ? `vec4<f32>(${[0, 1, 2, 3].map((r) => `pairs[(l + ${r}) * ${BLOCK / 4} + d % ${BLOCK} / 4][d % 4]`).join(", ")})`
    : `pairs[d * ${BLOCK / 4} + l % ${BLOCK} / 4]`;
  const far = reverse
    ? `toBlock[l / 4] * (between[d / ${BLOCK} * ${blocks} + l / ${BLOCK}] * fromBlock[d / 4][d % 4])`
    : `fromBlock[l / 4] * (between[l / ${BLOCK} * ${blocks} + d / ${BLOCK}] * toBlock[d / 4][d % 4])`;
  return `var<workgroup> pairs: array<vec4<f32>, ${(Q * BLOCK) / 4}>;
var<workgroup> fromBlock: array<vec4<f32>, ${Q / 4}>;
var<workgroup> toBlock: array<vec4<f32>, ${Q / 4}>;
var<workgroup> between: array<f32, ${blocks * blocks}>;
var<workgroup> factors: array<f32, ${Q}>;
// of four earlier steps from first on and a later one
fn decayedRow(value: vec4<f32>, first: i32, later: i32) -> vec4<f32> {
  let near = vec4<f32>(${[0, 1, 2, 3].map((r) => `pairs[(first + ${r}) * ${BLOCK / 4} + later % ${BLOCK} / 4][later % 4]`).join(", ")});
  let far = toBlock[first / 4] * (between[later / ${BLOCK} * ${blocks} + first / ${BLOCK}] * fromBlock[later / 4][later % 4]);
  let decay = select(far, near, first / ${BLOCK} == later / ${BLOCK});
  return select(vec4<f32>(), value * decay, decay != vec4<f32>());
}
fn decayed(value: vec4<f32>, line: i32, d: i32) -> vec4<f32> {
  let l = min(line, ${Q - 4});
  let decay = select(${far}, ${near}, l / ${BLOCK} == d / ${BLOCK});
  // scores beyond the diagonal may be anything
  return select(vec4<f32>(), value * decay, decay != vec4<f32>());
}
`;
}

/** Statements that fill it, and the factors of steps from a place of the table. */
export function loadDecays({ Q, table }: Chunks, threads: number, factors: number | undefined): string {
  const blocks = Q / BLOCK;
  const fill = (count: number, line: string): string => `for (var f = lane; f < ${count}; f += ${threads}) { ${line} }`;
  return [
    fill((Q * BLOCK) / 4, `pairs[f] = table[fromTable + ${table.pairs / 4} + f];`),
    fill(
      Q / 4,
      `fromBlock[f] = table[fromTable + ${table.fromBlock / 4} + f]; toBlock[f] = table[fromTable + ${table.toBlock / 4} + f];`,
    ),
    fill(blocks * blocks, `between[f] = table[fromTable + ${table.between / 4} + f / 4][f % 4];`),
    ...(factors === undefined ? [] : [fill(Q, `factors[f] = table[fromTable + ${factors / 4} + f / 4][f % 4];`)]),
  ].join("\n");
}

/**
 * Adds each step's pair with itself. The sums of rows are taken without it: it is the same in those of the states and of the
 * adjoint states, whose difference would be lost in its rounding where decays are strong.
 */
const addDiagonal = (
  { rows, inTurn }: SumNames,
  { Q, load }: { readonly Q: number; load(name: "z", step: string, column: string): string },
): string =>
  rows
    .map(
      ({ row, names, columns: at }) => `{
  let t = r0 + ${row};
  let own = scores[tAt - r0 / 4 + ${(Q * Q) / 4} + t / 4][t % 4] * factors[t];
${names.map((name, j) => `  ${name} = fma(vec4<f32>(own), ${load("z", "t", `${at[j]} / 4`)}, ${name});`).join("\n")}
}`,
    )
    .map(inTurn)
    .join("\n");

interface Epilogue {
  readonly shape: TileShape;
  /** Vectors of a row of the result. */
  readonly width4: number;
  readonly valid: string;
}

function store(chunks: Chunks, { all }: SumNames, to: Place, { shape, width4, valid }: Epilogue): string {
  return `let foundAt = ${baseText(chunks, to, 4)} + (t0 + r0) * ${strideOf(chunks, to, 4)};
${all
  .map(
    ({ name, row, column }) => `{
  let row = ${row};
  let column = columnTile * ${shape.columns} + ${column};
  if ((r0 + row < ${valid}) & (column < ${4 * width4})) { found[foundAt + row * ${strideOf(chunks, to, 4)} + column / 4] = ${name}; }
}`,
  )
  .join("\n")}`;
}

/** Four sums times another operand's values in their place. */
function timesOther(
  chunks: Chunks,
  place: Place,
  name: string,
  sum: string,
  row: string,
  column: string,
  { shape, width4 }: Pick<Epilogue, "shape" | "width4">,
): string {
  const at = `wAt + ${row} * ${strideOf(chunks, place, 4)} + columnTile * ${shape.columns / 4} + ${column} / 4`;
  const text = `dot(${sum}, ${readVector(place, `${name}[${at}]`)})`;
  return (4 * width4) % shape.columns === 0
    ? text
    : `select(0.0, ${text}, columnTile * ${shape.columns} + ${column} < ${4 * width4})`;
}
