/**
 * The pass of `read.ts` on matrix units. Scores meet the decays of their pairs of steps on the way into workgroup memory: those
 * of different blocks of 16 a factor of each step and one of the blocks between, those of a block what is tabulated.
 */
import type { Operand } from "@seqmix/tensor/backend";
import type { GpuPass } from "@seqmix/tensor/wgsl";
import {
  distinct,
  baseText,
  boundRows,
  BLOCK,
  declarations,
  isPlain,
  isRagged,
  numberText,
  passOf,
  readVector,
  splitHeads,
  stateFunctions,
  strideOf,
  tableAt,
  vectorsOf,
  type Bound,
  type Chunks,
  type Place,
} from "./layout.js";
import { placeOfRows } from "./key-rows.js";
import { MAGNITUDE_FUNCTIONS, magnitudeAt, magnitudeOf, productExponent } from "./magnitudes.js";
import { shaderOf } from "./matrix-tile.js";
import { rowShare, rowSharesModule, rowTotals } from "./row-shares.js";
import { boundStates, rowsOf, separatesDots, type ReadPass, type StateSums } from "./reading.js";
import { scoreGrid, scoreHeads, scoreSize, scoreTiles } from "./scores.js";
import { rawOf, type MatrixTile, type OperandText, type Phase, type RowSums, type SumNames } from "./tile.js";

export function matrixReadPass(chunks: Chunks, read: ReadPass, tile: MatrixTile): GpuPass {
  const { Q, count, operands, parts, keyRows, fragments, H } = chunks;
  const { heads } = parts.form;
  const { state, over, x, z, score, to, dots, apart } = read;
  const tiles = Math.ceil((over === "keys" ? chunks.V : chunks.K) / tile.columns);
  const places = { x: operands.get(x)!, z: operands.get(z)!, ...(dots && { w: operands.get(dots.with)! }) };
  // by key the pairs of steps are a pass of their own
  const pairs = !(keyRows && over === "values");
  const rows = rowsOf(chunks, read);
  const bound = distinct(readBound(chunks, read, places, pairs));
  const rowTiles = Q / tile.rows;
  const groups = H * count * rowTiles * tiles;
  const bounds = pairs ? boundsText(chunks, read) : undefined;
  const plan: ReadPlan = {
    chunks,
    read,
    tile,
    places,
    tiles,
    nameOf: (place) => bound.nameOf(place.buffer),
    knows: bounds !== undefined,
    names: { x: "x", states: "states" },
  };
  const code = shaderOf(tile, fragments, {
    module: `${declarations(bound.list)}${bounds ? MAGNITUDE_FUNCTIONS : ""}${stateFunctions(chunks)}${apart ? rowSharesModule(tile) : ""}${pairs ? (isPlain(chunks) ? keepFunction : (reverse: boolean) => decayFunction(chunks, reverse))(state === "adjoint") : ""}`,
    setup: `let at = i32(group);
if (at >= ${groups}) { return; }
let columnTile = at % ${tiles};
let rowTile = at / ${tiles} % ${rowTiles};
let c = at / ${tiles * rowTiles} % ${count};
let h = at / ${tiles * rowTiles * count};
${splitHeads(chunks, "h", heads)}
let t0 = c * ${Q};
let r0 = rowTile * ${tile.rows};
let xAt = ${placeOfRows(chunks, rows, places.x, "t0 + r0")};
let zAt = ${baseText(chunks, places.z, 4)} + t0 * ${strideOf(chunks, places.z, 4)};
${places.w ? `let wAt = ${baseText(chunks, places.w, 4)} + (t0 + r0) * ${strideOf(chunks, places.w, 4)};` : ""}
${to ? `let foundAt = ${baseText(chunks, to, 4)} + (t0 + r0) * ${strideOf(chunks, to, 4)};` : ""}
let fromTable = ${tableAt(chunks, "c", 4)};
let scoreAt = ${numberText(chunks, scoreHeads(chunks, score))} * ${count} + c;
let tAt = scoreAt * ${scoreSize(chunks, score) / 4};
${chunks.magnitudes === undefined ? "" : `let ofState = i32(bitcast<u32>(${magnitudeAt(chunks, state, "before", "h", "c")}) >> 23u);`}
${bounds ?? ""}
${apart ? apartSetup(plan, apart) : ""}`,
    phases: apart ? apartPhases(plan, apart) : pairs ? [withStates(plan), withPairs(plan)] : [withStates(plan)],
    ...(dots && { rowSums: rowDots(plan) }),
    finish: (sums) => finished(plan, sums),
  });
  return passOf(chunks, bound.list, groups, code);
}

