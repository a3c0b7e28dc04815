/**
 * A product of few rows and the loop that reads it, as one pass: the gates of a recurrent cell, of which a point of the loop
 * takes an element each. 32 threads share a column of each gate and step through k together, where both operands lie along
 * k; the numbers of a shape are part of the text, since such a pass runs once a step of a sequence.
 */
import { roots, type LoopKernel, type MatmulSpec } from "@seqmix/tensor/backend";
import {
  declare,
  entryPoint,
  indent,
  type GpuBinding,
  type GpuLimits,
  type GpuPass,
  type GpuProgram,
} from "@seqmix/tensor/wgsl";
import { loadsOf, type Load } from "../loops/text.js";
import { functionTexts } from "../wgsl/functions.js";
import { addressText, fromMemory, memoryType, toMemory, writeValues } from "../wgsl/values.js";
import { FEW_ROWS } from "./program.js";

const LANES = 32,
  COLUMNS = 4,
  THREADS = LANES * COLUMNS;

/** A product and the loop behind it. */
export interface ProductLoop {
  readonly spec: MatmulSpec;
  /** Of extents [m, w]. */
  readonly kernel: LoopKernel;
  /** The input of the loop that is the product. */
  readonly input: number;
}

/**
 * Its buffers: both operands, the loop's inputs (of which the product is not read), its outputs.
 * @returns undefined where the operands do not lie along k, or a point reads other elements than one a gate of its own column.
 */
export function productLoopProgram({ spec, kernel, input }: ProductLoop, limits: GpuLimits): GpuProgram | undefined {
  const { m, n, k } = spec;
  const gates = gatesOf(spec, kernel, input);
  if (!gates || m * gates.length * THREADS * 4 > limits.workgroupBytes || THREADS > limits.threads) return undefined;
  const used = [...new Set(loadsOf(roots(kernel)).map((load) => load.input))].filter((each) => each !== input);
  const outputs = kernel.outputs.map((_, q) => 2 + kernel.inputs.length + q);
  if (2 + used.length + outputs.length > limits.buffers) return undefined;
  const buffers: GpuBinding[] = [
    ...[0, 1, ...used.map((each) => 2 + each)].map((buffer) => ({ buffer, access: "read" }) as const),
    ...outputs.map((buffer) => ({ buffer, access: "read_write" }) as const),
  ];
  const functions = new Set<string>();
  const { before, after } = pointText(kernel, input, gates, m, functions);
  const declarations = [
    declare(0, "a", "read", "vec4<f32>"),
    declare(1, "b", "read", "vec4<f32>"),
    ...used.map((each, q) => declare(2 + q, `x${each}`, "read", memoryType(kernel.inputs[each]!.dtype))),
    ...kernel.outputs.map(({ dtype }, q) => declare(2 + used.length + q, `y${q}`, "read_write", memoryType(dtype))),
    `var<workgroup> sums: array<f32, ${gates.length * m * THREADS}>;\n`,
  ];
  const body = [productText(spec, gates, kernel.extents[1]!, before), after].join("\n");
  const pass: GpuPass = {
    code: `${declarations.join("")}${functionTexts(functions)}${entryPoint(THREADS, body)}`,
    buffers,
    groups: Math.ceil(kernel.extents[1]! / COLUMNS),
  };
  return {
    name: `matmul ${m}x${n}x${k}, few rows, and a loop [${kernel.extents.join()}]`,
    passes: [pass],
    scratch: [],
  };
}

/** The columns of the product that a point in the first column reads. */
function gatesOf(
  { operands, batch, m, n, k, a, b }: MatmulSpec,
  kernel: LoopKernel,
  input: number,
): number[] | undefined {
  const [rows, width] = kernel.extents as [number, number];
  if (operands === "f16" || batch.length > 0 || m > FEW_ROWS || kernel.reductions.length > 0) return undefined;
  if (kernel.extents.length !== 2 || rows !== m || kernel.inputs[input]!.dtype !== "f32") return undefined;
  const strides = [k, m === 1 ? 0 : a.row, n === 1 ? 0 : b.column, a.offset ?? 0, b.offset ?? 0];
  if (a.column !== 1 || b.row !== 1 || strides.some((stride) => stride % 4 !== 0)) return undefined;
  const loads = loadsOf(roots(kernel)).filter((load) => load.input === input);
  const fits = ({ gather, index: { offset, coefficients } }: Load): boolean =>
    !gather && (m === 1 || coefficients[0] === n) && coefficients[1] === 1 && offset >= 0 && offset + width <= n;
  return loads.every(fits) ? [...new Set(loads.map(({ index }) => index.offset))].sort((x, y) => x - y) : undefined;
}

