/** Passes of the states: what each chunk adds to them, and what they are before each chunk (adjoint: behind it). */
import type { Operand } from "@seqmix/tensor/backend";
import { entryPoint, indent, type GpuPass } from "@seqmix/tensor/wgsl";
import {
  baseText,
  boundRows,
  declarations,
  distinct,
  isPlain,
  isRagged,
  numberText,
  passOf,
  pointsOf,
  POWERS,
  readVector,
  slicedAxis,
  splitHeads,
  stateFunctions,
  stateType,
  strideOf,
  tableAt,
  vectorsOf,
  type Bound,
  type Chunks,
  type Place,
  type Sizes,
} from "./layout.js";
import { placeOfRows } from "./key-rows.js";
import { MAGNITUDE_FUNCTIONS, magnitudeAt, productExponent, type Kind } from "./magnitudes.js";
import { shaderOf } from "./matrix-tile.js";
import { isMatrixTile, rawOf, type OperandText } from "./tile.js";

/** The head's axis whose values follow each other in memory while all its heads have the same keys: they are columns of one product. */
function axisInColumns(chunks: Chunks, x: Operand, z: Operand): number | undefined {
  const { operands, parts, V, extents } = chunks;
  const { heads } = parts.form;
  const { index } = operands.get(z)!;
  return heads.find(
    (axis) =>
      extents[axis]! > 1 &&
      axis !== slicedAxis(chunks) &&
      !x.axes.includes(axis) &&
      index.coefficients[axis] === V &&
      V % 16 === 0,
  );
}

/** Buffers of rows of keys that are decayed to the chunk's edge already, and of those of the first chunk if they differ. */
const rowsAtEdge = (
  { keyRows }: Chunks,
  x: Operand,
  weights: "driveToEnd" | "seedBegin",
): { readonly rows: number | undefined; readonly begin: number | undefined } =>
  weights === "driveToEnd"
    ? { rows: keyRows?.earlier.get(x), begin: undefined }
    : { rows: keyRows?.later.get(x), begin: keyRows?.begin };

const boundFirst = (begin: number | undefined): readonly Bound[] =>
  begin === undefined ? [] : [{ name: "firstRows", buffer: begin, type: "vec4<f32>" }];

