/** Products of earlier and later steps' vectors within a chunk, before decays: q k^T. */
import type { Operand } from "@seqmix/tensor/backend";
import type { GpuPass } from "@seqmix/tensor/wgsl";
import {
  distinct,
  baseText,
  declarations,
  isRagged,
  numberText,
  passOf,
  pointsOf,
  readVector,
  slicedAxis,
  splitHeads,
  stateFunctions,
  strideOf,
  vectorsOf,
  type Chunks,
  type Place,
} from "./layout.js";
import { MAGNITUDE_FUNCTIONS, magnitudeOf, productExponent } from "./magnitudes.js";
import { shaderOf } from "./matrix-tile.js";
import type { Told } from "./reading.js";
import { isMatrixTile, rawOf } from "./tile.js";

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
export function scoreHeads({ parts, keyRows }: Chunks, { earlier, later, over }: Score): readonly number[] {
  if (keyRows && over === "keys") return parts.form.heads;
  return parts.form.heads.filter((axis) => earlier.axes.includes(axis) || later.axes.includes(axis));
}

/** Tiles down and across the square of a chunk's scores. */
export const scoreGrid = ({ Q, sizes: { scores: shape } }: Chunks): readonly [number, number] => [
  Math.ceil(Q / shape.rows),
  Math.ceil(Q / shape.columns),
];

/** Tiles on and below the diagonal, or above it: rows and columns of tiles. */
export function scoreTiles(chunks: Chunks, { rows }: Score): (readonly [number, number])[] {
  const { scores: shape } = chunks.sizes;
  const [down, across] = scoreGrid(chunks);
  return Array.from({ length: down * across }, (_, k) => [Math.floor(k / across), k % across] as const).filter(
    ([row, column]) =>
      rows === "earlier"
        ? (column + 1) * shape.columns > row * shape.rows
        : (row + 1) * shape.rows > column * shape.columns,
  );
}

/** [heads of the score, chunks, Q, Q]. */
export function scoresPass(chunks: Chunks, score: Score, to: number, told?: Told): GpuPass {
  const { halfScores } = chunks;
  const { Q, L, count, K, V, operands, sizes, fragments, parts } = chunks;
  const { form } = parts;
  const shape = sizes.scores;
  const depth = score.over === "keys" ? K : V;
  const heads = scoreHeads(chunks, score);
  const points = pointsOf(chunks, heads);
  const tiles = scoreTiles(chunks, score);
  const of = { a: score[score.rows], b: score[score.rows === "earlier" ? "later" : "earlier"] };
  const mosts = [of.a, of.b].map((operand) => magnitudeOf(chunks, operand, "whole", "c"));
  const places = { a: operands.get(of.a)!, b: operands.get(of.b)! };
  const knows = mosts.every((most) => most !== undefined);
  const raw = depth % sizes.scores.depth === 0 && isMatrixTile(sizes.scores) && sizes.scores.terms === 1;
  // arrays of f16 are copied as they are
  const isRaw = ({ half }: Place): boolean => raw && half === true;
  const copied = isRaw(places.a) && isRaw(places.b);
  const bound = distinct([
    { name: "a", buffer: places.a.buffer, type: vectorsOf(places.a) },
    { name: "b", buffer: places.b.buffer, type: vectorsOf(places.b) },
    { name: "scores", buffer: to, type: halfScores ? "vec2<u32>" : "vec4<f32>", access: "read_write" },
    ...(knows ? [{ name: "magnitudes", buffer: chunks.magnitudes!, type: "f32" } as const] : []),
    ...(told ? [{ name: "told", buffer: told.buffer, type: "vec2<f32>", access: "read_write" } as const] : []),
  ]);
  const operand = (name: "a" | "b") => ({
    along: "depth" as const,
    measured: told !== undefined && !knows && (copied || told.of === of[name]),
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
    module: `${declarations(bound.list)}${stateFunctions(chunks)}${knows ? MAGNITUDE_FUNCTIONS : ""}${score.strict ? diagonalFunction(Q) : ""}${table("tileRows", 0)}${table("tileColumns", 1)}`,
    setup: `let at = i32(group);
if (at >= ${groups}) { return; }
var downs = tileRows;
var acrosses = tileColumns;
let down = downs[at % ${tiles.length}];
let across = acrosses[at % ${tiles.length}];
let firstRow = down * ${shape.rows};
let firstColumn = across * ${shape.columns};
let c = at / ${tiles.length} % ${count};
let h = at / ${tiles.length * count};
${splitHeads(chunks, "h", heads)}
${
  knows
    ? `${form.heads.flatMap((axis) => (heads.includes(axis) ? [] : [`let ${axis === slicedAxis(chunks) ? "inSlice" : "i"}${axis} = 0;`])).join("\n")}
let whole = ${numberText(chunks, form.heads)};
let ofA = exponentOf(${mosts[0]});
let ofB = exponentOf(${mosts[1]});`
    : ""
}
${start("a", "firstRow")}
${start("b", "firstColumn")}`,
    phases: [
      {
        ...(shape.rows === shape.columns && {
          beyond:
            score.rows === "earlier"
              ? ({ side: "below", when: "firstRow < firstColumn" } as const)
              : ({ side: "above", when: "firstRow > firstColumn" } as const),
        }),
        known:
          copied || knows
            ? { a: isRaw(places.a) ? "127" : "scaleFor(ofA)", b: isRaw(places.b) ? "127" : "scaleFor(ofB)" }
            : undefined,
        begin: "0",
        end: String(depth),
        a: operand("a"),
        b: operand("b"),
      },
    ],
    finish: ({ all }) =>
      `let to = (h * ${count} + c) * ${scoreSize(chunks, score) / 4};\n` +
      (told
        ? `${knows ? "" : `let exponents = exponentsOf(mostOf(${copied ? 1 : 0}));\n`}let power = ${halfScores ? `powerFor(${productExponent(...(knows ? ["ofA", "ofB"] : ["exponents.x", "exponents.y"]), String(127 + Math.ceil(Math.log2(depth))))})` : "1.0"};
if (lane == 0) { told[((h * ${count} + c) * ${scoreGrid(chunks)[0]} + down) * ${scoreGrid(chunks)[1]} + across] = vec2<f32>(${knows ? "0.0" : told.of === of.a ? "mostOf(1).x" : "mostOf(1).y"}, power); }
`
        : "") +
      all
        .map(
          ({ name, row, column }) =>
            `scores[to + (firstRow + ${row}) * ${Q / 4} + (firstColumn + ${column}) / 4] = ${score.strict ? `withoutDiagonal(to, ${name}, firstRow + ${row}, firstColumn + ${column})` : halfScores ? `packedState(${name} * power)` : name};`,
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
