/**
 * Convolutions of rows that no workgroup holds, n = n1 n2: first the columns of n1 (a stride of n2 apart) are transformed,
 * then the rows of n2, multiplied and transformed back, then the columns back. Blocks stay where they are between the
 * passes, and no twiddles stand between them.
 */
import { entryPoint, type GpuPass } from "@seqmix/tensor/wgsl";
import { bind, type Bound } from "./bindings.js";
import {
  COMPLEX,
  forwardLevels,
  inverseLevels,
  lines,
  loadedTwiddles,
  number,
  realForward,
  realInverse,
  type Text,
} from "./butterflies.js";
import { BARRIER, rowTransform, type RowShape, type RowTransform } from "./row-transform.js";
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

/** Rows of n = n1 n2. */
export interface LongShape {
  readonly columns: ColumnShape;
  readonly row: RowShape;
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

/** A tensor's buffer in a program, or one of scratch. */
export interface Operand {
  readonly buffer: number;
  readonly half?: boolean;
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

/** Values of a thread with which its part of the spectrum still stays in registers in a backward pass. */
const REGISTERS = 16;

const element = (name: string, { half }: Operand): string => (half ? `f32(${name})` : name);
const bound = (name: string, { buffer, half }: Operand, more: Partial<Bound> = {}): Bound => ({
  name,
  buffer,
  type: half ? "f16" : "f32",
  ...more,
});

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
      bound("x", x),
      ...(factor ? [bound("factor", factor)] : []),
      ...(r2 > 1 ? [bound("twiddles", twiddles, { type: "vec4f" })] : []),
      bound("z", z, { type: "vec2f", access: "read_write" }),
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
      bound("z", z, { type: "vec2f" }),
      ...(factor ? [bound("factor", factor)] : []),
      ...(r2 > 1 ? [bound("twiddles", twiddles, { type: "vec4f" })] : []),
      bound("y", y, { access: "read_write" }),
      ...(direct ? [bound("direct", direct, { access: "read_write" })] : []),
    ],
    parameters,
  );
  const write = (own: readonly string[]): Text =>
    own.map((name, q) => {
      const position = `${q * r2 * n2}u + place`;
      const times = factor ? `${element(`factor[at + ${position}]`, factor)} * ` : "";
      const store = `y[at + ${position}] = ${times}${name}.x;`;
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

/** What a pass over rows multiplies by: the kernels' columns in scratch, and the skip. */
export interface LongKernels {
  readonly k?: Operand | undefined;
  readonly kReverse?: Operand | undefined;
  readonly skip?: Operand | undefined;
}

interface RowsPass {
  readonly transform: RowTransform;
  readonly n1: number;
  readonly offsets: readonly number[];
  /** Reads a row of `name` at `at` and transforms it. */
  readonly forward: (name: string, at: string) => Text;
  /** Transforms back and writes. */
  readonly inverse: (name: string, at: string) => Text;
  /** The spectrum in registers h0, h1, .. */
  readonly spectrum: (kernels: LongKernels) => Text;
  readonly head: string;
}

function rowsPassOf({ columns, row }: LongShape, { rows: offsets }: LongOffsets): RowsPass {
  const transform = rowTransform(row);
  const { n, values } = transform;
  const n1 = columns.r1 * columns.r2;
  const scale = number(1 / (n * n1));
  const names = values.map((_, k) => `h${k}`);
  const forward = (name: string, at: string): Text => [
    transform.atFirst((value, position) => `${value} = ${name}[${at} + ${position}];`),
    transform.complexFirst(offsets, "m", false),
    transform.forward(offsets, "m"),
  ];
  return {
    transform,
    n1,
    offsets,
    forward,
    inverse: (name, at) => [
      transform.inverse(offsets, "m"),
      transform.complexFirst(offsets, "m", true),
      transform.atFirst((value, position) => `${name}[${at} + ${position}] = ${value};`),
    ],
    spectrum: ({ k, kReverse, skip }) => [
      names.map((name) => `var ${name}: vec2f;`),
      k ? [forward("kz", "kernelAt"), names.map((name, j) => `${name} = ${scale} * ${values[j]!};`), BARRIER] : "",
      kReverse
        ? [
            forward("rz", "kernelAt"),
            names.map((name, j) => `${name} ${k ? "+=" : "="} ${scale} * conj(${values[j]!});`),
            BARRIER,
          ]
        : "",
      skip
        ? [`let direct = ${scale} * ${element("skip[channel]", skip)};`, names.map((name) => `${name}.x += direct;`)]
        : "",
    ],
    head: lines(
      "if (group >= u32(p.groups)) { return; }",
      transform.head,
      `let m = group % ${n1}u;`,
      `let local = group / ${n1}u;`,
      "let channel = u32(p.first) + local;",
      `let kernelAt = group * ${n}u;`,
      transform.declared,
    ),
  };
}

const eachOfBatch = (B: number, n1: number, n: number, body: Text): Text =>
  B === 1
    ? ["{ let at = kernelAt;", body, "}"]
    : [
        "for (var b = 0u; b < u32(p.batch); b++) {",
        `let at = ((b * u32(p.channels) + local) * ${n1}u + m) * ${n}u;`,
        body,
        "}",
      ];

/** Rows of z times the spectrum of the kernels, in place. Buffers: z, the kernels' columns, skip, twiddles. */
export function rowsForwardPass(
  shape: LongShape,
  offsets: LongOffsets,
  { B, channels, first }: { B: number; channels: number; first: number },
  { z, twiddles, ...kernels }: LongKernels & { z: Operand; twiddles: Operand },
): GpuPass {
  const pass = rowsPassOf(shape, offsets);
  const { transform, n1 } = pass;
  const parameters = { groups: channels * n1, channels, first, batch: B };
  const { declarations, buffers } = bind(
    [
      bound("z", z, { type: "vec2f", access: "read_write" }),
      ...(kernels.k ? [bound("kz", kernels.k, { type: "vec2f" })] : []),
      ...(kernels.kReverse ? [bound("rz", kernels.kReverse, { type: "vec2f" })] : []),
      ...(kernels.skip ? [bound("skip", kernels.skip)] : []),
      bound("twiddles", twiddles, { type: "vec4f" }),
    ],
    parameters,
  );
  const body = lines(
    pass.head,
    pass.spectrum(kernels),
    eachOfBatch(B, n1, transform.n, [
      pass.forward("z", "at"),
      transform.values.map((value, k) => `${value} = times(${value}, h${k});`),
      pass.inverse("z", "at"),
    ]),
  );
  return {
    code: `${declarations}${transform.memory}${COMPLEX}${entryPoint(transform.invocations, body)}`,
    buffers,
    parameters,
    groups: parameters.groups,
  };
}

/**
 * The gradients of rows, in place: gz becomes that of u, the kernels' columns become those of the kernels, and with `gated`
 * uz becomes the convolution. Buffers: uz, gz, the kernels' columns, skip, twiddles.
 */
export function rowsBackwardPass(
  shape: LongShape,
  offsets: LongOffsets,
  { B, channels, first, gated }: { B: number; channels: number; first: number; gated: boolean },
  { uz, gz, twiddles, ...kernels }: LongKernels & { uz: Operand; gz: Operand; twiddles: Operand },
): GpuPass {
  const pass = rowsPassOf(shape, offsets);
  const { transform, n1 } = pass;
  const { values } = transform;
  const parameters = { groups: channels * n1, channels, first, batch: B };
  const written = { type: "vec2f", access: "read_write" } as const;
  const { declarations, buffers } = bind(
    [
      bound("uz", uz, gated ? written : { type: "vec2f" }),
      bound("gz", gz, written),
      ...(kernels.k ? [bound("kz", kernels.k, written)] : []),
      ...(kernels.kReverse ? [bound("rz", kernels.kReverse, written)] : []),
      ...(kernels.skip ? [bound("skip", kernels.skip)] : []),
      bound("twiddles", twiddles, { type: "vec4f" }),
    ],
    parameters,
  );
  const us = values.map((_, k) => `u${k}`);
  // With one row a channel the sum over the batch takes the place of that row's transform.
  const sums = B === 1 ? us : values.map((_, k) => `s${k}`);
  const scale = number(1 / (transform.n * n1));
  // Where a thread keeps many values the spectrum waits in the memory that its row came from.
  const parked = values.length > REGISTERS ? (kernels.k ? "kz" : "rz") : undefined;
  const parkedAt = (k: number): string => `${parked}[kernelAt + ${k * transform.threads}u + t]`;
  const h = (k: number): string => (parked ? parkedAt(k) : `h${k}`);
  const body = lines(
    pass.head,
    us.map((name) => `var ${name}: vec2f;`),
    B === 1 ? "" : sums.map((name) => `var ${name}: vec2f;`),
    parked
      ? ["{", pass.spectrum(kernels), values.map((_, k) => `${parkedAt(k)} = h${k};`), "}"]
      : pass.spectrum(kernels),
    eachOfBatch(B, n1, transform.n, [
      pass.forward("uz", "at"),
      us.map((name, k) => `${name} = ${values[k]!};`),
      gated ? [values.map((value, k) => `${value} = times(${value}, ${h(k)});`), pass.inverse("uz", "at")] : BARRIER,
      pass.forward("gz", "at"),
      values.map(
        (value, k) =>
          `{ let g = ${value}; ${value} = back(g, ${h(k)}); ${sums[k]!} ${B === 1 ? "=" : "+="} back(g, ${us[k]!}); }`,
      ),
      pass.inverse("gz", "at"),
    ]),
    parked ? "storageBarrier();" : "",
    kernels.k
      ? [values.map((value, k) => `${value} = ${scale} * ${sums[k]!};`), BARRIER, pass.inverse("kz", "kernelAt")]
      : "",
    kernels.kReverse
      ? [values.map((value, k) => `${value} = ${scale} * conj(${sums[k]!});`), BARRIER, pass.inverse("rz", "kernelAt")]
      : "",
  );
  return {
    code: `${declarations}${transform.memory}${COMPLEX}${entryPoint(transform.invocations, body)}`,
    buffers,
    parameters,
    groups: parameters.groups,
  };
}