/** Statements up to the sums of the gates, `total` of each. */
function productText({ m, n, k, a, b }: MatmulSpec, gates: readonly number[], width: number, before: string): string {
  const rows = Array.from({ length: m }, (_, i) => i);
  const step = [
    ...gates.map((gate, g) => `let w${g} = b[bAt + ${(gate * b.column) / 4} + k];`),
    ...rows.flatMap((i) => [
      `let a${i} = a[${(a.offset ?? 0) / 4} + ${(i * a.row) / 4} + k];`,
      ...gates.map((_, g) => `s${g}_${i} += dot(a${i}, w${g});`),
    ]),
  ];
  return `let lane = i32(thread) % ${LANES};
// A column beyond the loop is computed as the last one, and not stored.
let column = min(i32(group) * ${COLUMNS} + i32(thread) / ${LANES}, ${width - 1});
let bAt = ${(b.offset ?? 0) / 4} + column * ${n === 1 ? 0 : b.column / 4};
${before}
${gates.flatMap((_, g) => rows.map((i) => `var s${g}_${i} = 0f;`)).join("\n")}
for (var k = lane; k < ${k / 4}; k += ${LANES}) {
${indent(step.join("\n"))}
}
${gates.flatMap((_, g) => rows.map((i) => `sums[${(g * m + i) * THREADS} + i32(thread)] = s${g}_${i};`)).join("\n")}
workgroupBarrier();`;
}

/** What a point reads, before the product, and what it stores behind it. */
function pointText(
  { inputs, outputs, extents }: LoopKernel,
  product: number,
  gates: readonly number[],
  m: number,
  functions: Set<string>,
): { readonly before: string; readonly after: string } {
  const axes = ["i0", "i1"];
  const lines: string[] = [];
  const early = new Map<string, string>();
  /** Memory is waited for while the product is taken. */
  const readEarly = ({ input, index }: Load): string => {
    const text = fromMemory(inputs[input]!.dtype, `x${input}[${addressText(index, axes)}]`);
    if (!early.has(text)) early.set(text, `r${early.size}`);
    return early.get(text)!;
  };
  const sumOf = ({ index }: Load): string =>
    `sums[((${gates.indexOf(index.offset) * m} + i0) * ${COLUMNS} + i32(thread) % ${COLUMNS}) * ${LANES}]`;
  const values = writeValues(
    outputs.map(({ value }) => value),
    {
      axes,
      functions,
      reduced: [],
      loaded: (load) => (load.input === product ? sumOf(load) : load.gather ? undefined : readEarly(load)),
      read: (input, index) => fromMemory(inputs[input]!.dtype, `x${input}[${index}]`),
    },
    lines,
  );
  const stores = outputs.map(({ dtype }, q) => `y${q}[i0 * ${extents[1]!} + i1] = ${toMemory(dtype, values[q]!)};`);
  const place = [
    `let i0 = min(i32(thread) / ${COLUMNS}, ${m - 1});`,
    `let i1 = min(i32(group) * ${COLUMNS} + i32(thread) % ${COLUMNS}, ${extents[1]! - 1});`,
  ];
  return {
    before: [...place, ...[...early].map(([text, name]) => `let ${name} = ${text};`)].join("\n"),
    after: `if (i32(thread) < ${gates.length * m * COLUMNS}) {
  var total = 0f;
  for (var e = 0; e < ${LANES}; e++) { total += sums[i32(thread) * ${LANES} + (e + lane) % ${LANES}]; }
  sums[i32(thread) * ${LANES}] = total;
}
workgroupBarrier();
if ((i32(thread) < ${m * COLUMNS}) & (i32(group) * ${COLUMNS} + i32(thread) % ${COLUMNS} < ${extents[1]!})) {
${indent([...lines, ...stores].join("\n"))}
}`,
  };
}
