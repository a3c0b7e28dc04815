/**
 * Rows that no workgroup holds, n = n1 n2: first the columns of n1 (a stride of n2 apart) are transformed, then the rows of
 * n2 (long-rows.ts), then the columns back. Blocks stay where they are between the passes, and no twiddles stand between.
 */
import { entryPoint, type GpuPass } from "@seqmix/tensor/wgsl";
import { bind, boundAs, element, stored, type Operand } from "./bindings.js";
import {
  COMPLEX,
  forwardLevels,
  inverseLevels,
  lines,
  loadedTwiddles,
  realForward,
  realInverse,
  type Text,
} from "./butterflies.js";
import { BARRIER } from "./row-transform.js";
import { range, twiddleVectors } from "./residues.js";

/** How columns of n1 = r1 r2 are laid on threads. */
export interface ColumnShape {
  readonly r1: number;
  /** 1: one step, and no workgroup memory. */
  readonly r2: number;
  /** Columns of a row, and columns of a workgroup. */
  readonly n2: number;
  readonly width: number;
  readonly padded: boolean;
}

/** Rows [rows / channels, D, length] of a tensor, from a first channel on, as many channels as there are at a time. */
export interface Rows {
  readonly rows: number;
  readonly channels: number;
  readonly first: number;
  readonly D: number;
  readonly length: number;
}

/** Offsets of the table's steps. */
export interface LongOffsets {
  readonly columns: readonly number[];
  readonly rows: readonly number[];
}

/** Bytes of workgroup memory for columns. */
export const columnBytes = ({ r1, r2, width, padded }: ColumnShape): number =>
  r2 === 1 ? 0 : 8 * r1 * (r2 + (padded ? 1 : 0)) * width;

const keptBy = ({ r1, r2 }: ColumnShape): number => Math.max(r1, r2);

/** Invocations of a workgroup for columns. */
export const columnThreads = (shape: ColumnShape): number => (shape.r1 * shape.r2 * shape.width) / keptBy(shape);

/** What both directions of a pass over columns are written with. */
interface Columns {
  readonly values: readonly string[];
  /** The first step's butterflies: of elements `place` + q r2 n2. */
  first(body: (values: readonly string[]) => Text): Text;
  /** The second step's butterflies: of elements (s1 r2 + q) n2 + first + col. */
  second(body: (values: readonly string[]) => Text): Text;
  readonly memory: string;
  readonly head: string;
}

function columnsOf(shape: ColumnShape): Columns {
  const { r1, r2, n2, width, padded } = shape;
  const kept = keptBy(shape);
  const threads = columnThreads(shape);
  const values = range(kept).map((k) => `v${k}`);
  const each = (radix: number, digit: string, body: (values: readonly string[]) => Text): Text =>
    range(kept / radix).map((h) => [
      `{ let beta = t${h > 0 ? ` + ${h * threads}u` : ""}; let col = beta % ${width}u; let ${digit} = beta / ${width}u;`,
      body(values.slice(h * radix, (h + 1) * radix)),
      "}",
    ]);
  return {
    values,
    first: (body) => each(r1, "q2", (own) => [`let place = q2 * ${n2}u + first + col;`, body(own)]),
    second: (body) => (r2 === 1 ? "" : each(r2, "s1", body)),
    memory:
      r2 === 1 ? "" : `var<workgroup> s: array<array<array<vec2f, ${width}>, ${r2 + (padded ? 1 : 0)}>, ${r1}>;\n`,
    head: lines(
      "if (group >= u32(p.groups)) { return; }",
      "let t = thread;",
      `let first = group % ${n2 / width}u * ${width}u;`,
      `let row = group / ${n2 / width}u;`,
      "let channel = u32(p.first) + row % u32(p.channels);",
      "let length = u32(p.length);",
      "let at = (row / u32(p.channels) * u32(p.all) + channel) * length;",
      `let z0 = row * ${r1 * r2 * n2}u;`,
      values.map((value) => `var ${value}: vec2f;`),
    ),
  };
}

const columnParameters = (
  { rows, channels, first, D, length }: Rows,
  { n2, width }: ColumnShape,
): Record<string, number> => ({
  groups: (rows * n2) / width,
  channels,
  first,
  all: D,
  length,
});

const wholeLength = ({ r1, r2, n2 }: ColumnShape, { length }: Rows): boolean => length === r1 * r2 * n2;

