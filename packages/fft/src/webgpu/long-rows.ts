/** Rows that no workgroup holds, between their columns: rows of n2 transformed, multiplied and transformed back, in place. */
import { entryPoint, type GpuPass } from "@seqmix/tensor/wgsl";
import { bind, boundAs, element, type Operand } from "./bindings.js";
import { COMPLEX, lines, number, type Text } from "./butterflies.js";
import type { ColumnShape, LongOffsets } from "./long-columns.js";
import { range } from "./residues.js";
import { BARRIER, rowTransform, type RowShape, type RowTransform } from "./row-transform.js";

/** Rows of n = n1 n2. */
export interface LongShape {
  readonly columns: ColumnShape;
  readonly row: RowShape;
}

/** What a pass over rows multiplies by: the kernels' columns in scratch, and the skip. */
export interface LongKernels {
  readonly k?: Operand | undefined;
  readonly kReverse?: Operand | undefined;
  readonly skip?: Operand | undefined;
}

/** A row in memory, and what is done with its values before or after its transform. */
interface RowIn {
  readonly name: string;
  /** Its first element, as text. */
  readonly at: string;
  readonly values: Text;
}

interface RowsPass {
  readonly transform: RowTransform;
  readonly n1: number;
  /** Reads rows one after the other, transforms them and does something with the values: one text for all of them. */
  readonly forward: (rows: readonly RowIn[]) => Text;
  /** Makes the values of rows one after the other, transforms them back and writes them. */
  readonly inverse: (rows: readonly RowIn[]) => Text;
  /** The kernels' rows, whose values become the spectrum h0, h1, .. */
  readonly spectrum: (kernels: LongKernels) => readonly RowIn[];
  readonly head: string;
}

/**
 * The text of several rows in a loop: written out one after the other it would not fit into the processors' caches for
 * instructions. The number of rows comes as a parameter, so that compilers leave the loop as it is.
 */
function inTurn(count: number, text: (which: (texts: readonly Text[]) => Text) => Text): Text {
  if (count === 0) return "";
  if (count === 1) return ["{", text(([only]) => only!), "}"];
  return [
    `for (var turn = 0u; turn < u32(p.turns${count}); turn++) {`,
    text((texts) =>
      texts.map((each, k) => [`${k > 0 ? "else " : ""}${k < count - 1 ? `if (turn == ${k}u) ` : ""}{`, each, "}"]),
    ),
    "}",
  ];
}

/** The numbers of rows in loops, as parameters. */
const TURNS = { turns2: 2, turns3: 3, turns4: 4 };

function rowsPassOf({ columns, row }: LongShape, { rows: offsets }: LongOffsets): RowsPass {
  const transform = rowTransform(row);
  const { n, values } = transform;
  const n1 = columns.r1 * columns.r2;
  const scale = number(1 / (n * n1));
  return {
    transform,
    n1,
    forward: (rows) =>
      inTurn(rows.length, (which) => [
        which(
          rows.map(({ name, at }) =>
            transform.atFirst((value, position) => `${value} = ${name}[${at} + ${position}];`),
          ),
        ),
        transform.complexFirst(offsets, "m", false),
        transform.forward(offsets, "m"),
        which(rows.map((each) => each.values)),
        BARRIER,
      ]),
    inverse: (rows) =>
      inTurn(rows.length, (which) => [
        which(rows.map((each) => each.values)),
        BARRIER,
        transform.inverse(offsets, "m"),
        transform.complexFirst(offsets, "m", true),
        which(
          rows.map(({ name, at }) =>
            transform.atFirst((value, position) => `${name}[${at} + ${position}] = ${value};`),
          ),
        ),
      ]),
    spectrum: ({ k, kReverse, skip }) => {
      const direct = skip
        ? [`let direct = ${scale} * ${element("skip[channel]", skip)};`, values.map((_, j) => `h${j}.x += direct;`)]
        : "";
      const back = values.map((value, j) => `h${j} = ${scale} * ${value};`);
      const ahead = values.map((value, j) => `h${j} ${k ? "+=" : "="} ${scale} * conj(${value});`);
      return [
        ...(k ? [{ name: "kz", at: "kernelAt", values: [back, kReverse ? "" : direct] }] : []),
        ...(kReverse ? [{ name: "rz", at: "kernelAt", values: [ahead, direct] }] : []),
      ];
    },
    head: lines(
      "if (group >= u32(p.groups)) { return; }",
      transform.head,
      `let m = group % ${n1}u;`,
      `let local = group / ${n1}u;`,
      "let channel = u32(p.first) + local;",
      `let kernelAt = group * ${n}u;`,
      transform.declared,
      declared(registers("h", values.length)),
    ),
  };
}