/** S of each chunk [heads, chunks, K, V]: the sum of x_t z_t^T, weighted by the decay to the chunk's end (adjoint: from its beginning). */
export function statesPass(
  chunks: Chunks,
  {
    x,
    z,
    weights,
    to,
    table,
  }: {
    readonly x: Operand;
    readonly z: Operand;
    readonly weights: "driveToEnd" | "seedBegin";
    readonly to: number;
    readonly table: number;
  },
): GpuPass {
  const { magnitudes, halfStates } = chunks;
  const { Q, L, count, K, V, K4, V4, parts, operands, keyRows, fragments } = chunks;
  const { heads } = parts.form;
  // decays by key are in what heads would share
  const shared = isMatrixTile(chunks.sizes.states) && !keyRows ? axisInColumns(chunks, x, z) : undefined;
  const together = shared === undefined ? 1 : chunks.extents[shared]!;
  const outer = heads.filter((axis) => axis !== shared);
  const after = shared === undefined ? [] : heads.slice(heads.indexOf(shared) + 1);
  const shape = tileOf(chunks, V * together);
  const [rowTiles, columnTiles] = [Math.ceil(K / shape.rows), Math.ceil((V * together) / shape.columns)];
  const places: Record<"x" | "z", Place> = { x: operands.get(x)!, z: operands.get(z)! };
  const { rows, begin } = rowsAtEdge(chunks, x, weights);
  const bound = distinct([
    boundRows(rows, places.x),
    ...boundFirst(begin),
    { name: "z", buffer: places.z.buffer, type: vectorsOf(places.z) },
    { name: "table", buffer: table, type: "f32" },
    { name: "states", buffer: to, type: stateType(chunks), access: "read_write" },
    ...(magnitudes === undefined
      ? []
      : [{ name: "magnitudes", buffer: magnitudes, type: "f32", access: "read_write" } as const]),
  ]);
  /** Four keys; where each has a decay of its own, as they are at the chunk's edge. */
  const keysAt = (line: string, depth: string): string => {
    if (rows === undefined) return at("x", line, depth);
    const own = `rows[xAt + ${depth} * ${K4} + ${line}]`;
    if (begin === undefined) return own;
    const inFirst = `min(${depth} * ${K4} + rowTile * ${shape.rows / 4} + ${line}, ${Q * K4 - 1})`;
    return `select(${own}, firstRows[h * ${Q * K4} + ${inFirst}], c == 0)`;
  };
  const points = pointsOf(chunks, outer);
  const groups = points * count * rowTiles * columnTiles;
  const inside = (value: string, depth: string): string =>
    isRagged(chunks) ? `select(vec4<f32>(), ${value}, t0 + ${depth} < ${L})` : value;
  const element = (name: "x" | "z", line: string, depth: string): string =>
    `${bound.nameOf(places[name].buffer)}[${name}At + ${depth} * ${strideOf(chunks, places[name], 4)} + ${line}]`;
  const at = (name: "x" | "z", line: string, depth: string): string =>
    readVector(places[name], element(name, line, depth));
  /** The head of a column. */
  const headAt = (column: string): string =>
    shared === undefined ? "h" : `(h + min((${column}) / ${V}, ${together - 1}) * ${pointsOf(chunks, after)})`;
  // arrays of f16 need no scales; what their weights are at most is in the table
  const knows = magnitudes !== undefined && !keyRows && places.x.half === true && places.z.half === true;
  const state = weights === "driveToEnd" ? "current" : "adjoint";
  // what is neither weighed nor cut is copied, if it is f16
  const isWhole = !keyRows && !isRagged(chunks);
  const weighs = !isWhole || !isPlain(chunks);
  const raw = (name: "x" | "z"): OperandText["raw"] =>
    isWhole && (name === "x" || !weighs)
      ? rawOf(shape, places[name], (line, depth) => element(name, line, depth))
      : undefined;
  const [rawX, rawZ] = [raw("x"), raw("z")];
  const code = shaderOf(shape, fragments, {
    module:
      declarations(bound.list) +
      (magnitudes !== undefined && !halfStates ? POWERS : stateFunctions(chunks)) +
      (knows ? MAGNITUDE_FUNCTIONS : ""),
    setup: `let at = i32(group);
if (at >= ${groups}) { return; }
let columnTile = at % ${columnTiles};
let rowTile = at / ${columnTiles} % ${rowTiles};
let c = at / ${columnTiles * rowTiles} % ${count};
let point = at / ${columnTiles * rowTiles * count};
${splitHeads(chunks, "point", outer)}
${shared === undefined ? "" : `let i${shared} = 0;`}
let h = ${numberText(chunks, heads)};
let t0 = c * ${Q};
let xAt = ${placeOfRows(chunks, rows, places.x, "t0")} + rowTile * ${shape.rows / 4};
let zAt = ${baseText(chunks, places.z, 4)} + t0 * ${strideOf(chunks, places.z, 4)} + columnTile * ${shape.columns / 4};
${knows ? largestWeight(chunks, state, Math.max(1, Math.min(together, Math.ceil(shape.columns / V))), (n) => headAt(`columnTile * ${shape.columns} + ${n} * ${V}`)) : ""}`,
    phases: [
      {
        begin: "0",
        end: isRagged(chunks) ? `min(${Q}, ${L} - t0)` : String(Q),
        backwards: weights === "driveToEnd",
        // f16 ends at 2^16
        known: knows
          ? {
              a: rawX ? "127" : "scaleFor(142)",
              b: rawZ ? "127" : `scaleFor(${productExponent("142", "ofWeights")})`,
            }
          : undefined,
        a: {
          along: "lines",
          raw: rawX,
          measured: knows,
          load: keysAt,
          change: (value, _, depth) => inside(value, depth),
          lines: K % shape.rows === 0 ? undefined : `${K} - rowTile * ${shape.rows}`,
        },
        b: {
          along: "lines",
          raw: rawZ,
          measured: magnitudes !== undefined,
          load: (line, depth) => at("z", line, depth),
          change: (value, _, depth) => inside(value, depth),
          ...(weighs && {
            weight: (line, depth) =>
              `table[${tableAt(chunks, "c", 1, headAt(`columnTile * ${shape.columns} + 4 * ${line}`))} + ${chunks.table[weights]} + min(${depth}, ${Q - 1})]`,
          }),
          lines: (V * together) % shape.columns === 0 ? undefined : `${V * together} - columnTile * ${shape.columns}`,
        },
      },
    ],
    finish: ({ all }) =>
      // no sum of products is larger than their number times the largest operands
      (magnitudes === undefined ? "" : powerText(knows, Q)) +
      all
        .map(
          ({ name, row, column }) => `{
  let row = rowTile * ${shape.rows} + ${row};
  let column = columnTile * ${shape.columns} + ${column};
  if ((row < ${K}) & (column < ${shared === undefined ? 4 * V4 : V * together})) {
    states[(${headAt("column")} * ${count} + c) * ${K * V4} + row * ${V4} + ${shared === undefined ? "column" : `column % ${V}`} / 4] = ${halfStates ? `packedState(${name} * power)` : name};
${magnitudes === undefined ? "" : `    if ((row == 0) & (column % ${V} == 0)) { ${told(chunks, state, knows, headAt("column"))} }\n`}  }
}`,
        )
        .join("\n"),
  });
  return passOf(chunks, bound.list, groups, code);
}

