/** What a kernel looks like to the device: WGSL passes over numbered buffers. */
import type { DType } from "../../graph/dtype.js";
import type { FragmentTexts } from "./fragments.js";

/** One dispatch. */
export interface GpuPass {
  /** WGSL with the entry point `main`; buffers are bindings 0, 1, ... of group 0, in the order of `buffers`. */
  readonly code: string;
  /** The program's buffers it uses: inputs, then outputs, then scratch blocks, counted from 0. */
  readonly buffers: readonly GpuBinding[];
  /** Numbers the code reads from a uniform block after the buffers; see `declareParameters`. Shapes that come this way share one compiled kernel. */
  readonly parameters?: GpuParameters;
  /** Workgroups in all; the device spreads them over two dimensions where one does not hold them. */
  readonly groups: number;
}

/** i32 values by name. */
export type GpuParameters = Readonly<Record<string, number>>;

/** A buffer of the program that a pass uses. */
export interface GpuBinding {
  /** Its number. */
  readonly buffer: number;
  /** Whether the pass writes it; "uniform": it reads it as `var<uniform>`, of at most 64 KiB, the same for all threads. */
  readonly access: "read" | "read_write" | "uniform";
  /** The part of the buffer that is bound; all of it by default. */
  readonly window?: GpuWindow;
}

/** Bytes [from, from + bytes) of a buffer. */
export interface GpuWindow {
  /** A multiple of 256. */
  readonly from: number;
  /** How many. */
  readonly bytes: number;
}

/** What an adapter allows a pass to bind. */
export interface GpuLimits {
  /** maxStorageBuffersPerShaderStage. */
  readonly buffers: number;
  /** maxStorageBufferBindingSize. */
  readonly bytes: number;
  /** maxComputeInvocationsPerWorkgroup. */
  readonly threads: number;
  /** maxComputeWorkgroupStorageSize. */
  readonly workgroupBytes: number;
  /** Whether f16 is stored in two bytes; else it is kept as f32 numbers. */
  readonly storesHalf?: boolean;
  /** Whether matrix products run on subgroup matrices of 16 x 16 x 16: f16 operands, sums in f32. */
  readonly matrixUnits?: boolean;
  /** How f32 products run on them: "f32" keeps its accuracy, "tf32" rounds operands to 10 bits of mantissa. */
  readonly products?: "f32" | "tf32";
  /** Texts of matrix units in place of the adapter's own: for tests. */
  readonly fragments?: FragmentTexts;
}

/** The lowest limits that WebGPU allows: every adapter has them. */
export const PORTABLE_LIMITS: GpuLimits = { buffers: 8, bytes: 2 ** 27, threads: 256, workgroupBytes: 16384 };

/** Bytes that windows start at a multiple of, on every adapter (the highest minStorageBufferOffsetAlignment that WebGPU allows). */
export const WINDOW_ALIGNMENT = 256;

/** A kernel as passes that run one after the other. */
export interface GpuProgram {
  /** For `explain`, e.g. "rows 4096 of 512, 128 threads". */
  readonly name: string;
  /** In order; each sees what those before it wrote. */
  readonly passes: readonly GpuPass[];
  /** Bytes of temporary blocks, used by these passes only. */
  readonly scratch: readonly number[];
  /** Of a product: parts of equal size in the first temporary block whose sum, in their order, is all that the last pass computes. */
  readonly parts?: number;
}

/** Declares a buffer: an array of the type, or one value of it if it is uniform. */
export const declare = (binding: number, name: string, access: GpuBinding["access"], type: string): string =>
  access === "uniform"
    ? `@group(0) @binding(${binding}) var<uniform> ${name}: ${type};\n`
    : `@group(0) @binding(${binding}) var<storage, ${access}> ${name}: array<${type}>;\n`;

/** Declares the parameters; the code reads them as `p.name`. */
export const declareParameters = (
  binding: number,
  parameters: GpuParameters,
): string => `struct Parameters { ${Object.keys(parameters)
  .map((name) => `${name}: i32`)
  .join(", ")} }
@group(0) @binding(${binding}) var<uniform> p: Parameters;
`;

/** The text with every line moved in by two spaces, or `depth` times as much. */
export const indent = (text: string, depth = 1): string =>
  text
    .split("\n")
    .map((line) => (line === "" ? "" : "  ".repeat(depth) + line))
    .join("\n");

/** Bytes of an element. */
export const widthOf = (dtype: DType): 2 | 4 => (dtype === "f16" ? 2 : 4);

/** Bytes that memory for this many elements takes: whole vectors of four, and never nothing. */
export const bytesOf = (elements: number, dtype: DType = "f32"): number =>
  Math.max(4, Math.ceil(elements / 4) * 4) * widthOf(dtype);

/** The code with the extensions of WGSL that it uses. */
export function withExtensions(code: string): string {
  const enabled = [
    ["f16", /\bf16\b/],
    ["subgroups", /\bsubgroup_id\b/],
    ["chromium_experimental_subgroup_matrix", /\bsubgroup_matrix_/],
  ] as const;
  return (
    enabled
      .filter(([, used]) => used.test(code))
      .map(([name]) => `enable ${name};\n`)
      .join("") + code
  );
}