const registers = (name: string, count: number): readonly string[] => range(count).map((k) => `${name}${k}`);
const declared = (names: readonly string[]): string => names.map((name) => `var ${name}: vec2f;`).join(" ");

/** The rows of a channel in the batch: `at` is where one begins. */
const eachOfBatch = (n1: number, n: number, body: Text): Text => [
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
  const { values } = transform;
  const parameters = { groups: channels * n1, channels, first, batch: B, ...TURNS };
  const { declarations, buffers } = bind(
    [
      boundAs("z", z, { type: "vec2f", access: "read_write" }),
      ...(kernels.k ? [boundAs("kz", kernels.k, { type: "vec2f" })] : []),
      ...(kernels.kReverse ? [boundAs("rz", kernels.kReverse, { type: "vec2f" })] : []),
      ...(kernels.skip ? [boundAs("skip", kernels.skip)] : []),
      boundAs("twiddles", twiddles, { type: "vec4f" }),
    ],
    parameters,
  );
  const spectrum = pass.spectrum(kernels);
  const product = values.map((value, k) => `${value} = times(${value}, h${k});`);
  const convolved = (before: readonly RowIn[], at: string): Text => [
    pass.forward([...before, { name: "z", at, values: product }]),
    pass.inverse([{ name: "z", at, values: "" }]),
  ];
  const body = lines(
    pass.head,
    B === 1
      ? convolved(spectrum, "kernelAt")
      : [pass.forward(spectrum), eachOfBatch(n1, transform.n, convolved([], "at"))],
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
  const parameters = { groups: channels * n1, channels, first, batch: B, ...TURNS };
  const written = { type: "vec2f", access: "read_write" } as const;
  const { declarations, buffers } = bind(
    [
      boundAs("uz", uz, gated ? written : { type: "vec2f" }),
      boundAs("gz", gz, written),
      ...(kernels.k ? [boundAs("kz", kernels.k, written)] : []),
      ...(kernels.kReverse ? [boundAs("rz", kernels.kReverse, written)] : []),
      ...(kernels.skip ? [boundAs("skip", kernels.skip)] : []),
      boundAs("twiddles", twiddles, { type: "vec4f" }),
    ],
    parameters,
  );
  const body = lines(pass.head, backwardRows(pass, kernels, B, gated));
  return {
    code: `${declarations}${transform.memory}${COMPLEX}${entryPoint(transform.invocations, body)}`,
    buffers,
    parameters,
    groups: parameters.groups,
  };
}

function backwardRows({ transform, n1, ...pass }: RowsPass, kernels: LongKernels, B: number, gated: boolean): Text {
  const { values, n } = transform;
  const scale = number(1 / (n * n1));
  const each = (text: (k: number) => string): Text => values.map((_, k) => text(k));
  // With one row a channel the sum over the batch takes the place of that row's transform.
  const sum = (k: number): string => (B === 1 ? `u${k} = ` : `s${k} += `);
  const joined = (g: (k: number) => string): Text =>
    each((k) => `{ let g = ${g(k)}; v${k} = back(g, h${k}); ${sum(k)}back(g, u${k}); }`);
  const rowsOf = (at: string): { readonly given: readonly RowIn[]; readonly found: readonly RowIn[] } => ({
    given: [
      { name: "uz", at, values: each((k) => `u${k} = v${k};`) },
      { name: "gz", at, values: gated ? each((k) => `g${k} = v${k};`) : joined((k) => `v${k}`) },
    ],
    found: [
      ...(gated ? [{ name: "uz", at, values: each((k) => `v${k} = times(u${k}, h${k});`) }] : []),
      { name: "gz", at, values: gated ? joined((k) => `g${k}`) : "" },
    ],
  });
  const total = B === 1 ? "u" : "s";
  const sums = [
    ...(kernels.k ? [{ name: "kz", at: "kernelAt", values: each((k) => `v${k} = ${scale} * ${total}${k};`) }] : []),
    ...(kernels.kReverse
      ? [{ name: "rz", at: "kernelAt", values: each((k) => `v${k} = ${scale} * conj(${total}${k});`) }]
      : []),
  ];
  const spectrum = pass.spectrum(kernels);
  const names = ["u", ...(B === 1 ? [] : ["s"]), ...(gated ? ["g"] : [])];
  const one = rowsOf("kernelAt");
  const many = rowsOf("at");
  return [
    names.map((name) => declared(registers(name, values.length))),
    B === 1
      ? [pass.forward([...spectrum, ...one.given]), pass.inverse([...one.found, ...sums])]
      : [
          pass.forward(spectrum),
          eachOfBatch(n1, n, [pass.forward(many.given), pass.inverse(many.found)]),
          pass.inverse(sums),
        ],
  ];
}
