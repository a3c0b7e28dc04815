/** Golden fixtures: inputs, outputs and gradients computed by the published implementations, one folder an operator. */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { tensor, type HostArray, type Tensor } from "@seqmix/tensor";
import { readSafetensors } from "./golden-safetensors.js";

/** A real tensor, or a complex one as a pair. */
export type GoldenValue = Tensor | GoldenComplex;

/** A complex tensor. */
export interface GoldenComplex {
  /** Real part. */
  readonly re: Tensor;
  /** Imaginary part. */
  readonly im: Tensor;
}

/** Values by the fixture's names. */
export type GoldenValues = Readonly<Record<string, GoldenValue>>;

/** A stored tensor with its meaning. */
export interface GoldenTensor {
  /** "input", "param", "output", "weight", "grad" or another part of the case. */
  readonly role: string;
  /** Extents, without the pair axis of a complex tensor. */
  readonly shape: readonly number[];
  /** Whether real and imaginary parts alternate in `data`. */
  readonly complex: boolean;
  /** Values, row-major. */
  readonly data: HostArray;
}

/** |a - b| <= atol + rtol max|b|, for each tensor. */
export interface GoldenTolerance {
  /** Part of the largest expected magnitude. */
  readonly rtol: number;
  /** Absolute part. */
  readonly atol: number;
}

/** One entry of a fixture directory's index. */
export interface GoldenEntry {
  /** What was run, e.g. "selective_scan". */
  readonly operator: string;
  /** Name of the case within the operator. */
  readonly case: string;
  /** Paths of the two files, relative to the directory. */
  readonly json: string;
  /** Path of the values, relative to the directory. */
  readonly safetensors: string;
}

/** One case: a call of a published implementation, and what it returned. */
export interface GoldenCase {
  /** What was run. */
  readonly operator: string;
  /** Name of the case within the operator. */
  readonly name: string;
  /** Sizes and settings of the call. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Everything stored, by name. */
  readonly tensors: Readonly<Record<string, GoldenTensor>>;
  /** Suggested tolerances for computing in either precision. */
  readonly tolerance: {
    /** On the reference device. */
    readonly float64?: GoldenTolerance;
    /** On every other. */
    readonly float32?: GoldenTolerance;
  };
  /** Directory of the fixtures, for cases with further files. */
  readonly directory: string;
}

/** The entries of `index.json` in a fixture directory. */
export async function readGoldenIndex(directory: string): Promise<readonly GoldenEntry[]> {
  const path = join(directory, "index.json");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw new Error(`golden: expected a readable ${path}, got ${(error as Error).message}; name a fixture directory`, {
      cause: error,
    });
  }
  const index = JSON.parse(text) as { cases?: readonly GoldenEntry[] };
  if (!Array.isArray(index.cases))
    throw new TypeError(`golden: expected a list "cases" in ${path}, got ${typeof index.cases}`);
  return index.cases as readonly GoldenEntry[];
}

/** Reads one case; the weights of a checkpoint beside it are parameters `param.<name>`. */
export async function readGoldenCase(directory: string, entry: GoldenEntry): Promise<GoldenCase> {
  const meta = JSON.parse(await readFile(join(directory, entry.json), "utf8")) as {
    options?: Record<string, unknown>;
    tolerance?: GoldenCase["tolerance"];
    files?: { weights?: string };
    tensors: Record<string, { role: string; complex?: boolean }>;
  };
  const stored = readSafetensors(await readFile(join(directory, entry.safetensors)));
  const tensors: Record<string, GoldenTensor> = {};
  for (const [name, { role, complex = false }] of Object.entries(meta.tensors)) {
    const values = stored[name];
    if (!values)
      throw new RangeError(`golden: expected tensor ${name} in ${entry.safetensors}, as ${entry.json} says, got none`);
    // Gradients of a checkpoint's parameters are stored as grad.<name>.
    tensors[name.replace(/^grad\./, "grad_param.")] = {
      role,
      complex,
      shape: complex ? values.shape.slice(0, -1) : values.shape,
      data: values.data,
    };
  }
  if (meta.files?.weights) {
    const checkpoint = readSafetensors(await readFile(join(directory, dirname(entry.json), meta.files.weights)));
    for (const [name, { shape, data }] of Object.entries(checkpoint))
      tensors[`param.${name}`] = { role: "param", complex: false, shape, data };
  }
  return {
    operator: entry.operator,
    name: entry.case,
    options: meta.options ?? {},
    tensors,
    tolerance: meta.tolerance ?? {},
    directory,
  };
}

/** A stored tensor as a value to compute with. */
export function goldenValue({ shape, complex, data }: GoldenTensor): GoldenValue {
  if (!complex) return tensor(data, shape);
  return { re: tensor(everySecond(data, 0), shape), im: tensor(everySecond(data, 1), shape) };
}

const everySecond = (data: HostArray, start: number): Float64Array =>
  Float64Array.from({ length: data.length / 2 }, (_, k) => data[2 * k + start]!);
