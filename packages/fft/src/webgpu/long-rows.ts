/** Rows that no workgroup holds, between their columns: rows of n2 transformed, multiplied and transformed back, in place. */
import { entryPoint, type GpuPass } from "@seqmix/tensor/wgsl";
import { bind, boundAs, element, type Operand } from "./bindings.js";
import { COMPLEX, lines, number, type Text } from "./butterflies.js";
import type { ColumnShape, LongOffsets } from "./long-columns.js";
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
      boundAs("z", z, { type: "vec2f", access: "read_write" }),
      ...(kernels.k ? [boundAs("kz", kernels.k, { type: "vec2f" })] : []),
      ...(kernels.kReverse ? [boundAs("rz", kernels.kReverse, { type: "vec2f" })] : []),
      ...(kernels.skip ? [boundAs("skip", kernels.skip)] : []),
      boundAs("twiddles", twiddles, { type: "vec4f" }),
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
      boundAs("uz", uz, gated ? written : { type: "vec2f" }),
      boundAs("gz", gz, written),
      ...(kernels.k ? [boundAs("kz", kernels.k, written)] : []),
      ...(kernels.kReverse ? [boundAs("rz", kernels.kReverse, written)] : []),
      ...(kernels.skip ? [boundAs("skip", kernels.skip)] : []),
      boundAs("twiddles", twiddles, { type: "vec4f" }),
    ],
    parameters,
  );
  const us = values.map((_, k) => `u${k}`);
  // With one row a channel the sum over the batch takes the place of that row's transform.
  const sums = B === 1 ? us : values.map((_, k) => `s${k}`);
  const scale = number(1 / (transform.n * n1));
  const body = lines(
    pass.head,
    us.map((name) => `var ${name}: vec2f;`),
    B === 1 ? "" : sums.map((name) => `var ${name}: vec2f;`),
    pass.spectrum(kernels),
    eachOfBatch(B, n1, transform.n, [
      pass.forward("uz", "at"),
      us.map((name, k) => `${name} = ${values[k]!};`),
      gated ? [values.map((value, k) => `${value} = times(${value}, h${k});`), pass.inverse("uz", "at")] : BARRIER,
      pass.forward("gz", "at"),
      values.map(
        (value, k) =>
          `{ let g = ${value}; ${value} = back(g, h${k}); ${sums[k]!} ${B === 1 ? "=" : "+="} back(g, ${us[k]!}); }`,
      ),
      pass.inverse("gz", "at"),
    ]),
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