/** The buffers of a read. */
function readBound(chunks: Chunks, read: ReadPass, places: ReadPlan["places"], pairs: boolean): readonly Bound[] {
  const { buffers, told, to, dots, apart } = read;
  return [
    boundRows(rowsOf(chunks, read), places.x),
    ...(pairs ? [{ name: "z", buffer: places.z.buffer, type: vectorsOf(places.z) } as const] : []),
    ...(places.w ? [{ name: "w", buffer: places.w.buffer, type: vectorsOf(places.w) } as const] : []),
    ...boundStates(chunks, buffers.states),
    ...(told ? [{ name: "told", buffer: told.buffer, type: "vec2<f32>" } as const] : []),
    ...(pairs
      ? [{ name: "scores", buffer: buffers.scores, type: chunks.halfScores ? "vec2<u32>" : "vec4<f32>" } as const]
      : []),
    { name: "table", buffer: buffers.table, type: "vec4<f32>" },
    ...(to ? [{ name: "found", buffer: to.buffer, type: "vec4<f32>", access: "read_write" } as const] : []),
    ...(dots ? [{ name: "dots", buffer: dots.to, type: "f32", access: "read_write" } as const] : []),
    ...(apart ? apartBound(chunks, apart) : []),
  ];
}

interface ReadPlan {
  readonly chunks: Chunks;
  readonly read: ReadPass;
  readonly tile: MatrixTile;
  readonly places: { readonly x: Place; readonly z: Place; readonly w?: Place };
  /** Tiles of columns. */
  readonly tiles: number;
  nameOf(place: Place): string;
  /** Scales are known beforehand. */
  readonly knows: boolean;
  /** Names of what reads the states, and of these: of those before the chunk "q". */
  readonly names: { readonly x: "x" | "q"; readonly states: "states" | "statesBefore" };
}

/** Arrays of sums that are taken beside a read: q reads the states before the chunk, dy and v are multiplied with rows. */
const apartPlaces = ({ operands }: Chunks, apart: StateSums): Readonly<Record<"q" | "dy" | "v", Place>> => ({
  q: operands.get(apart.x)!,
  dy: operands.get(apart.with)!,
  v: operands.get(apart.own)!,
});

function apartBound(chunks: Chunks, apart: StateSums): readonly Bound[] {
  const [states] = boundStates(chunks, apart.states);
  return [
    ...Object.entries(apartPlaces(chunks, apart)).map(([name, place]): Bound => ({
      name,
      buffer: place.buffer,
      type: vectorsOf(place),
    })),
    { ...states!, name: "statesBefore" },
    { name: "stateSums", buffer: apart.to, type: "f32", access: "read_write" },
  ];
}

function apartSetup({ chunks, knows }: ReadPlan, apart: StateSums): string {
  const starts = Object.entries(apartPlaces(chunks, apart)).map(
    ([name, place]) => `let ${name}At = ${baseText(chunks, place, 4)} + (t0 + r0) * ${strideOf(chunks, place, 4)};`,
  );
  const scales = [
    ...(chunks.magnitudes === undefined
      ? []
      : [`let qState = i32(bitcast<u32>(${magnitudeAt(chunks, "current", "before", "h", "c")}) >> 23u);`]),
    ...(knows ? [`let qX = exponentOf(${magnitudeOf(chunks, apart.x, "h", "c")!});`] : []),
  ];
  return [...starts, ...scales].join("\n");
}

/** The phases of a read whose pairs of steps are summed elsewhere: of the states before, whose sums begin anew, and its own. */
function apartPhases(plan: ReadPlan, apart: StateSums): readonly Phase[] {
  const { chunks, read, tile } = plan;
  const others = apartPlaces(chunks, apart);
  const { L, table } = chunks;
  const before: ReadPlan = {
    ...plan,
    read: { ...read, state: "current", x: apart.x, dots: undefined },
    places: { ...plan.places, x: others.q },
    names: { x: "q", states: "statesBefore" },
  };
  const summed = (name: "dy" | "v", factor: number, from: number): Pick<Phase, "after" | "afterAll"> => ({
    after: ({ rows }) =>
      rows
        .map((of) => {
          const four = columnText(plan, `${of.columns[0]} / 4`);
          const place = others[name];
          const other = readVector(
            place,
            `${plan.nameOf(place)}[${name}At + ${of.row} * ${strideOf(chunks, place, 4)} + ${four}]`,
          );
          return rowShare(tile, of, `select(0.0, dot(${of.names[0]}, ${other}), ${four} < ${widthOf(plan)})`);
        })
        .join("\n"),
    afterAll: rowTotals(
      tile,
      (row, sum) => `if (r0 + ${row} < ${validSteps(plan)}) {
    stateSums[${from} + (h * ${plan.tiles} + columnTile) * ${L} + t0 + r0 + ${row}] = ${sum} * ${numberAt(`${factor} + r0 + ${row}`)};
  }`,
    ),
  });
  return [
    { ...withStates(before), ...summed("dy", table.seed, 0), alone: true },
    { ...withStates(plan), ...summed("v", table.drive, chunks.H * plan.tiles * L), keeps: true },
    withPairs(plan),
  ];
}

