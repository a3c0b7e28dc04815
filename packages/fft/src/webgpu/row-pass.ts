/**
 * What passes with one workgroup a row are written with: a row is read, transformed, multiplied, transformed back and
 * written without leaving the processor.
 */
import { entryPoint, type GpuPass } from "@seqmix/tensor/wgsl";
import { bind, type Bound } from "./bindings.js";
import { COMPLEX, lines, number, realForward, realInverse, type Text } from "./butterflies.js";
import { BARRIER, rowTransform, type RowShape, type RowTransform } from "./row-transform.js";

/** What a pass over whole rows computes. */
export interface RowCase {
  /** Rows of the batch. */
  readonly B: number;
  readonly D: number;
  /** Length of a row. */
  readonly L: number;
  /** Taps that look back and taps that look ahead; undefined without them. At most L. */
  readonly K?: number | undefined;
  readonly R?: number | undefined;
  readonly skip: boolean;
  readonly gate: boolean;
}

/** How the work of a channel is shared out. */
export interface RowTuning {
  readonly shape: RowShape;
  /** Workgroups that share the batch of a channel; divides B. */
  readonly parts: number;
  /** Where the kernel's transform waits: in registers, made by each workgroup, or in memory, made once. */
  readonly spectrum: "registers" | "memory";
}

/** Numbers of the program's buffers by name; f16 by name where a buffer is. */
export interface RowBuffers {
  readonly number: Readonly<Record<string, number>>;
  readonly half: ReadonlySet<string>;
}

/** A pass under construction. */
export interface Row extends RowTuning {
  readonly kase: RowCase;
  readonly transform: RowTransform;
  readonly offsets: readonly number[];
}

/** Elements of a row up to a length, zeros beyond; `whole`: the row is as long as the transform. */
export const element = (name: string, half: boolean): string => (half ? `f32(${name})` : name);

/** Reads a row's elements into the real parts, zeros beyond its end. */
export function read(transform: RowTransform, length: string, full: boolean, at: (position: string) => string): Text {
  return transform.atFirst((value, position) =>
    full
      ? `${value}.x = ${at(position)};`
      : `${value}.x = select(0.0, ${at(`min(${position}, ${length} - 1u)`)}, ${position} < ${length});`,
  );
}

/** Writes the real parts up to a length. */
export function write(
  transform: RowTransform,
  length: string,
  full: boolean,
  live: boolean,
  put: (position: string, value: string) => Text,
): Text {
  return transform.atFirst((value, position) => {
    const conditions = [...(full ? [] : [`(${position} < ${length})`]), ...(live ? ["live"] : [])];
    const text = put(position, `${value}.x`);
    return conditions.length > 0 ? [`if (${conditions.join(" & ")}) {`, text, "}"] : text;
  });
}

export const forward = ({ transform, offsets }: Row): Text => [
  transform.firstButterflies((values) => realForward(values)),
  transform.forward(offsets),
];
export const inverse = ({ transform, offsets }: Row, imaginary = false): Text => [
  transform.inverse(offsets),
  transform.firstButterflies((values) => realInverse(values, imaginary)),
];

/** The spectrum of the kernels, times 1/n: that of the taps that look back, and the conjugate of that of those ahead. */
export function spectrum(row: Row, names: readonly string[], half: ReadonlySet<string>): Text {
  const { kase, transform } = row;
  const scale = number(1 / transform.n);
  const one = (name: string, length: string, taps: number, turn: (value: string) => string, add: boolean): Text => [
    read(transform, length, taps === transform.n, (position) =>
      element(`${name}[channel * ${length} + ${position}]`, half.has(name)),
    ),
    forward(row),
    names.map((to, k) => `${to} ${add ? "+=" : "="} ${scale} * ${turn(transform.values[k]!)};`),
  ];
  return [
    kase.K === undefined ? "" : one("k", "taps", kase.K, (value) => value, false),
    kase.K === undefined || kase.R === undefined ? "" : BARRIER,
    kase.R === undefined ? "" : one("kReverse", "tapsAhead", kase.R, (value) => `conj(${value})`, kase.K !== undefined),
    kase.skip
      ? [
          `let direct = ${scale} * ${element("skip[channel]", half.has("skip"))};`,
          names.map((to) => `${to}.x += direct;`),
        ]
      : "",
  ];
}

/** Pairs of a thread's values lie as threads read them: [channel, pair, thread of the row]. */
export const spectrumAt = ({ n, threads }: RowTransform, pair: number): string =>
  `channel * ${n / 2}u + ${pair * threads}u + t`;

