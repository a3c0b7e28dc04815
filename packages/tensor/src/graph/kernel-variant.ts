/** Hand-written programs of a kernel record: what a variant is on each device, and which one runs a call. */
import type { CpuProgram } from "../devices/cpu/program.js";
import type { GpuLimits, GpuProgram } from "../devices/webgpu/program.js";
import type { HostArray } from "./dtype.js";
import type { AnyKernelRecord } from "./kernel.js";
import { tensor, type Tensor } from "./tensor.js";

/** Extents by axis letter, e.g. `{ B: 8, L: 256, D: 128, N: 16 }`. */
export type Dims = Readonly<Record<string, number>>;

/** What one call of a kernel looks like, for variants to decide by. */
export interface KernelCase<O> {
  /** Extents of all axes. */
  readonly dims: Dims;
  /** Options of the call. */
  readonly options: O;
  /** Names of the inputs given. */
  readonly present: ReadonlySet<string>;
  /** Names of the inputs that are f16. A device that stores no f16 keeps them as f32 numbers ({@link GpuLimits}.storesHalf). */
  readonly halves: ReadonlySet<string>;
  /** In a backward program: names of the outputs that have a cotangent. */
  readonly cotangents: ReadonlySet<string>;
  /** In a backward program: names of the f16 inputs whose gradients it stores as f16; none by default. See {@link GpuVariant}.gradientsInHalf. */
  readonly rounded?: ReadonlySet<string>;
}

/** A table that the programs of a variant read beside the inputs, e.g. roots of unity. */
export interface KernelTable {
  /** What the values depend on: tables of a variant with one name are one. */
  readonly name: string;
  /** The values, computed once for as long as a plan uses them. */
  values(): HostArray;
}

/** A variant for the CPU device. */
export interface CpuVariant<O> {
  /** Which device it is for. */
  readonly device: "cpu";
  /** The name `explain` and benchmark rows print. */
  readonly name: string;
  /** true, or the reason why this variant cannot run the case. */
  supports?(kase: KernelCase<O>): true | string;
  /** Tables behind the other inputs of both programs. */
  tables?(kase: KernelCase<O>): readonly KernelTable[];
  /** Buffers: the present inputs and the tables, then outputs and residuals, in the record's order. */
  forward(kase: KernelCase<O>, memory: { readonly shared: boolean }): CpuProgram;
  /**
   * Buffers: present inputs, outputs and residuals that backward programs read, given cotangents and the tables; then
   * one f32 gradient per present f32 or f16 input.
   */
  backward?(kase: KernelCase<O>, memory: { readonly shared: boolean }): CpuProgram;
}

/** A variant for the WebGPU device. */
export interface GpuVariant<O> {
  /** Which device it is for. */
  readonly device: "webgpu";
  /** The name `explain` and benchmark rows print. */
  readonly name: string;
  /** Why adapters with the lowest limits that WebGPU allows may not run it; without this they must. */
  readonly needs?: string;
  /** true, or the reason why this variant cannot run the case within these limits. */
  supports?(kase: KernelCase<O>, limits: GpuLimits): true | string;
  /** Tables behind the other inputs of both programs. */
  tables?(kase: KernelCase<O>, limits: GpuLimits): readonly KernelTable[];
  /** Buffers as those of {@link CpuVariant}.forward. */
  forward(kase: KernelCase<O>, limits: GpuLimits): GpuProgram;
  /** Buffers as those of {@link CpuVariant}.backward; gradients of the case's `rounded` inputs are f16. */
  backward?(kase: KernelCase<O>, limits: GpuLimits): GpuProgram;
  /** Whether the backward program can store gradients of f16 inputs as f16 ({@link KernelCase}.rounded); else they are rounded behind it. */
  readonly gradientsInHalf?: true;
}

/** A hand-written implementation of a record for one device. */
export type KernelVariant<O> = CpuVariant<O> | GpuVariant<O>;

/** A device as variants know it. */
export interface VariantTarget {
  /** The device's name. */
  readonly device: string;
  /** What a program of the WebGPU device may use; no variant of it runs without. */
  readonly limits?: GpuLimits | undefined;
}

/** A kernel call, or the gradient of one. */
export interface KernelStep {
  readonly record: AnyKernelRecord;
  readonly kase: KernelCase<unknown>;
  readonly gradient: boolean;
}

/** The first variant that runs a step on a device, or the reasons why none does. */
export function chooseVariant(
  { record, kase, gradient }: KernelStep,
  { device, limits }: VariantTarget,
): KernelVariant<unknown> | readonly string[] {
  const reasons: string[] = [];
  for (const variant of record.variants) {
    if (variant.device !== device || (variant.device === "webgpu" && !limits)) continue;
    const verdict =
      (variant.device === "webgpu" ? variant.supports?.(kase, limits!) : variant.supports?.(kase)) ?? true;
    if (verdict === true && (!gradient || variant.backward)) return variant;
    reasons.push(`${variant.name}: ${verdict === true ? "no backward program" : verdict}`);
  }
  return reasons;
}

/** Tables in use by variant and name; they go when the last plan that reads them goes. */
const tables = new WeakMap<object, Map<string, WeakRef<Tensor>>>();

/** The tables a variant's programs read for a case. */
export function tablesOf(
  variant: KernelVariant<unknown>,
  kase: KernelCase<unknown>,
  { limits }: VariantTarget,
): readonly Tensor[] {
  const wanted = (variant.device === "webgpu" ? variant.tables?.(kase, limits!) : variant.tables?.(kase)) ?? [];
  let known = tables.get(variant);
  if (!known) tables.set(variant, (known = new Map()));
  const mine = known;
  for (const [name, reference] of mine) if (!reference.deref()) mine.delete(name);
  return wanted.map(({ name, values }) => {
    let table = mine.get(name)?.deref();
    if (!table) mine.set(name, new WeakRef((table = tensor(values()))));
    return table;
  });
}