/** Rows of x, times those of `factor`, with their columns transformed. Buffers: x, factor, twiddles, z. */
export function columnsPass(
  shape: ColumnShape,
  offsets: LongOffsets,
  rows: Rows,
  { x, factor, twiddles, z }: { x: Operand; factor?: Operand | undefined; twiddles: Operand; z: Operand },
): GpuPass {
  const { r2, n2 } = shape;
  const { first, second, memory, head } = columnsOf(shape);
  const parameters = columnParameters(rows, shape);
  const full = wholeLength(shape, rows);
  const { declarations, buffers } = bind(
    [
      boundAs("x", x),
      ...(factor ? [boundAs("factor", factor)] : []),
      ...(r2 > 1 ? [boundAs("twiddles", twiddles, { type: "vec4f" })] : []),
      boundAs("z", z, { type: "vec2f", access: "read_write" }),
    ],
    parameters,
  );
  const value = (position: string): string =>
    element(`x[at + ${position}]`, x) + (factor ? ` * ${element(`factor[at + ${position}]`, factor)}` : "");
  const read = (own: readonly string[]): Text =>
    own.map((name, q) => {
      const position = `${q * r2 * n2}u + place`;
      return full
        ? `${name}.x = ${value(position)};`
        : `${name}.x = select(0.0, ${value(`min(${position}, length - 1u)`)}, ${position} < length);`;
    });
  const body = lines(
    head,
    first((own) => [
      read(own),
      realForward(own),
      own.map((name, q) => (r2 === 1 ? `z[z0 + ${q * n2}u + place] = ${name};` : `s[${q}u][q2][col] = ${name};`)),
    ]),
    r2 === 1 ? "" : BARRIER,
    second((own) => {
      const { text, twiddles: loaded } = loadedTwiddles(r2, `${offsets.columns[1]!}u + s1 * ${twiddleVectors(r2)}u`);
      return [
        text,
        own.map((name, q) => `${name} = s[s1][${q}u][col];`),
        forwardLevels(own, loaded),
        own.map((name, q) => `z[z0 + (s1 * ${r2}u + ${q}u) * ${n2}u + first + col] = ${name};`),
      ];
    }),
  );
  return {
    code: `${declarations}${memory}${COMPLEX}${entryPoint(columnThreads(shape), body)}`,
    buffers,
    parameters,
    groups: parameters["groups"]!,
  };
}

/** The inverse: real parts, times `factor`; the first number of a row to `direct` too. Buffers: z, factor, twiddles, y, direct. */
export function columnsBackPass(
  shape: ColumnShape,
  offsets: LongOffsets,
  rows: Rows,
  {
    z,
    factor,
    twiddles,
    y,
    direct,
  }: { z: Operand; factor?: Operand | undefined; twiddles: Operand; y: Operand; direct?: Operand | undefined },
): GpuPass {
  const { r2, n2 } = shape;
  const { first, second, memory, head } = columnsOf(shape);
  const parameters = columnParameters(rows, shape);
  const full = wholeLength(shape, rows);
  const { declarations, buffers } = bind(
    [
      boundAs("z", z, { type: "vec2f" }),
      ...(factor ? [boundAs("factor", factor)] : []),
      ...(r2 > 1 ? [boundAs("twiddles", twiddles, { type: "vec4f" })] : []),
      boundAs("y", y, { access: "read_write" }),
      ...(direct ? [boundAs("direct", direct, { access: "read_write" })] : []),
    ],
    parameters,
  );
  const write = (own: readonly string[]): Text =>
    own.map((name, q) => {
      const position = `${q * r2 * n2}u + place`;
      const times = factor ? `${element(`factor[at + ${position}]`, factor)} * ` : "";
      const store = `y[at + ${position}] = ${stored(`${times}${name}.x`, y)};`;
      return full ? store : `if (${position} < length) { ${store} }`;
    });
  const body = lines(
    head,
    second((own) => {
      const { text, twiddles: loaded } = loadedTwiddles(r2, `${offsets.columns[1]!}u + s1 * ${twiddleVectors(r2)}u`);
      return [
        text,
        own.map((name, q) => `${name} = z[z0 + (s1 * ${r2}u + ${q}u) * ${n2}u + first + col];`),
        inverseLevels(own, loaded),
        own.map((name, q) => `s[s1][${q}u][col] = ${name};`),
      ];
    }),
    r2 === 1 ? "" : BARRIER,
    first((own) => [
      own.map((name, q) => `${name} = ${r2 === 1 ? `z[z0 + ${q * n2}u + place]` : `s[${q}u][q2][col]`};`),
      realInverse(own),
      write(own),
      direct ? `if (place == 0u) { direct[channel] = ${own[0]!}.x; }` : "",
    ]),
  );
  return {
    code: `${declarations}${memory}${COMPLEX}${entryPoint(columnThreads(shape), body)}`,
    buffers,
    parameters,
    groups: parameters["groups"]!,
  };
}