/** The tile for so many columns: it has all keys where its workgroup tells how large states are. */
const tileOf = ({ sizes, magnitudes, K }: Chunks, columns: number): Sizes["states"] =>
  columns <= 64 && (magnitudes === undefined || K <= sizes.narrow.rows) ? sizes.narrow : sizes.states;

/** What the weights of f16 values are at most, over so many heads of a tile. */
const largestWeight = (
  chunks: Chunks,
  state: "current" | "adjoint",
  heads: number,
  headAt: (n: string) => string,
): string => `var mostWeight = 0.0;
for (var n = 0; n < ${heads}; n++) {
  let at = ${tableAt(chunks, "c", 1, headAt("n"))} + ${chunks.table.most};
  mostWeight = max(mostWeight, table[at] * table[at + ${state === "current" ? 1 : 2}]);
}
let ofWeights = exponentOf(mostWeight);`;

/** The power of two that brings the sums of so many products below 2^15. */
const powerText = (
  knows: boolean,
  products: number,
): string => `let exponents = ${knows ? "exponentsOf(mostOf(1)) + vec2<i32>(0, ofWeights - 126)" : "exponentsOf(mostOf(0))"};
let power = powerFor(exponents.x + exponents.y - 127 + ${1 + Math.ceil(Math.log2(products))});
`;

/** Leaves what was found out for the passes behind. */
const told = (chunks: Chunks, state: "current" | "adjoint", knows: boolean, head: string): string =>
  `let own = ${head};
${(
  [
    ["contribution", "power"],
    ["keys", knows ? "mostOf(1).x" : "mostOf(0).x"],
    ["values", "mostOf(1).y"],
  ] as const
)
  .map(([kind, value]) => `${magnitudeAt(chunks, state, kind, "own", "c")} = ${value};`)
  .join("\n")}`;

/** Chunks read ahead of their turn: more where few threads keep memory busy. */
const aheadOf = (threads: number, count: number): number => Math.min(threads < 65_536 ? 16 : 8, count);
const CARRY_THREADS = 64,
  HALF_CARRY_THREADS = 256;

/** The decay of a whole chunk (backwards: of the first, from behind its first step), for a key where each has its own. */
function decaysOfChunks(
  chunks: Chunks,
  table: number,
  backwards: boolean,
  key: string,
): { readonly bound: readonly Bound[]; whole(c: string): string } {
  const { Q, H, count, K4, keyRows, table: offsets } = chunks;
  if (!keyRows)
    return {
      bound: [{ name: "table", buffer: table, type: "f32" }],
      whole: (c) => `table[${tableAt(chunks, c, 1)} + ${(backwards ? offsets.begin : offsets.before) + Q - 1}]`,
    };
  const own = (c: string): string => `chunkDecays[(h * ${count} + ${c}) * ${K4} + ${key} / 4][${key} % 4]`;
  const first = `chunkDecays[${H * count * K4} + h * ${K4} + ${key} / 4][${key} % 4]`;
  return {
    bound: [{ name: "chunkDecays", buffer: keyRows.whole, type: "vec4<f32>" }],
    whole: (c) => (backwards && keyRows.begin !== undefined ? `select(${own(c)}, ${first}, ${c} == 0)` : own(c)),
  };
}