/** Exponents of what the read's operands are at most in the chunk. */
function boundsText(chunks: Chunks, { state, over, x, z, score, told }: ReadPass): string | undefined {
  const { K, V, table } = chunks;
  const other = score.earlier === x ? score.later : score.earlier;
  const most = (operand: Operand): string | undefined => {
    const known = magnitudeOf(chunks, operand, "h", "c");
    if (known !== undefined || told?.of !== operand) return known;
    const [down, across] = scoreGrid(chunks);
    const cells = scoreTiles(chunks, score).map(
      ([row, column]) => `told[scoreAt * ${down * across} + ${row * across + column}].x`,
    );
    return cells.reduce((a, b) => `max(${a}, ${b})`);
  };
  const [ofX, ofOther, ofZ] = [most(x), most(other), most(z)];
  if (ofX === undefined || ofOther === undefined || ofZ === undefined) return undefined;
  return `let mosts = table[fromTable + ${table.most / 4}];
let growth = exponentOf(mosts.x);
let ofX = exponentOf(${ofX});
let ofScores = ${productExponent("ofX", `exponentOf(${ofOther})`, "growth", String(127 + Math.ceil(Math.log2(over === "keys" ? K : V))))};
let ofValues = ${productExponent(`exponentOf(${ofZ})`, `exponentOf(mosts.${state === "adjoint" ? "z" : "y"})`)};`;
}

const validSteps = ({ chunks }: ReadPlan): string =>
  isRagged(chunks) ? `min(${chunks.Q}, ${chunks.L} - t0)` : String(chunks.Q);
const insideText = ({ chunks }: ReadPlan, value: string, step: string): string =>
  isRagged(chunks) ? `select(vec4<f32>(), ${value}, t0 + ${step} < ${chunks.L})` : value;
/** Vectors of a row of the result. */
const widthOf = ({ chunks: { K4, V4 }, read }: ReadPlan): number => (read.over === "keys" ? V4 : K4);
const columnText = ({ tile }: ReadPlan, four: string): string => `(columnTile * ${tile.columns / 4} + ${four})`;

/** Four neighbours of an operand at a step of the chunk, or of the tile. */
function vectorAt(plan: ReadPlan, name: "z" | "w", step: string, four: string): string {
  const place = plan.places[name]!;
  return readVector(
    place,
    `${plan.nameOf(place)}[${name}At + ${step} * ${strideOf(plan.chunks, place, 4)} + ${columnText(plan, four)}]`,
  );
}

/** One of the table's numbers. */
const numberAt = (offset: string): string => `table[fromTable + (${offset}) / 4][(${offset}) % 4]`;

/** Columns of the tile that are there, where they may be fewer. */
function shortColumns({ chunks: { K, V }, read, tile }: ReadPlan): Pick<OperandText, "lines"> {
  const width = read.over === "keys" ? V : K;
  return width % tile.columns > 0 ? { lines: `${width} - columnTile * ${tile.columns}` } : {};
}

