/** Products of earlier and later steps' vectors within a chunk, before decays: q k^T. */
import type { Operand } from "@seqmix/tensor/backend";
import type { GpuPass } from "@seqmix/tensor/wgsl";
import {
  baseText,
  declarations,
  isRagged,
  passOf,
  pointsOf,
  readVector,
  splitHeads,
  strideOf,
  vectorsOf,
  type Chunks,
} from "./layout.js";
import { distinct } from "./states.js";
import { shaderOf } from "./matrix-tile.js";
import { rawOf } from "./tile.js";

export interface Score {
  readonly earlier: Operand;
  readonly later: Operand;
  /** Which of the two counts rows. The other half of the matrix is not computed. */
  readonly rows: "earlier" | "later";
  readonly over: "keys" | "values";
  /** The diagonal is 0, and lies behind the matrix: [Q, Q] then [Q]. */
  readonly strict?: boolean;
}

/** Elements of a chunk's scores. */
export const scoreSize = ({ Q }: Chunks, { strict }: Score): number => Q * Q + (strict ? Q : 0);

/** The heads' axes that a score varies along. */
export function scoreHeads({ parts, keyDecays }: Chunks, { earlier, later, over }: Score): readonly number[] {
  if (keyDecays && over === "keys") return parts.form.heads;
  return parts.form.heads.filter((axis) => earlier.axes.includes(axis) || later.axes.includes(axis));
}

/** [heads of the score, chunks, Q, Q]. */
export function scoresPass(chunks: Chunks, score: Score, to: number): GpuPass {
  const { Q, L, count, K, V, operands, sizes, fragments } = chunks;
  const shape = sizes.scores;
  const depth = score.over === "keys" ? K : V;
  const heads = scoreHeads(chunks, score);
  const points = pointsOf(chunks, heads);
  const [down, across] = [Math.ceil(Q / shape.rows), Math.ceil(Q / shape.columns)];
  const tiles = Array.from({ length: down * across }, (_, k) => [Math.floor(k / across), k % across] as const).filter(
    ([row, column]) =>
      score.rows === "earlier"
        ? (column + 1) * shape.columns > row * shape.rows
        : (row + 1) * shape.rows > column * shape.columns,
  );
  const of = { a: score[score.rows], b: score[score.rows === "earlier" ? "later" : "earlier"] };
  const places = { a: operands.get(of.a)!, b: operands.get(of.b)! };
  const bound = distinct([
    { name: "a", buffer: places.a.buffer, type: vectorsOf(places.a) },
    { name: "b", buffer: places.b.buffer, type: vectorsOf(places.b) },
    { name: "scores", buffer: to, type: "vec4<f32>", access: "read_write" },
  ]);
  const operand = (name: "a" | "b") => ({
    along: "depth" as const,
    load: (line: string, at: string) =>
      readVector(
        places[name],
        `${bound.nameOf(places[name].buffer)}[${name}At + ${line} * ${strideOf(chunks, places[name], 4)} + ${at}]`,
      ),
    ...(depth % shape.depth !== 0 && {
      change: (value: string, _: string, at: string) => `select(vec4<f32>(), ${value}, ${at} < ${depth})`,
    }),
    raw:
      depth % shape.depth === 0
        ? rawOf(
            shape,
            places[name],
            (line, at) =>
              `${bound.nameOf(places[name].buffer)}[${name}At + ${line} * ${strideOf(chunks, places[name], 4)} + ${at}]`,
          )
        : undefined,
    ...(isRagged(chunks) && { lines: `${L} - c * ${Q} - ${name === "a" ? "firstRow" : "firstColumn"}` }),
  });
  const groups = points * count * tiles.length;
  const start = (name: "a" | "b", first: string): string =>
    `let ${name}At = ${baseText(chunks, places[name], 4)} + (c * ${Q} + ${first}) * ${strideOf(chunks, places[name], 4)};`;
  const table = (name: string, k: 0 | 1): string =>
    `const ${name} = array<i32, ${tiles.length}>(${tiles.map((tile) => tile[k]).join(", ")});\n`;
  const code = shaderOf(shape, fragments, {
    module: `${declarations(bound.list)}${score.strict ? diagonalFunction(Q) : ""}${table("tileRows", 0)}${table("tileColumns", 1)}`,
    setup: `let at = i32(group);
if (at >= ${groups}) { return; }
var downs = tileRows;
var acrosses = tileColumns;
let firstRow = downs[at % ${tiles.length}] * ${shape.rows};
let firstColumn = acrosses[at % ${tiles.length}] * ${shape.columns};
let c = at / ${tiles.length} % ${count};
let h = at / ${tiles.length * count};
${splitHeads(chunks, "h", heads)}
${start("a", "firstRow")}
${start("b", "firstColumn")}`,
    phases: [{ begin: "0", end: String(depth), a: operand("a"), b: operand("b") }],
    finish: ({ all }) =>
      `let to = (h * ${count} + c) * ${scoreSize(chunks, score) / 4};\n` +
      all
        .map(
          ({ name, row, column }) =>
            `scores[to + (firstRow + ${row}) * ${Q / 4} + (firstColumn + ${column}) / 4] = ${score.strict ? `withoutDiagonal(to, ${name}, firstRow + ${row}, firstColumn + ${column})` : name};`,
        )
        .join("\n"),
  });
  return passOf(chunks, bound.list, groups, code);
}

const diagonalFunction = (
  Q: number,
): string => `fn withoutDiagonal(to: i32, value: vec4<f32>, row: i32, column: i32) -> vec4<f32> {
  let own = vec4<i32>(column) + vec4<i32>(0, 1, 2, 3) == vec4<i32>(row);
  if (row / 4 == column / 4) { scores[to + ${(Q * Q) / 4} + row / 4][row % 4] = value[row % 4]; }
  return select(value, vec4<f32>(), own);
}
`;
