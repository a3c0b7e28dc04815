/** The convolution of rows that fit into a workgroup, on the WebGPU device. */
import type { GpuVariant, KernelCase, KernelTable } from "@seqmix/tensor";
import { bytesOf, type GpuLimits, type GpuProgram } from "@seqmix/tensor/wgsl";
import { hasElements, tapsOf } from "../cpu/variants.js";
import { QUARTER, twiddleTable, type TwiddleTable } from "./residues.js";
import { radicesOf, rowBytes, type RowShape } from "./row-transform.js";
import { backwardPass, sumsPass, sumsWidth } from "./row-backward.js";
import { forwardPass, spectrumPass } from "./row-forward.js";
import type { RowBuffers, RowCase, RowTuning } from "./row-pass.js";

/** Values a thread keeps, and the radix of the last steps: more of them save a step of the longest rows. */
const VALUES = 16;
const valuesFor = (n: number): number => (n > 4096 ? 2 * VALUES : VALUES);
/** Threads of a workgroup for short rows: several rows share one. */
const THREADS = 128;
/** Workgroups that fill a large GPU. */
const FULL = 1024;

export type Case = KernelCase<undefined>;

const rowCaseOf = (kase: Case): RowCase => ({
  B: kase.dims.B!,
  D: kase.dims.D!,
  L: kase.dims.L!,
  K: tapsOf(kase, "k"),
  R: tapsOf(kase, "kReverse"),
  skip: kase.present.has("skip"),
  gate: kase.present.has("gate"),
});

/** Points of a case's transform: room for the input and for each kernel. */
export function pointsOf(kase: KernelCase<unknown>): number {
  const longest = Math.max(VALUES, kase.dims.L!, tapsOf(kase, "k") ?? 0, tapsOf(kase, "kReverse") ?? 0);
  return 2 ** Math.ceil(Math.log2(longest));
}

/** How a pass would like to use a workgroup. */
export interface RowWishes {
  /** How values change places: `halves` leaves more workgroups room, `whole` has fewer barriers. What does not fit is exchanged in halves. */
  readonly exchange: RowShape["exchange"];
  /** Rows of a workgroup at most. */
  readonly most: number;
}

/** How rows of n points lie on the threads of a workgroup; undefined if they are too long for these limits. */
export function rowShapeFor(n: number, limits: GpuLimits, { exchange, most }: RowWishes): RowShape | undefined {
  const values = valuesFor(n);
  const radices = radicesOf(n, values);
  const threads = n / values;
  const shapes: RowShape[] = [];
  for (const wished of exchange === "whole" ? (["whole", "halves"] as const) : (["halves"] as const))
    for (let rows = Math.max(1, Math.min(most, THREADS / threads)); rows >= 1; rows /= 2)
      shapes.push({ radices, values, rows, exchange: wished, padded: true });
  shapes.push({ radices, values, rows: 1, exchange: "halves", padded: false });
  return shapes.find((shape) => rowBytes(shape) <= limits.workgroupBytes && threads * shape.rows <= limits.threads);
}

/** The least divisor of the batch, of those allowed, that gives the GPU enough workgroups. */
function partsFor({ B, D }: RowCase, rows: number, allowed: number): number {
  let most = 1;
  for (let parts = 1; parts <= Math.min(B, allowed); parts++)
    if (B % parts === 0) {
      most = parts;
      if ((D * parts) / rows >= FULL) break;
    }
  return most;
}

interface RowPlan {
  readonly kase: RowCase;
  readonly shape: RowShape;
  readonly parts: number;
  readonly table: TwiddleTable;
}

function rowPlan(kase: Case, limits: GpuLimits): RowPlan | undefined {
  const rows = rowCaseOf(kase);
  const exchange = kase.cotangents.size > 0 ? "whole" : "halves";
  const shape = rowShapeFor(pointsOf(kase), limits, { exchange, most: THREADS });
  return (
    shape && {
      kase: rows,
      shape,
      parts: partsFor(rows, shape.rows, kase.cotangents.size > 0 ? limits.bytes / sumsBytes(rows) : Infinity),
      table: twiddleTable(shape.radices, [QUARTER], 1),
    }
  );
}

/** Bytes of the sums that a part leaves. */
const sumsBytes = (rows: RowCase): number => bytesOf(rows.D * sumsWidth(rows));

/** Numbers of a program's buffers: inputs, `more`, table, results, scratch. */
export function numbered(
  { present, halves, rounded }: Case,
  { storesHalf }: GpuLimits,
  more: readonly string[],
  results: readonly string[],
  scratch: readonly string[],
): RowBuffers {
  const names = [...present, ...more, "twiddles", ...results, ...scratch];
  return {
    number: Object.fromEntries(names.map((name, k) => [name, k])),
    half: storesHalf === true ? new Set([...halves, ...[...(rounded ?? [])].map((name) => `d${name}`)]) : new Set(),
  };
}