function withStates(plan: ReadPlan): Phase {
  const { chunks, read, places, tile } = plan;
  const { K, V, V4, K4, L, count, keyRows, table } = chunks;
  const { over } = read;
  const isRow = rowsOf(chunks, read) !== undefined;
  const { x, states: statesName } = plan.names;
  const [xName, ofX, ofState] = [x, x === "x" ? "ofX" : "qX", x === "x" ? "ofState" : "qState"];
  const states = `(h * ${count} + c) * ${K * V4}`;
  const ofStates = (load: OperandText["load"]): Pick<OperandText, "load" | "raw"> => ({
    load,
    ...(chunks.halfStates && { raw: { load, exponent: ofState } }),
  });
  const plain = isPlain(chunks);
  const element = (line: string, depth: string): string =>
    `${plan.nameOf(places.x)}[${xName}At + ${line} * ${strideOf(chunks, places.x, 4)} + ${depth}]`;
  const raw = plain && chunks.halfStates ? rawOf(tile, places.x, element) : undefined;
  return {
    known: plan.knows ? { a: raw ? "127" : `scaleFor(${productExponent(ofX, "growth")})`, b: ofState } : undefined,
    fixed: raw !== undefined,
    begin: "0",
    end: String(over === "keys" ? K : V),
    a: {
      along: "depth",
      raw,
      load: (line, depth) =>
        isRow ? `rows[xAt + ${line} * ${K4} + ${depth}]` : readVector(places.x, element(line, depth)),
      ...(!keyRows &&
        !plain && {
          factors: (line) =>
            `table[fromTable + (${read.state === "adjoint" ? table.toEnd : table.before} + r0) / 4 + ${line}]`,
        }),
      ...(isRagged(chunks) && { lines: `${L} - t0 - r0` }),
    },
    b:
      over === "keys"
        ? {
            along: "lines",
            ...ofStates((line, depth) => `${statesName}[${states} + ${depth} * ${V4} + ${columnText(plan, line)}]`),
            ...shortColumns(plan),
          }
        : {
            along: "depth",
            ...ofStates(
              (line, depth) => `${statesName}[${states} + (columnTile * ${tile.columns} + ${line}) * ${V4} + ${depth}]`,
            ),
            ...shortColumns(plan),
          },
  };
}

function withPairs(plan: ReadPlan): Phase {
  const { chunks, read, tile } = plan;
  const { Q, table } = chunks;
  const reverse = read.state === "adjoint";
  const valid = validSteps(plan);
  const plain = isPlain(chunks);
  const { drive, seed } = chunks.parts;
  const weighs = (reverse ? seed!.scale : drive.scale) !== undefined;
  const z = plan.places.z;
  const raw =
    !weighs && !isRagged(chunks)
      ? rawOf(
          tile,
          z,
          (line, depth) => `${plan.nameOf(z)}[zAt + ${depth} * ${strideOf(chunks, z, 4)} + ${columnText(plan, line)}]`,
        )
      : undefined;
  return {
    known: plan.knows ? { a: "scaleFor(ofScores)", b: raw ? "127" : "scaleFor(ofValues)" } : undefined,
    begin: reverse ? "r0" : "0",
    end: reverse ? valid : `min(${valid}, r0 + ${tile.rows})`,
    causal: reverse ? "later" : "earlier",
    backwards: !reverse,
    a: {
      along: "lines",
      load: (line, depth) => scoreText(chunks, `scores[tAt + ${depth} * ${Q / 4} + r0 / 4 + ${line}]`),
      times: (line, depth) =>
        `decaysOf(${plain ? "" : "fromTable, "}r0 + 4 * ${line}, ${depth})${undone(chunks, depth, `(r0 + 4 * ${line})`)}`,
      ...(read.dots && {
        change: (value, line, depth) =>
          `select(${value}, vec4<f32>(), vec4<i32>(r0 + 4 * ${line}) + vec4<i32>(0, 1, 2, 3) == vec4<i32>(${depth}))`,
      }),
    },
    b: {
      along: "lines",
      raw,
      load: (line, depth) => vectorAt(plan, "z", depth, line),
      change: (value, _, depth) => insideText(plan, value, depth),
      ...(weighs && {
        weight: (_: string, depth: string) => numberAt(`${reverse ? table.seed : table.drive} + ${depth}`),
      }),
      ...shortColumns(plan),
    },
  };
}

/** Four scores, and the factor that makes them what they are. */
export const scoreText = ({ halfScores }: Chunks, text: string): string =>
  halfScores ? `unpackedState(${text})` : text;
export function undone(chunks: Chunks, row: string, column: string): string {
  if (!chunks.halfScores) return "";
  const { scores: shape } = chunks.sizes as { readonly scores: MatrixTile };
  const [down, across] = scoreGrid(chunks);
  return ` * inversePower(told[scoreAt * ${down * across} + ${row} / ${shape.rows} * ${across} + ${column} / ${shape.columns}].y)`;
}