/** In place: what a chunk adds becomes the state before it, or behind it from the last chunk to the first. */
export function carryPass(
  chunks: Chunks,
  {
    states,
    table,
    start,
    end,
    backwards,
  }: {
    readonly states: number;
    readonly table: number;
    readonly start?: Operand | undefined;
    /** Receives the state after all chunks. */
    readonly end?: Place | undefined;
    readonly backwards: boolean;
  },
): GpuPass {
  const { parts, count, H, K, V4, operands } = chunks;
  const each = K * V4;
  const from = start && operands.get(start)!;
  const decays = decaysOfChunks(chunks, table, backwards, `e / ${V4}`);
  const bound: Bound[] = [
    { name: "states", buffer: states, type: "vec4<f32>", access: "read_write" },
    ...decays.bound,
    ...(from ? [{ name: "start", buffer: from.buffer, type: "vec4<f32>" } as const] : []),
    ...(end ? [{ name: "last", buffer: end.buffer, type: "vec4<f32>", access: "read_write" } as const] : []),
    ...(chunks.magnitudes === undefined
      ? []
      : [{ name: "magnitudes", buffer: chunks.magnitudes, type: "f32", access: "read_write" } as const]),
  ];
  const ahead = aheadOf(H * each, count);
  const some = Array.from({ length: ahead }, (_, k) => k);
  const chunk = (k: string): string => (backwards ? `(${count - 1} - ${k})` : k);
  const { keys } = parts.form;
  const place = ({ index }: Place): string =>
    `${baseText(chunks, { buffer: 0, index }, 4)} + e / ${V4} * ${index.coefficients[keys]! / 4} + e % ${V4}`;
  if (chunks.halfStates) return halfCarryPass(chunks, { states, table, end, backwards });
  const state = backwards ? "adjoint" : "current";
  const tells = chunks.magnitudes !== undefined;
  const magnitude = (kind: Kind, q: number): string => magnitudeAt(chunks, state, kind, "h", `c${q}`);
  // by threads behind the others, one for each head
  const told = `let h = number - ${H * each};
if (h < ${H}) {
  var bound = 0.0;
  for (var k = 0; k < ${count}; k += ${ahead}) {
${some.map((q) => `    let c${q} = ${chunk(`min(k + ${q}, ${count - 1})`)};\n    let x${q} = ${magnitude("contribution", q)};\n    let a${q} = ${decays.whole(`c${q}`)};`).join("\n")}
${some
  .map(
    (q) => `    if (k + ${q} < ${count}) {
      ${magnitude("before", q)} = powerFor(i32(bitcast<u32>(bound) >> 23u));
      bound = bound * abs(a${q}) + 32768.0 * inversePower(x${q});
    }`,
  )
  .join("\n")}
  }
}
`;
  const body = `let number = i32(group) * ${CARRY_THREADS} + i32(thread);
if (number >= ${H * each}) {
${tells ? indent(told) : ""}  return;
}
let h = number / ${each};
let e = number % ${each};
${splitHeads(chunks, "h", parts.form.heads)}
let at = h * ${count * each} + e;
var carry = ${from ? `start[${place(from)}]` : "vec4<f32>()"};
${some.map((q) => `var next${q} = states[at + ${chunk(String(Math.min(q, count - 1)))} * ${each}];\nvar nextDecay${q} = ${decays.whole(chunk(String(Math.min(q, count - 1))))};`).join("\n")}
for (var k = 0; k < ${count}; k += ${ahead}) {
${some.map((q) => `  let x${q} = next${q};\n  let a${q} = nextDecay${q};`).join("\n")}
  // the next ones are on their way while these are stored
  if (k + ${ahead} < ${count}) {
${some
  .map(
    (q) => `    let c${q} = ${chunk(`min(k + ${ahead + q}, ${count - 1})`)};
    next${q} = states[at + c${q} * ${each}];
    nextDecay${q} = ${decays.whole(`c${q}`)};`,
  )
  .join("\n")}
  }
${some
  .map(
    (q) => `  if (k + ${q} < ${count}) {
    states[at + ${chunk(`(k + ${q})`)} * ${each}] = carry;
    carry = select(vec4<f32>(), carry * a${q}, a${q} != 0.0) + x${q};
  }`,
  )
  .join("\n")}
}
${end ? `last[${place(end)}] = carry;` : ""}`;
  return passOf(
    chunks,
    bound,
    Math.ceil((H * each + (tells ? H : 0)) / CARRY_THREADS),
    declarations(bound) + (tells ? POWERS : "") + entryPoint(CARRY_THREADS, body),
  );
}