/** The values times the spectrum or its conjugate. */
export function multiply({ transform, spectrum }: Row, conjugate: boolean): Text {
  const f = conjugate ? "back" : "times";
  if (spectrum === "registers") return transform.values.map((value, k) => `${value} = ${f}(${value}, h${k});`);
  return transform.values.flatMap((value, k) =>
    k % 2 === 1
      ? []
      : `{ let h = spectrum[${spectrumAt(transform, k / 2)}]; ${value} = ${f}(${value}, h.xy); v${k + 1} = ${f}(v${k + 1}, h.zw); }`,
  );
}

export const parametersOf = ({ B, D, L, K, R }: RowCase, parts: number): Record<string, number> => ({
  channels: D,
  length: L,
  ...(K !== undefined && { taps: K }),
  ...(R !== undefined && { tapsAhead: R }),
  parts,
  share: B / parts,
});

/** Which row and channel a workgroup's rows have. */
export function head(
  row: Row,
  parts: number,
): { readonly text: string; readonly groups: number; readonly ragged: boolean } {
  const { kase, transform, shape } = row;
  const work = kase.D * parts;
  const ragged = work % shape.rows !== 0;
  const mine = shape.rows > 1 ? `group * ${shape.rows}u + row` : "group";
  return {
    ragged,
    groups: Math.ceil(work / shape.rows),
    text: lines(
      `let work = u32(p.channels * p.parts);`,
      `if (group * ${shape.rows}u >= work) { return; }`,
      transform.head,
      ragged ? [`let live = ${mine} < work;`, `let unit = min(${mine}, work - 1u);`] : `let unit = ${mine};`,
      "let channel = unit / u32(p.parts);",
      "let length = u32(p.length);",
      kase.K === undefined ? "" : "let taps = u32(p.taps);",
      kase.R === undefined ? "" : "let tapsAhead = u32(p.tapsAhead);",
      transform.declared,
    ),
  };
}

export const bound = (
  names: readonly string[],
  { number: numbers, half }: RowBuffers,
  types: Readonly<Record<string, Bound["type"]>>,
  written: readonly string[],
): Bound[] =>
  names.map((name) => ({
    name,
    buffer: numbers[name]!,
    type: types[name] ?? (half.has(name) ? "f16" : "f32"),
    ...(written.includes(name) && { access: "read_write" as const }),
  }));

export const kernelsOf = ({ K, R, skip }: RowCase): string[] => [
  ...(K === undefined ? [] : ["k"]),
  ...(R === undefined ? [] : ["kReverse"]),
  ...(skip ? ["skip"] : []),
];

/** Names of the buffers that a pass takes its spectrum from. */
export const spectrumOf = ({ kase, spectrum }: Row): string[] =>
  spectrum === "memory" ? ["spectrum"] : kernelsOf(kase);

/** Types of the buffers that hold no operands. */
export const TYPES = { twiddles: "vec4f", spectrum: "vec4f" } as const;

/** Before a workgroup's loop over its part of the batch: the spectrum in registers, if it waits there. */
export function prologue(row: Row, half: ReadonlySet<string>): Text {
  if (row.spectrum === "memory") return "";
  const names = row.transform.values.map((_, k) => `h${k}`);
  return [names.map((name) => `var ${name}: vec2f;`), spectrum(row, names, half), BARRIER];
}

export const eachRow = (body: Text): Text => [
  "let firstOfBatch = unit % u32(p.parts) * u32(p.share);",
  "for (var i = 0u; i < u32(p.share); i++) {",
  "let at = ((firstOfBatch + i) * u32(p.channels) + channel) * length;",
  body,
  "}",
];

/** A pass that runs `body` in workgroups of a row's threads. */
export function rowPass(
  { transform }: Row,
  bindings: readonly Bound[],
  parameters: Readonly<Record<string, number>>,
  groups: number,
  body: string,
): GpuPass {
  const { declarations, buffers } = bind(bindings, parameters);
  const code = `${declarations}${transform.memory}${COMPLEX}${entryPoint(transform.invocations, body)}`;
  return { code, buffers, parameters, groups };
}

/** A row under construction. */
export const rowOf = (kase: RowCase, tuning: RowTuning, offsets: readonly number[]): Row => ({
  ...tuning,
  kase,
  transform: rowTransform(tuning.shape),
  offsets,
});