const describe = ({ shape: { radices, rows, exchange } }: RowPlan, parts: number): string =>
  `${radices.join(" ")}${rows > 1 ? `, ${rows} rows a workgroup` : ""}${exchange === "halves" ? ", exchanged in halves" : ""}${parts > 1 ? `, ${parts} parts` : ""}`;

function forward(kase: Case, limits: GpuLimits, results: readonly string[] = ["y"]): GpuProgram {
  const plan = rowPlan(kase, limits)!;
  const buffers = numbered(kase, limits, [], results, []);
  const tuning: RowTuning = { shape: plan.shape, parts: plan.parts, spectrum: "registers" };
  return {
    name: describe(plan, plan.parts),
    passes: [forwardPass(plan.kase, tuning, plan.table.offsets, buffers, results.includes("tail"))],
    scratch: [],
  };
}

function backward(kase: Case, limits: GpuLimits): GpuProgram {
  const plan = rowPlan(kase, limits)!;
  const { kase: rows, shape, parts, table } = plan;
  const gradients = [...kase.present].map((name) => `d${name}`);
  const sums = gradients.filter((name) => name !== "dgate" && name !== "du");
  const kernels = [...kase.present].filter((name) => name !== "gate" && name !== "u");
  // u, g, twiddles, du, and gate with its gradient
  const bound = 4 + (rows.gate ? 2 : 0);
  // In halves there is no room for the spectrum: its registers would spill.
  const spectrum = shape.exchange === "whole" && bound + kernels.length < limits.buffers ? "registers" : "memory";
  const read = spectrum === "registers" ? kernels.length : 1;
  const target = parts > 1 || bound + read + sums.length > limits.buffers ? "sums" : "gradients";
  const n = shape.radices.reduce((a, b) => a * b, 1);
  const scratch = {
    ...(spectrum === "memory" && { spectrum: bytesOf(2 * n * rows.D) }),
    ...(target === "sums" && { sums: parts * sumsBytes(rows) }),
  };
  const buffers = numbered(kase, limits, ["g"], gradients, Object.keys(scratch));
  const tuning: RowTuning = { shape, parts, spectrum };
  return {
    name: describe(plan, parts),
    passes: [
      ...(spectrum === "memory" ? [spectrumPass(rows, tuning, table.offsets, buffers)] : []),
      backwardPass(rows, tuning, table.offsets, buffers, target),
      ...(target === "sums" ? [sumsPass(rows, parts, buffers)] : []),
    ],
    scratch: Object.values(scratch),
  };
}

/** Whether a pass can bind the tensors of a case whole. */
export function bindable(kase: Case, limits: GpuLimits): true | string {
  const { B = 0, D = 0, L = 0 } = kase.dims;
  const bytes = bytesOf(B * D * L);
  return bytes > limits.bytes ? `expected tensors of at most ${limits.bytes} bytes, got ${bytes}` : hasElements(kase);
}

function supports(kase: Case, limits: GpuLimits): true | string {
  const fits = bindable(kase, limits);
  if (fits !== true) return fits;
  if (!rowPlan(kase, limits)) return `expected rows that fit into a workgroup, got length ${kase.dims.L}`;
  const bytes = Math.max(bytesOf(2 * pointsOf(kase) * kase.dims.D!), sumsBytes(rowCaseOf(kase)));
  return kase.cotangents.size === 0 || bytes <= limits.bytes
    ? true
    : `expected transforms of the kernels of at most ${limits.bytes} bytes, got ${bytes}`;
}

function tables(kase: Case, limits: GpuLimits): readonly KernelTable[] {
  const { shape, table } = rowPlan(kase, limits)!;
  return [{ name: `rows ${shape.radices.join(" ")}`, values: () => table.values }];
}

/** Of {@link fftConvKernel}. */
export const rowsOnGpu: GpuVariant<undefined> = {
  device: "webgpu",
  name: "modulo x^n - i, a workgroup a row",
  supports,
  tables,
  forward: (kase, limits) => forward(kase, limits),
  backward,
  gradientsInHalf: true,
};

/** Of {@link fftPieceKernel}: the imaginary parts are the tail. */
export const piecesOnGpu: GpuVariant<undefined> = {
  device: "webgpu",
  name: rowsOnGpu.name,
  supports: (kase, limits) => (kase.dims.K! > 1 ? supports(kase, limits) : "expected at least 2 taps, got one"),
  tables,
  forward: (kase, limits) => forward(kase, limits, ["y", "tail"]),
};
