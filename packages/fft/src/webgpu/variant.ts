/** The convolution on the WebGPU device: transforms modulo x^n - i in WGSL, forward and backward. */
import type { GpuVariant, KernelCase, KernelTable } from "@seqmix/tensor";
import { bytesOf, type GpuLimits, type GpuProgram } from "@seqmix/tensor/wgsl";
import { tapsOf, withinLength } from "../cpu/variants.js";
import { QUARTER, twiddleTable, type TwiddleTable } from "./residues.js";
import { radicesOf, rowBytes, type RowShape } from "./row-transform.js";
import {
  backwardPass,
  forwardPass,
  spectrumPass,
  sumsPass,
  sumsWidth,
  type RowBuffers,
  type RowCase,
  type RowTuning,
} from "./row-programs.js";

/** Values a thread keeps: one butterfly of the largest radix. */
const VALUES = 16;
/** Threads of a workgroup for short rows: several rows share one. */
const THREADS = 128;
/** Workgroups that fill a large GPU. */
const FULL = 1024;

type Case = KernelCase<undefined>;

const rowCaseOf = (kase: Case): RowCase => ({
  B: kase.dims.B!,
  D: kase.dims.D!,
  L: kase.dims.L!,
  K: tapsOf(kase, "k"),
  R: tapsOf(kase, "kReverse"),
  skip: kase.present.has("skip"),
  gate: kase.present.has("gate"),
});

/** Points of the transform of rows of a length. */
const pointsFor = (length: number): number => Math.max(VALUES, 2 ** Math.ceil(Math.log2(length)));

/** How a row of n points lies on the threads of a workgroup; undefined if it is too long for these limits. */
export function rowShapeFor(n: number, limits: GpuLimits): RowShape | undefined {
  const radices = radicesOf(n, VALUES);
  const threads = n / VALUES;
  const shapes: RowShape[] = [];
  for (let rows = Math.max(1, THREADS / threads); rows >= 1; rows /= 2)
    for (const exchange of ["whole", "halves"] as const)
      shapes.push({ radices, values: VALUES, rows, exchange, padded: true });
  shapes.push({ radices, values: VALUES, rows: 1, exchange: "halves", padded: false });
  return shapes.find((shape) => rowBytes(shape) <= limits.workgroupBytes && threads * shape.rows <= limits.threads);
}

/** The least divisor of the batch that gives the GPU enough workgroups. */
function partsFor({ B, D }: RowCase, rows: number): number {
  for (let parts = 1; parts < B; parts++) if (B % parts === 0 && (D * parts) / rows >= FULL) return parts;
  return B;
}

interface RowPlan {
  readonly kase: RowCase;
  readonly shape: RowShape;
  readonly parts: number;
  readonly table: TwiddleTable;
}

function rowPlan(kase: Case, limits: GpuLimits): RowPlan | undefined {
  const rows = rowCaseOf(kase);
  const shape = rowShapeFor(pointsFor(rows.L), limits);
  return (
    shape && { kase: rows, shape, parts: partsFor(rows, shape.rows), table: twiddleTable(shape.radices, [QUARTER], 1) }
  );
}

/** Numbers of a program's buffers: inputs, `more`, table, results, scratch. */
function numbered(
  { present, halves }: Case,
  { storesHalf }: GpuLimits,
  more: readonly string[],
  results: readonly string[],
  scratch: readonly string[],
): RowBuffers {
  const names = [...present, ...more, "twiddles", ...results, ...scratch];
  return {
    number: Object.fromEntries(names.map((name, k) => [name, k])),
    half: storesHalf === true ? halves : new Set(),
  };
}

const describe = ({ shape: { radices, rows, exchange } }: RowPlan, parts: number): string =>
  `${radices.join(" ")}${rows > 1 ? `, ${rows} rows a workgroup` : ""}${exchange === "halves" ? ", exchanged in halves" : ""}${parts > 1 ? `, ${parts} parts` : ""}`;

function forward(kase: Case, limits: GpuLimits): GpuProgram {
  const plan = rowPlan(kase, limits)!;
  const buffers = numbered(kase, limits, [], ["y"], []);
  const tuning: RowTuning = { shape: plan.shape, parts: plan.parts, spectrum: "registers" };
  return {
    name: `a workgroup a row: ${describe(plan, plan.parts)}`,
    passes: [forwardPass(plan.kase, tuning, plan.table.offsets, buffers)],
    scratch: [],
  };
}

function backward(kase: Case, limits: GpuLimits): GpuProgram {
  const plan = rowPlan(kase, limits)!;
  const { kase: rows, shape, parts, table } = plan;
  const gradients = [...kase.present].map((name) => `d${name}`);
  const results = gradients.filter((name) => name !== "dgate" && name !== "du");
  // u, g, spectrum, twiddles, du, and gate with its gradient
  const bound = 5 + (rows.gate ? 2 : 0);
  const target = parts > 1 || bound + results.length > limits.buffers ? "sums" : "gradients";
  const buffers = numbered(kase, limits, ["g"], gradients, ["spectrum", ...(target === "sums" ? ["sums"] : [])]);
  const tuning: RowTuning = { shape, parts, spectrum: "memory" };
  const n = shape.radices.reduce((a, b) => a * b, 1);
  return {
    name: `a workgroup a row: ${describe(plan, parts)}`,
    passes: [
      spectrumPass(rows, tuning, table.offsets, buffers),
      backwardPass(rows, tuning, table.offsets, buffers, target),
      ...(target === "sums" ? [sumsPass(rows, parts, buffers)] : []),
    ],
    scratch: [bytesOf(2 * n * rows.D), ...(target === "sums" ? [bytesOf(parts * rows.D * sumsWidth(rows))] : [])],
  };
}

function supports(kase: Case, limits: GpuLimits): true | string {
  const fits = withinLength(kase);
  if (fits !== true) return fits;
  const { B, D, L } = kase.dims;
  const bytes = bytesOf(B! * D! * L!);
  if (bytes > limits.bytes) return `expected tensors of at most ${limits.bytes} bytes, got ${bytes}`;
  return rowPlan(kase, limits) ? true : `expected a shorter sequence, got length ${L}`;
}

function tables(kase: Case, limits: GpuLimits): readonly KernelTable[] {
  const { shape, table } = rowPlan(kase, limits)!;
  return [{ name: `rows ${shape.radices.join(" ")}`, values: () => table.values }];
}

/** Of {@link fftConvKernel}. */
export const convolutionOnGpu: GpuVariant<undefined> = {
  device: "webgpu",
  name: "modulo x^n - i",
  supports,
  tables,
  forward,
  backward,
};
