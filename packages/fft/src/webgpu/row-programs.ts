/** Convolutions with one workgroup a row: it transforms, multiplies and transforms back without leaving the processor. */
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
interface Row extends RowTuning {
  readonly kase: RowCase;
  readonly transform: RowTransform;
  readonly offsets: readonly number[];
}

/** Elements of a row up to a length, zeros beyond; `whole`: the row is as long as the transform. */
const element = (name: string, half: boolean): string => (half ? `f32(${name})` : name);

/** Reads a row's elements into the real parts, zeros beyond its end. */
function read(transform: RowTransform, length: string, full: boolean, at: (position: string) => string): Text {
  return transform.atFirst((value, position) =>
    full
      ? `${value}.x = ${at(position)};`
      : `${value}.x = select(0.0, ${at(`min(${position}, ${length} - 1u)`)}, ${position} < ${length});`,
  );
}

/** Writes the real parts up to a length. */
function write(
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

const forward = ({ transform, offsets }: Row): Text => [
  transform.firstButterflies((values) => realForward(values)),
  transform.forward(offsets),
];
const inverse = ({ transform, offsets }: Row, imaginary = false): Text => [
  transform.inverse(offsets),
  transform.firstButterflies((values) => realInverse(values, imaginary)),
];

/** The spectrum of the kernels, times 1/n: that of the taps that look back, and the conjugate of that of those ahead. */
function spectrum(row: Row, names: readonly string[], half: ReadonlySet<string>): Text {
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
const spectrumAt = ({ n, threads }: RowTransform, pair: number): string =>
  `channel * ${n / 2}u + ${pair * threads}u + t`;

/** The values times the spectrum or its conjugate. */
function multiply({ transform, spectrum }: Row, conjugate: boolean): Text {
  const f = conjugate ? "back" : "times";
  if (spectrum === "registers") return transform.values.map((value, k) => `${value} = ${f}(${value}, h${k});`);
  return transform.values.flatMap((value, k) =>
    k % 2 === 1
      ? []
      : `{ let h = spectrum[${spectrumAt(transform, k / 2)}]; ${value} = ${f}(${value}, h.xy); v${k + 1} = ${f}(v${k + 1}, h.zw); }`,
  );
}

const parametersOf = ({ B, D, L, K, R }: RowCase, parts: number): Record<string, number> => ({
  channels: D,
  length: L,
  ...(K !== undefined && { taps: K }),
  ...(R !== undefined && { tapsAhead: R }),
  parts,
  share: B / parts,
});

/** Which row and channel a workgroup's rows have. */
function head(row: Row, parts: number): { readonly text: string; readonly groups: number; readonly ragged: boolean } {
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

const bound = (
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

const kernelsOf = ({ K, R, skip }: RowCase): string[] => [
  ...(K === undefined ? [] : ["k"]),
  ...(R === undefined ? [] : ["kReverse"]),
  ...(skip ? ["skip"] : []),
];

const TYPES = { twiddles: "vec4f", spectrum: "vec4f" } as const;

/** The transforms of the kernels into memory. Buffers: those of the kernels, `twiddles`, `spectrum`. */
export function spectrumPass(
  kase: RowCase,
  tuning: RowTuning,
  offsets: readonly number[],
  buffers: RowBuffers,
): GpuPass {
  const transform = rowTransform(tuning.shape);
  const row: Row = { ...tuning, kase, transform, offsets };
  const parameters = parametersOf({ ...kase, B: 1 }, 1);
  const names = transform.values.map((_, k) => `h${k}`);
  const { text, groups, ragged } = head(row, 1);
  const { declarations, buffers: used } = bind(
    bound([...kernelsOf(kase), "twiddles", "spectrum"], buffers, TYPES, ["spectrum"]),
    parameters,
  );
  const stores = names.flatMap((name, k) =>
    k % 2 === 1 ? [] : `spectrum[${spectrumAt(transform, k / 2)}] = vec4f(${name}, h${k + 1});`,
  );
  const body = lines(
    text,
    names.map((name) => `var ${name}: vec2f;`),
    spectrum(row, names, buffers.half),
    ragged ? ["if (live) {", stores, "}"] : stores,
  );
  return {
    code: `${declarations}${transform.memory}${COMPLEX}${entryPoint(transform.invocations, body)}`,
    buffers: used,
    parameters,
    groups,
  };
}

/** Before a workgroup's loop over its part of the batch: the spectrum in registers, if it waits there. */
function prologue(row: Row, half: ReadonlySet<string>): Text {
  if (row.spectrum === "memory") return "";
  const names = row.transform.values.map((_, k) => `h${k}`);
  return [names.map((name) => `var ${name}: vec2f;`), spectrum(row, names, half), BARRIER];
}

const eachRow = (body: Text): Text => [
  "let firstOfBatch = unit % u32(p.parts) * u32(p.share);",
  "for (var i = 0u; i < u32(p.share); i++) {",
  "let at = ((firstOfBatch + i) * u32(p.channels) + channel) * length;",
  body,
  "}",
];

/** Writes what comes behind a row, [.., taps - 1]: the rest of the real parts, then the imaginary ones. */
function writeTail(transform: RowTransform, live: boolean): Text {
  const put = (index: string, value: string): Text =>
    `{ let later = ${index}; if ((later < taps - 1u)${live ? " & live" : ""}) { tail[tailAt + later] = ${value}; } }`;
  return transform.atFirst((value, position) => [
    // where the position lies within the row the difference wraps around, beyond all tails
    put(`${position} - length`, `${value}.x`),
    put(`${position} + ${transform.n}u - length`, `${value}.y`),
  ]);
}

/** y = gate * (u * k + ...). Buffers: u, the kernels' or `spectrum`, gate, `twiddles`, y, and `tail` if that is asked for. */
export function forwardPass(
  kase: RowCase,
  tuning: RowTuning,
  offsets: readonly number[],
  buffers: RowBuffers,
  tail = false,
): GpuPass {
  const transform = rowTransform(tuning.shape);
  const row: Row = { ...tuning, kase, transform, offsets };
  const { L, gate } = kase;
  const written = tail ? ["y", "tail"] : ["y"];
  const { half } = buffers;
  const full = L === transform.n;
  const parameters = parametersOf(kase, tuning.parts);
  const { text, groups, ragged } = head(row, tuning.parts);
  const { declarations, buffers: used } = bind(
    bound(
      [
        "u",
        ...(tuning.spectrum === "memory" ? ["spectrum"] : kernelsOf(kase)),
        ...(gate ? ["gate"] : []),
        "twiddles",
        ...written,
      ],
      buffers,
      TYPES,
      written,
    ),
    parameters,
  );
  const body = lines(
    text,
    prologue(row, half),
    eachRow([
      read(transform, "length", full, (position) => element(`u[at + ${position}]`, half.has("u"))),
      forward(row),
      multiply(row, false),
      inverse(row, tail),
      tail ? ["let tailAt = at / length * (taps - 1u);", writeTail(transform, ragged)] : "",
      write(
        transform,
        "length",
        full,
        ragged,
        (position, value) =>
          `y[at + ${position}] = ${gate ? `${element(`gate[at + ${position}]`, half.has("gate"))} * ` : ""}${value};`,
      ),
    ]),
  );
  return {
    code: `${declarations}${transform.memory}${COMPLEX}${entryPoint(transform.invocations, body)}`,
    buffers: used,
    parameters,
    groups,
  };
}

/** Elements of a channel's sums over the batch: those of k, of kReverse and of the skip behind each other. */
export const sumsWidth = ({ K, R, skip }: RowCase): number => (K ?? 0) + (R ?? 0) + (skip ? 1 : 0);

/**
 * The gradients in one pass: du = g conj(H), the sums of g conj(u) over the batch for the kernels, and g (u H) for the gate.
 * Buffers: u, g, the kernels' or `spectrum`, gate, `twiddles`, du, dgate, and dk, dkReverse, dskip or `sums`
 * [parts, D, {@link sumsWidth}].
 */
export function backwardPass(
  kase: RowCase,
  tuning: RowTuning,
  offsets: readonly number[],
  buffers: RowBuffers,
  target: "gradients" | "sums",
): GpuPass {
  const transform = rowTransform(tuning.shape);
  const row: Row = { ...tuning, kase, transform, offsets };
  const { L, K, R, gate, skip } = kase;
  const { half } = buffers;
  const full = L === transform.n;
  const inSums = target === "sums";
  const parameters = { ...parametersOf(kase, tuning.parts), ...(inSums && { width: sumsWidth(kase) }) };
  const { text, groups, ragged } = head(row, tuning.parts);
  const written = ["du", ...(gate ? ["dgate"] : []), ...(inSums ? ["sums"] : sumNames(kase))];
  const { declarations, buffers: used } = bind(
    bound(
      [
        "u",
        "g",
        ...(tuning.spectrum === "memory" ? ["spectrum"] : kernelsOf(kase)),
        ...(gate ? ["gate"] : []),
        "twiddles",
        ...written,
      ],
      buffers,
      TYPES,
      written,
    ),
    parameters,
  );
  const us = transform.values.map((_, k) => `u${k}`);
  const sums = transform.values.map((_, k) => `s${k}`);
  const gateAt = (position: string): string => element(`gate[at + ${position}]`, half.has("gate"));
  const scale = number(1 / transform.n);
  /** Where a sum goes: a channel's elements, or a part's sums of a channel. */
  const sumAt = (name: string, length: string, before: string): string =>
    inSums ? `sums[sumsOf${before}` : `${name}[channel * ${length}`;
  const kernelGradient = (at: string, length: string, taps: number, turn: (sum: string) => string): Text => [
    transform.values.map((value, k) => `${value} = ${scale} * ${turn(sums[k]!)};`),
    BARRIER,
    inverse(row),
    write(transform, length, taps === transform.n, ragged, (position, value) => `${at} + ${position}] = ${value};`),
  ];
  const body = lines(
    text,
    inSums ? "let sumsOf = (unit % u32(p.parts) * u32(p.channels) + channel) * u32(p.width);" : "",
    us.map((name) => `var ${name}: vec2f;`),
    sums.map((name) => `var ${name}: vec2f;`),
    prologue(row, half),
    eachRow([
      read(transform, "length", full, (position) => element(`u[at + ${position}]`, half.has("u"))),
      forward(row),
      us.map((name, k) => `${name} = ${transform.values[k]!};`),
      gate
        ? [
            multiply(row, false),
            inverse(row),
            write(
              transform,
              "length",
              full,
              ragged,
              (position, value) => `dgate[at + ${position}] = g[at + ${position}] * ${value};`,
            ),
          ]
        : transform.memory === ""
          ? ""
          : BARRIER,
      read(transform, "length", full, (position) => `g[at + ${position}]${gate ? ` * ${gateAt(position)}` : ""}`),
      forward(row),
      sums.map((name, k) => `${name} += back(${transform.values[k]!}, ${us[k]!});`),
      multiply(row, true),
      inverse(row),
      write(transform, "length", full, ragged, (position, value) => `du[at + ${position}] = ${value};`),
    ]),
    K === undefined ? "" : kernelGradient(sumAt("dk", "taps", ""), "taps", K, (sum) => sum),
    R === undefined
      ? ""
      : kernelGradient(
          sumAt("dkReverse", "tapsAhead", K === undefined ? "" : " + taps"),
          "tapsAhead",
          R,
          (sum) => `conj(${sum})`,
        ),
    // both sums at lag 0
    skip
      ? `if (${ragged ? "(t == 0u) & live" : "t == 0u"}) { ${inSums ? "sums[sumsOf + u32(p.width) - 1u]" : "dskip[channel]"} = v0.x; }`
      : "",
  );
  return {
    code: `${declarations}${transform.memory}${COMPLEX}${entryPoint(transform.invocations, body)}`,
    buffers: used,
    parameters,
    groups,
  };
}

/** Names of the gradients that are sums over the batch. */
const sumNames = ({ K, R, skip }: RowCase): string[] => [
  ...(K === undefined ? [] : ["dk"]),
  ...(R === undefined ? [] : ["dkReverse"]),
  ...(skip ? ["dskip"] : []),
];

/** The parts' sums added up. Buffers: `sums` [parts, D, width], dk, dkReverse, dskip. */
export function sumsPass(kase: RowCase, parts: number, buffers: RowBuffers): GpuPass {
  const { D, K, R } = kase;
  const width = sumsWidth(kase);
  const parameters = { size: D * width, width, parts, taps: K ?? 0, tapsAhead: R ?? 0 };
  const names = sumNames(kase);
  const { declarations, buffers: used } = bind(bound(["sums", ...names], buffers, TYPES, names), parameters);
  const stores: Readonly<Record<string, string>> = {
    dk: "if (at < u32(p.taps)) { dk[channel * u32(p.taps) + at] = total; }",
    dkReverse:
      "if ((at >= u32(p.taps)) & (at < u32(p.taps + p.tapsAhead))) { dkReverse[channel * u32(p.tapsAhead) + at - u32(p.taps)] = total; }",
    dskip: "if (at == u32(p.taps + p.tapsAhead)) { dskip[channel] = total; }",
  };
  const body = lines(
    "let i = group * 64u + thread;",
    "if (i >= u32(p.size)) { return; }",
    "var total = 0.0;",
    "for (var part = 0u; part < u32(p.parts); part++) { total += sums[part * u32(p.size) + i]; }",
    "let channel = i / u32(p.width);",
    "let at = i % u32(p.width);",
    names.map((name) => stores[name]!),
  );
  return {
    code: `${declarations}${entryPoint(64, body)}`,
    buffers: used,
    parameters,
    groups: Math.ceil((D * width) / 64),
  };
}