/** The decays between eight steps, from line on, and another: the later ones, or with `reverse` the earlier ones. */
function decayFunction({ table, Q }: Chunks, reverse: boolean): string {
  const blocks = Q / BLOCK;
  const number = (offset: string): string => `table[at + (${offset}) / 4][(${offset}) % 4]`;
  const [own, other] = reverse ? [table.toBlock, table.fromBlock] : [table.fromBlock, table.toBlock];
  const between = reverse
    ? `step / ${BLOCK} * ${blocks} + line / ${BLOCK}`
    : `line / ${BLOCK} * ${blocks} + step / ${BLOCK}`;
  return `fn decaysOf(at: i32, line: i32, step: i32) -> mat2x4<f32> {
  if (line / ${BLOCK} == step / ${BLOCK}) {
    let pair = at + ${(reverse ? table.pairsBack : table.pairs) / 4} + step * ${BLOCK / 4} + line % ${BLOCK} / 4;
    return mat2x4<f32>(table[pair], table[pair + 1]);
  }
  if (line ${reverse ? ">" : "<"} step) { return mat2x4<f32>(); }
  let by = ${number(`${other} + step`)} * ${number(`${table.between} + ${between}`)};
  let first = at + (${own} + line) / 4;
  return mat2x4<f32>(table[first] * by, table[first + 1] * by);
}
`;
}

/** Nothing decays: pairs are kept, or not. */
const keepFunction = (reverse: boolean): string => `fn decaysOf(line: i32, step: i32) -> mat2x4<f32> {
  let lines = vec4<i32>(line) + vec4<i32>(0, 1, 2, 3);
  let kept = vec4<i32>(step);
  return mat2x4<f32>(${["lines", "lines + 4"].map((four) => `vec4<f32>(${four} ${reverse ? "<=" : ">="} kept)`).join(", ")});
}
`;
/** Whether the sums of rows are taken of the products with the states and of the pairs of steps each. */
const separates = ({ read: { state, dots }, tile }: ReadPlan): boolean =>
  separatesDots(tile, state) && dots !== undefined;

function finished(plan: ReadPlan, { all }: SumNames): string {
  const { chunks, read } = plan;
  const { to, dots } = read;
  if (!to) return "";
  const { Q, table } = chunks;
  const own = (): readonly string[] =>
    all.map(
      ({ name, row, column }) => `{
  let step = r0 + ${row};
  let own = ${scoreText(chunks, `scores[tAt + step * ${Q / 4} + step / 4]`)}[step % 4]${undone(chunks, "step", "step")} * ${numberAt(`${read.state === "adjoint" ? table.seed : table.drive} + step`)};
  ${name} += own * ${insideText(plan, vectorAt(plan, "z", "step", `${column} / 4`), "step")};
}`,
    );
  const stored = all.map(({ name, row, column }) => {
    const at = columnText(plan, `${column} / 4`);
    return `if ((r0 + ${row} < ${validSteps(plan)}) & (${at} < ${widthOf(plan)})) { found[foundAt + ${row} * ${strideOf(chunks, to, 4)} + ${at}] = ${name}; }`;
  });
  return [...(dots ? own() : []), ...stored].join("\n");
}

/**
 * Sums of the rows times those of another operand, and its scale. Each step's pair with itself is left out, and added afterwards: it
 * is the same in those of the states and of the adjoint states, whose difference would be lost in its rounding where decays are
 * strong. For the same reason the other operand is rounded where products are of rounded numbers: then all pairs of steps are
 * in both sums with the same value, and their difference is that of the pairs which are in one alone.
 */
function rowDots(plan: ReadPlan): RowSums {
  const { chunks, read, tiles, tile } = plan;
  const { L, table } = chunks;
  const rounded = tile.terms === 1;
  const factor = (row: string): string =>
    numberAt(`${read.state === "adjoint" ? table.drive : table.seed} + r0 + ${row}`);
  return {
    each: ({ row, names, columns }) => {
      const four = `${columns[0]} / 4`;
      const other = vectorAt(plan, "w", row, four);
      const own = rounded ? `highPart(timesFactors(${other}, vec4<f32>(${factor(row)})))` : other;
      return `select(0.0, dot(${names[0]}, ${own}), ${columnText(plan, four)} < ${widthOf(plan)})`;
    },
    early: separates(plan),
    use: (row, sum, ofStates) => `if (r0 + ${row} < ${validSteps(plan)}) {
  let to = (h * ${tiles} + columnTile) * ${L} + t0 + r0 + ${row};
${
  separates(plan)
    ? `  let early = ${ofStates};
  dots[to] = ${sum} - early;
  dots[${chunks.H * tiles * L} + to] = early;`
    : `  dots[to] = ${sum}${rounded ? "" : ` * ${factor(row)}`};`
}
}`,
  };
}