/** The same of states in f16, eight at a time. The scale of a state is by what it can be at most. */
function halfCarryPass(
  chunks: Chunks,
  {
    states,
    table,
    end,
    backwards,
  }: {
    readonly states: number;
    readonly table: number;
    readonly end: Place | undefined;
    readonly backwards: boolean;
  },
): GpuPass {
  const { parts, count, H, K, V4, keyRows } = chunks;
  const each = (K * V4) / 2;
  const state = backwards ? "adjoint" : "current";
  const decays = decaysOfChunks(chunks, table, backwards, `2 * e / ${V4}`);
  const bound: Bound[] = [
    { name: "states", buffer: states, type: "vec4<u32>", access: "read_write" },
    ...decays.bound,
    ...(keyRows ? [{ name: "mosts", buffer: keyRows.mosts!, type: "f32" } as const] : []),
    { name: "magnitudes", buffer: chunks.magnitudes!, type: "f32", access: "read_write" },
    ...(end ? [{ name: "last", buffer: end.buffer, type: "vec4<f32>", access: "read_write" } as const] : []),
  ];
  const ahead = aheadOf(H * each, count);
  const some = Array.from({ length: ahead }, (_, k) => k);
  const chunk = (k: string): string => (backwards ? `(${count - 1} - ${k})` : k);
  /** What the decays of chunk `c` are at most. */
  const most = (q: number, c: string): string => (keyRows ? `mosts[h * ${count} + ${c}]` : `abs(nextDecay${q})`);
  const next = (q: number): string => `  if (k + ${q} < ${count}) {
    let c = ${chunk(`(k + ${q})`)};
    let power = powerFor(i32(bitcast<u32>(bound) >> 23u));
    states[at + c * ${each}] = vec4<u32>(packedState(x * power), packedState(y * power));
    if (e == 0) { ${magnitudeAt(chunks, state, "before", "h", "c")} = power; }
    let by = inversePower(p${q});
    x = select(vec4<f32>(), x * a${q}, a${q} != 0.0) + unpackedState(s${q}.xy) * by;
    y = select(vec4<f32>(), y * a${q}, a${q} != 0.0) + unpackedState(s${q}.zw) * by;
    bound = bound * m${q} + 32768.0 * by;
  }`;
  /** Reads what chunk `c` adds, how that is scaled, and the chunk's decay. */
  const load = (q: number, c: string): string =>
    `nextState${q} = states[at + ${c} * ${each}];
nextDecay${q} = ${decays.whole(c)};
nextMost${q} = ${most(q, c)};
nextPower${q} = ${magnitudeAt(chunks, state, "contribution", "h", c)};`;
  const { keys } = parts.form;
  const place = ({ index }: Place): string =>
    `${baseText(chunks, { buffer: 0, index }, 4)} + 2 * e / ${V4} * ${index.coefficients[keys]! / 4} + 2 * e % ${V4}`;
  const body = `let number = i32(group) * ${HALF_CARRY_THREADS} + i32(thread);
if (number >= ${H * each}) { return; }
let h = number / ${each};
let e = number % ${each};
${splitHeads(chunks, "h", parts.form.heads)}
let at = h * ${count * each} + e;
var x = vec4<f32>();
var y = vec4<f32>();
var bound = 0.0;
${some.map((q) => `var nextState${q}: vec4<u32>;\nvar nextDecay${q}: f32;\nvar nextMost${q}: f32;\nvar nextPower${q}: f32;\n${load(q, chunk(String(Math.min(q, count - 1))))}`).join("\n")}
for (var k = 0; k < ${count}; k += ${ahead}) {
${some.map((q) => `  let s${q} = nextState${q};\n  let a${q} = nextDecay${q};\n  let m${q} = nextMost${q};\n  let p${q} = nextPower${q};`).join("\n")}
  // the next ones are on their way while these are stored
  if (k + ${ahead} < ${count}) {
${some.map((q) => `    let c${q} = ${chunk(`min(k + ${ahead + q}, ${count - 1})`)};\n${indent(load(q, `c${q}`), 2)}`).join("\n")}
  }
${some.map(next).join("\n")}
}
${end ? `last[${place(end)}] = x;\nlast[${place(end)} + 1] = y;` : ""}`;
  return passOf(
    chunks,
    bound,
    Math.ceil((H * each) / HALF_CARRY_THREADS),
    declarations(bound) + stateFunctions(chunks) + entryPoint(HALF_CARRY_THREADS, body),
  );
}
