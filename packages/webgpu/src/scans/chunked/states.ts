/** Passes of the states: what each chunk adds to them, and what they are before each chunk (adjoint: behind it). */
import type { Operand } from "@seqmix/tensor/backend";
import { entryPoint, type GpuPass } from "@seqmix/tensor/wgsl";
import {
  baseText,
  declarations,
  isRagged,
  keyDecayVectors,
  numberText,
  passOf,
  pointsOf,
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
} from "./layout.js";
import { shaderOf } from "./matrix-tile.js";
import { isMatrixTile } from "./tile.js";

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

/** S of each chunk [heads, chunks, K, V]: the sum of x_t z_t^T, weighted by the decay to the chunk's end (adjoint: from its beginning). */
export function statesPass(
  chunks: Chunks,
  {
    x,
    z,
    weights,
    to,
    scales,
    table,
  }: {
    readonly x: Operand;
    readonly z: Operand;
    readonly weights: "driveToEnd" | "seedBegin";
    readonly to: number;
    /** [heads, chunks]: what states in f16 were multiplied with. */
    readonly scales: number | undefined;
    readonly table: number;
  },
): GpuPass {
  const { Q, L, count, K, V, K4, V4, parts, operands, keyDecays, fragments } = chunks;
  const { heads } = parts.form;
  // decays by key are in what heads would share
  const shared = isMatrixTile(chunks.sizes.states) && !keyDecays ? axisInColumns(chunks, x, z) : undefined;
  const together = shared === undefined ? 1 : chunks.extents[shared]!;
  const outer = heads.filter((axis) => axis !== shared);
  const after = shared === undefined ? [] : heads.slice(heads.indexOf(shared) + 1);
  const shape = V * together > 64 ? chunks.sizes.states : chunks.sizes.narrow;
  const [rowTiles, columnTiles] = [Math.ceil(K / shape.rows), Math.ceil((V * together) / shape.columns)];
  const places: Record<"x" | "z", Place> = { x: operands.get(x)!, z: operands.get(z)! };
  const bound = distinct([
    { name: "x", buffer: places.x.buffer, type: vectorsOf(places.x) },
    { name: "z", buffer: places.z.buffer, type: vectorsOf(places.z) },
    { name: "table", buffer: table, type: "f32" },
    ...(keyDecays && weights === "driveToEnd"
      ? [{ name: "toEnd", buffer: keyDecays.toEnd, type: "vec4<f32>" } as const]
      : []),
    ...(keyDecays && weights === "seedBegin"
      ? [
          { name: "before", buffer: keyDecays.before, type: "vec4<f32>" } as const,
          { name: "firstDecays", buffer: keyDecays.begin, type: "vec4<f32>" } as const,
        ]
      : []),
    { name: "states", buffer: to, type: stateType(chunks), access: "read_write" },
    ...(scales === undefined ? [] : [{ name: "powers", buffer: scales, type: "f32", access: "read_write" } as const]),
  ]);
  /** Decays of four keys. */
  const ofKeys = (line: string, depth: string): string => {
    if (!keyDecays) return "";
    const at = `${depth} * ${K4} + rowTile * ${shape.rows / 4} + ${line}`;
    const own = (name: string): string => `${name}[h * ${keyDecayVectors(chunks)} + t0 * ${K4} + ${at}]`;
    return weights === "driveToEnd"
      ? ` * ${own("toEnd")}`
      : ` * select(${own("before")}, firstDecays[h * ${Q * K4} + ${at}], c == 0)`;
  };
  const points = pointsOf(chunks, outer);
  const groups = points * count * rowTiles * columnTiles;
  const inside = (value: string, depth: string): string =>
    isRagged(chunks) ? `select(vec4<f32>(), ${value}, t0 + ${depth} < ${L})` : value;
  const at = (name: "x" | "z", line: string, depth: string): string =>
    readVector(
      places[name],
      `${bound.nameOf(places[name].buffer)}[${name}At + ${depth} * ${strideOf(chunks, places[name], 4)} + ${line}]`,
    );
  /** The head of a column. */
  const headAt = (column: string): string =>
    shared === undefined ? "h" : `(h + min((${column}) / ${V}, ${together - 1}) * ${pointsOf(chunks, after)})`;
  const code = shaderOf(shape, fragments, {
    module: declarations(bound.list) + stateFunctions(chunks),
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
let xAt = ${baseText(chunks, places.x, 4)} + t0 * ${strideOf(chunks, places.x, 4)} + rowTile * ${shape.rows / 4};
let zAt = ${baseText(chunks, places.z, 4)} + t0 * ${strideOf(chunks, places.z, 4)} + columnTile * ${shape.columns / 4};`,
    phases: [
      {
        begin: "0",
        end: isRagged(chunks) ? `min(${Q}, ${L} - t0)` : String(Q),
        backwards: weights === "driveToEnd",
        a: {
          along: "lines",
          load: (line, depth) => `${at("x", line, depth)}${ofKeys(line, depth)}`,
          change: (value, _, depth) => inside(value, depth),
          lines: K % shape.rows === 0 ? undefined : `${K} - rowTile * ${shape.rows}`,
        },
        b: {
          along: "lines",
          load: (line, depth) => at("z", line, depth),
          change: (value, _, depth) => inside(value, depth),
          weight: (line, depth) =>
            `table[${tableAt(chunks, "c", 1, headAt(`columnTile * ${shape.columns} + 4 * ${line}`))} + ${chunks.table[weights]} + min(${depth}, ${Q - 1})]`,
          lines: (V * together) % shape.columns === 0 ? undefined : `${V * together} - columnTile * ${shape.columns}`,
        },
      },
    ],
    finish: ({ all }) =>
      // no sum of products is larger than their number times the largest operands
      (scales === undefined
        ? ""
        : `let exponents = exponentsOf(mostOf(0));\nlet power = powerFor(exponents.x + exponents.y - 127 + ${1 + Math.ceil(Math.log2(Q))});\n`) +
      all
        .map(
          ({ name, row, column }) => `{
  let row = rowTile * ${shape.rows} + ${row};
  let column = columnTile * ${shape.columns} + ${column};
  if ((row < ${K}) & (column < ${shared === undefined ? 4 * V4 : V * together})) {
    states[(${headAt("column")} * ${count} + c) * ${K * V4} + row * ${V4} + ${shared === undefined ? "column" : `column % ${V}`} / 4] = ${scales === undefined ? name : `packedState(${name} * power)`};
${scales === undefined ? "" : `    if ((row == 0) & (column % ${V} == 0)) { powers[${headAt("column")} * ${count} + c] = power; }\n`}  }
}`,
        )
        .join("\n"),
  });
  return passOf(chunks, bound.list, groups, code);
}

/** Buffers bound once each, under the name of the first use. */
export function distinct(list: readonly Bound[]): { readonly list: readonly Bound[]; nameOf(buffer: number): string } {
  const names = new Map<number, Bound>();
  for (const bound of list) if (!names.has(bound.buffer)) names.set(bound.buffer, bound);
  return { list: [...names.values()], nameOf: (buffer) => names.get(buffer)!.name };
}

/** Chunks read ahead of their turn. */
const AHEAD = 8;
const CARRY_THREADS = 64;

/** In place: what a chunk adds becomes the state before it, or behind it from the last chunk to the first. */
export function carryPass(
  chunks: Chunks,
  {
    states,
    scales,
    table,
    start,
    end,
    backwards,
  }: {
    readonly states: number;
    /** What states in f16 were multiplied with, and what those in their place are. */
    readonly scales: { readonly from: number; readonly to: number } | undefined;
    readonly table: number;
    readonly start?: Operand | undefined;
    /** Receives the state after all chunks. */
    readonly end?: Place | undefined;
    readonly backwards: boolean;
  },
): GpuPass {
  const { parts, count, H, K, K4, V4, operands, Q, table: offsets, keyDecays } = chunks;
  const each = K * V4;
  const from = start && operands.get(start)!;
  const bound: Bound[] = [
    { name: "states", buffer: states, type: "vec4<f32>", access: "read_write" },
    ...(keyDecays
      ? [
          { name: "before", buffer: keyDecays.before, type: "vec4<f32>" } as const,
          ...(backwards ? [{ name: "firstDecays", buffer: keyDecays.begin, type: "vec4<f32>" } as const] : []),
        ]
      : [{ name: "table", buffer: table, type: "f32" } as const]),
    ...(from ? [{ name: "start", buffer: from.buffer, type: "vec4<f32>" } as const] : []),
    ...(end ? [{ name: "last", buffer: end.buffer, type: "vec4<f32>", access: "read_write" } as const] : []),
  ];
  const ahead = Math.min(AHEAD, count);
  const some = Array.from({ length: ahead }, (_, k) => k);
  const chunk = (k: string): string => (backwards ? `(${count - 1} - ${k})` : k);
  const whole = (c: string): string => {
    if (!keyDecays) return `table[${tableAt(chunks, c, 1)} + ${(backwards ? offsets.begin : offsets.before) + Q - 1}]`;
    const key = `e / ${V4}`;
    const before = `before[h * ${keyDecayVectors(chunks)} + (${c} * ${Q} + ${Q - 1}) * ${K4} + ${key} / 4][${key} % 4]`;
    return backwards
      ? `select(${before}, firstDecays[h * ${Q * K4} + ${(Q - 1) * K4} + ${key} / 4][${key} % 4], ${c} == 0)`
      : before;
  };
  const { keys } = parts.form;
  const place = ({ index }: Place): string =>
    `${baseText(chunks, { buffer: 0, index }, 4)} + e / ${V4} * ${index.coefficients[keys]! / 4} + e % ${V4}`;
  if (scales) return halfCarryPass(chunks, { states, table, scales, end, backwards });
  const body = `let number = i32(group) * ${CARRY_THREADS} + i32(thread);
if (number >= ${H * each}) { return; }
let h = number / ${each};
let e = number % ${each};
${splitHeads(chunks, "h", parts.form.heads)}
let at = h * ${count * each} + e;
var carry = ${from ? `start[${place(from)}]` : "vec4<f32>()"};
for (var k = 0; k < ${count}; k += ${ahead}) {
${some
  .map(
    (q) => `  let c${q} = ${chunk(`min(k + ${q}, ${count - 1})`)};
  let x${q} = states[at + c${q} * ${each}];
  let a${q} = ${whole(`c${q}`)};`,
  )
  .join("\n")}
${some
  .map(
    (q) => `  if (k + ${q} < ${count}) {
    states[at + c${q} * ${each}] = carry;
    carry = select(vec4<f32>(), carry * a${q}, a${q} != 0.0) + x${q};
  }`,
  )
  .join("\n")}
}
${end ? `last[${place(end)}] = carry;` : ""}`;
  return passOf(
    chunks,
    bound,
    Math.ceil((H * each) / CARRY_THREADS),
    declarations(bound) + entryPoint(CARRY_THREADS, body),
  );
}

/** The same of states in f16, eight at a time. The scale of a state is by what it can be at most. */
function halfCarryPass(
  chunks: Chunks,
  {
    states,
    table,
    scales,
    end,
    backwards,
  }: {
    readonly states: number;
    readonly table: number;
    readonly scales: { readonly from: number; readonly to: number };
    readonly end: Place | undefined;
    readonly backwards: boolean;
  },
): GpuPass {
  const { parts, count, H, K, V4, Q, table: offsets } = chunks;
  const each = (K * V4) / 2;
  const bound: Bound[] = [
    { name: "states", buffer: states, type: "vec4<u32>", access: "read_write" },
    { name: "table", buffer: table, type: "f32" },
    { name: "scales", buffer: scales.from, type: "f32" },
    { name: "scalesBefore", buffer: scales.to, type: "f32", access: "read_write" },
    ...(end ? [{ name: "last", buffer: end.buffer, type: "vec4<f32>", access: "read_write" } as const] : []),
  ];
  const ahead = Math.min(AHEAD, count);
  const some = Array.from({ length: ahead }, (_, k) => k);
  const whole = (c: string): string =>
    `table[${tableAt(chunks, c, 1)} + ${(backwards ? offsets.begin : offsets.before) + Q - 1}]`;
  const next = (q: number): string => `  if (k + ${q} < ${count}) {
    let power = powerFor(i32(bitcast<u32>(bound) >> 23u));
    states[at + c${q} * ${each}] = vec4<u32>(packedState(x * power), packedState(y * power));
    if (e == 0) { scalesBefore[h * ${count} + c${q}] = power; }
    let by = inversePower(p${q});
    x = select(vec4<f32>(), x * a${q}, a${q} != 0.0) + unpackedState(s${q}.xy) * by;
    y = select(vec4<f32>(), y * a${q}, a${q} != 0.0) + unpackedState(s${q}.zw) * by;
    bound = bound * abs(a${q}) + 32768.0 * by;
  }`;
  const { keys } = parts.form;
  const place = ({ index }: Place): string =>
    `${baseText(chunks, { buffer: 0, index }, 4)} + 2 * e / ${V4} * ${index.coefficients[keys]! / 4} + 2 * e % ${V4}`;
  const body = `let number = i32(group) * ${CARRY_THREADS} + i32(thread);
if (number >= ${H * each}) { return; }
let h = number / ${each};
let e = number % ${each};
${splitHeads(chunks, "h", parts.form.heads)}
let at = h * ${count * each} + e;
var x = vec4<f32>();
var y = vec4<f32>();
var bound = 0.0;
for (var k = 0; k < ${count}; k += ${ahead}) {
${some
  .map((q) => {
    const chunk = `min(k + ${q}, ${count - 1})`;
    return `  let c${q} = ${backwards ? `${count - 1} - ${chunk}` : chunk};
  let s${q} = states[at + c${q} * ${each}];
  let a${q} = ${whole(`c${q}`)};
  let p${q} = scales[h * ${count} + c${q}];`;
  })
  .join("\n")}
${some.map(next).join("\n")}
}
${end ? `last[${place(end)}] = x;\nlast[${place(end)} + 1] = y;` : ""}`;
  return passOf(
    chunks,
    bound,
    Math.ceil((H * each) / CARRY_THREADS),
    declarations(bound) + stateFunctions(chunks) + entryPoint(CARRY_THREADS, body),
  );
}
