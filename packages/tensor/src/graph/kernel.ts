/**
 * One kernel, one record. A record says what a fused kernel computes (`reference`, composed from ops: the
 * definition, the oracle and the fallback), and has variants: hand-written programs for particular devices.
 * Without a variant for a device the planner puts the reference in the call's place; without a backward
 * program the gradient is that of the reference.
 */
import type { CpuProgram } from "../devices/cpu/program.js";
import type { DType, HostArray } from "./dtype.js";
import { DTypeError, ShapeError } from "./errors.js";
import { backpropagate } from "./grad.js";
import type { Op } from "./op.js";
import { zeros } from "../ops/generators.js";
import { identity } from "../ops/movement.js";
import { formatShape, type Shape } from "./shape.js";
import { callOp, tensor, type Call, type Tensor } from "./tensor.js";

/** Extents by axis letter, e.g. `{ B: 8, L: 256, D: 128, N: 16 }`. */
export type Dims = Readonly<Record<string, number>>;

/** Axis letters by tensor name, e.g. `{ u: "B L D", A: "D N" }`. */
export type AxisSpec = Readonly<Record<string, string>>;

/** What one call of a kernel looks like, for variants to decide by. */
export interface KernelCase<O> {
  /** Extents of all axes. */
  readonly dims: Dims;
  /** Options of the call. */
  readonly options: O;
  /** Names of the inputs given. */
  readonly present: ReadonlySet<string>;
  /** In a backward program: names of the outputs that have a cotangent. */
  readonly cotangents: ReadonlySet<string>;
}

/** A hand-written implementation of a record for one device. */
export interface KernelVariant<O> {
  /** The device's name. */
  readonly device: "cpu";
  /** The name `explain` and benchmark rows print. */
  readonly name: string;
  /** true, or the reason why this variant cannot run the case. */
  supports?(kase: KernelCase<O>): true | string;
  /** Buffers: the present inputs, the constants, then outputs and residuals, in the record's order. */
  forward(kase: KernelCase<O>, memory: { readonly shared: boolean }): CpuProgram;
  /** Buffers: present inputs, constants, outputs, residuals, given cotangents; then one gradient per present f32 input. */
  backward?(kase: KernelCase<O>, memory: { readonly shared: boolean }): CpuProgram;
}

/** Everything there is to know of a kernel. */
export interface KernelRecord<I extends AxisSpec, U extends AxisSpec, O> {
  /** The name errors and benchmarks use. */
  readonly name: string;
  /** Axes of each input, in the order variants see them. */
  readonly inputs: I;
  /** Inputs that may be left out. */
  readonly optional?: readonly (keyof I & string)[];
  /** Element types other than f32. */
  readonly dtypes?: Readonly<Partial<Record<keyof I & string, DType>>>;
  /** Axes of each output; all are f32. */
  readonly outputs: U;
  /** Tables that variants read beside the inputs, in this order; the reference does without. */
  readonly constants?: Readonly<Record<string, KernelConstant>>;
  /** Values the forward program keeps for the backward one; axes may use those of `extraDims`. */
  readonly residuals?: AxisSpec;
  /** Axes that no input has, computed from those that have one. */
  extraDims?(dims: Dims, options: O): Dims;
  /** The definition, composed from ops. */
  reference(inputs: { readonly [K in keyof I]: Tensor }, options: O, dims: Dims): { readonly [K in keyof U]: Tensor };
  /**
   * Gradients of the inputs from the cotangents of the outputs, as tensor code. Without it the gradient is a variant's
   * backward program, or that of the reference.
   */
  gradient?(
    inputs: { readonly [K in keyof I]: Tensor },
    cotangents: { readonly [K in keyof U]?: Tensor },
    options: O,
    dims: Dims,
  ): { readonly [K in keyof I]?: Tensor };
  /** Work and compulsory memory traffic of the forward pass. */
  cost(dims: Dims, options: O): KernelCost;
  /** Hand-written programs, tried in order. */
  readonly variants: readonly KernelVariant<O>[];
  /** Cases that `checkKernel` runs. */
  readonly samples: readonly KernelSample<keyof I & string, O>[];
}

/** A table that programs of a kernel read, e.g. roots of unity. */
export interface KernelConstant {
  /** The axes it depends on, e.g. "L". */
  readonly axes: string;
  /** Its values, computed once for each extent of those axes. */
  values(dims: Dims): HostArray;
}

/** A case of a kernel for tests. */
export interface KernelSample<Names extends string, O> {
  /** What is special about it. */
  readonly name: string;
  /** Extents of the inputs' axes. */
  readonly dims: Dims;
  /** Options of the call. */
  readonly options: O;
  /** Optional inputs left out. */
  readonly without?: readonly Names[];
  /** Ranges of the random values by input; -1 to 1 by default. */
  readonly ranges?: Readonly<Record<string, readonly [low: number, high: number]>>;
}

/** Work and compulsory memory traffic of a call. */
export interface KernelCost {
  /** Floating-point operations; an exponential counts as one. */
  readonly flops: number;
  /** Bytes that must be read and written once. */
  readonly bytes: number;
}

/** A record whose types do not matter. */
export type AnyKernelRecord = KernelRecord<AxisSpec, AxisSpec, unknown>;

/** Attributes of a kernel call and, with `forward`, of its gradient call. */
export interface KernelAttributes {
  readonly record: AnyKernelRecord;
  readonly kase: KernelCase<unknown>;
  /** The call whose gradient this is. */
  readonly forward?: Call;
}

/** A kernel as a function of its inputs. `record` is what it was defined by. */
export interface Kernel<I extends AxisSpec, U extends AxisSpec, O> {
  (inputs: { readonly [K in keyof I]?: Tensor | undefined }, options: O): { readonly [K in keyof U]: Tensor };
  /** What the kernel was defined by. */
  readonly record: KernelRecord<I, U, O>;
}

/** Makes a function of a record. Calls check names, types and axes at once. */
export function defineKernel<const I extends AxisSpec, const U extends AxisSpec, O = undefined>(
  record: KernelRecord<I, U, O>,
): Kernel<I, U, O> {
  const tables = new Map<string, Tensor>();
  const call = (
    inputs: { readonly [K in keyof I]?: Tensor | undefined },
    options: O,
  ): { readonly [K in keyof U]: Tensor } => {
    const given: Record<string, Tensor> = {};
    for (const name of Object.keys(record.inputs)) {
      const x = inputs[name];
      if (x) given[name] = x;
      else if (!record.optional?.includes(name))
        throw new ShapeError(`${record.name}: expected input ${name} [${record.inputs[name]}], got none`);
    }
    for (const [name, x] of Object.entries(given)) {
      const expected = record.dtypes?.[name] ?? "f32";
      if (x.dtype !== expected)
        throw new DTypeError(
          `${record.name}: expected ${expected} for ${name}, got ${x.dtype} ${formatShape(x.shape)}; convert it with cast`,
        );
    }
    const bound = bindDims(record.name, record.inputs, given);
    const dims = { ...bound, ...record.extraDims?.(bound, options) };
    const kase: KernelCase<unknown> = { dims, options, present: new Set(Object.keys(given)), cotangents: new Set() };
    const constants = Object.entries(record.constants ?? {}).map(([name, { axes, values }]) => {
      const id = `${name} ${shapeOf(axes, dims).join(",")}`;
      let table = tables.get(id);
      if (!table) tables.set(id, (table = tensor(values(dims))));
      return table;
    });
    const results = callOp(kernelOp, [...Object.values(given), ...constants], {
      record: record as unknown as AnyKernelRecord,
      kase,
    } satisfies KernelAttributes);
    return Object.fromEntries(Object.keys(record.outputs).map((name, k) => [name, results[k]!])) as {
      readonly [K in keyof U]: Tensor;
    };
  };
  return Object.assign(call, { record });
}

/** Extents by letter. @throws ShapeError naming axis, inputs and both values. */
function bindDims(kernel: string, spec: AxisSpec, inputs: Readonly<Record<string, Tensor>>): Dims {
  const dims: Record<string, number> = {};
  const origin: Record<string, string> = {};
  for (const [name, x] of Object.entries(inputs)) {
    const axes = lettersOf(spec[name]!);
    if (axes.length !== x.shape.length)
      throw new ShapeError(
        `${kernel}: expected ${name} [${spec[name]}] of rank ${axes.length}, got shape ${formatShape(x.shape)}; reshape it`,
      );
    axes.forEach((letter, k) => {
      const extent = x.shape[k]!;
      if (letter in dims && dims[letter] !== extent)
        throw new ShapeError(
          `${kernel}: axis ${letter} is ${dims[letter]} in ${origin[letter]} [${spec[origin[letter]!]}] but ${extent} in ${name} [${spec[name]}]; make them equal`,
        );
      dims[letter] = extent;
      origin[letter] = name;
    });
  }
  return dims;
}

const lettersOf = (axes: string): string[] => axes.split(" ").filter((letter) => letter !== "");
const shapeOf = (axes: string, dims: Dims): Shape => lettersOf(axes).map((letter) => dims[letter]!);

/** Names of all results of the forward program: outputs, then residuals. */
const resultNames = (record: AnyKernelRecord): [string, string][] => [
  ...Object.entries(record.outputs),
  ...Object.entries(record.residuals ?? {}),
];

/** A forward call. */
export const kernelOp: Op = {
  name: "kernel",
  rule: { kind: "kernel" },
  infer(_, attributes) {
    const { record, kase } = attributes as KernelAttributes;
    return resultNames(record).map(([, axes]) => ({ shape: shapeOf(axes, kase.dims), dtype: "f32" }));
  },
  gradient(call, cotangents) {
    const { record, kase } = call.attributes as KernelAttributes;
    const names = Object.keys(record.outputs).filter((_, k) => cotangents[k]);
    if (record.gradient) {
      const inputs = Object.fromEntries([...kase.present].map((name, k) => [name, call.inputs[k]!]));
      const gradients = record.gradient(
        inputs,
        Object.fromEntries(Object.keys(record.outputs).map((name, k) => [name, cotangents[k]!])),
        kase.options,
        kase.dims,
      );
      return [...kase.present].map((name) => gradients[name]);
    }
    const given = cotangents.filter((g): g is Tensor => g !== undefined);
    const attributes: KernelAttributes = { record, kase: { ...kase, cotangents: new Set(names) }, forward: call };
    const gradients = callOp(kernelGradientOp, [...call.inputs, ...call.outputs, ...given], attributes);
    let next = 0;
    return call.inputs.map((_, k) => (isDifferentiable(call, k) ? gradients[next++] : undefined));
  },
  samples: [],
};

/** A backward call: inputs, outputs, residuals and given cotangents of the forward call -> gradients of its f32 inputs. */
export const kernelGradientOp: Op = {
  name: "kernelGradient",
  rule: { kind: "kernel" },
  infer(_, attributes) {
    const { forward } = attributes as KernelAttributes;
    return forward!.inputs.flatMap(({ shape }, k) =>
      isDifferentiable(forward!, k) ? [{ shape, dtype: "f32" as const }] : [],
    );
  },
  // Second derivatives go through the reference.
  gradient(call, cotangents) {
    const inputs = call.inputs.map(identity);
    return backpropagate(expandKernel(call, new Map(), inputs), cotangents, inputs);
  },
  samples: [],
};

/** Whether input k of a forward call has a gradient. */
function isDifferentiable({ inputs, attributes }: Call, k: number): boolean {
  return inputs[k]!.dtype === "f32" && k < (attributes as KernelAttributes).kase.present.size;
}

/** References already put in the place of forward calls, so that a gradient shares its forward pass. */
export type Expansions = Map<Call, Expansion>;

interface Expansion {
  /** A mark in front of each input, so that a tensor given twice counts as two. */
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
}

/** The call's reference (or the gradient of it) in terms of `given`, the call's inputs; one tensor per result but the residuals. */
export function expandKernel(
  call: Call,
  expansions: Expansions = new Map(),
  given: readonly Tensor[] = call.inputs,
): readonly Tensor[] {
  const { record, kase, forward } = call.attributes as KernelAttributes;
  const origin = forward ?? call;
  const count = origin.inputs.length;
  let expansion = expansions.get(origin);
  if (!expansion) {
    const inputs = given.slice(0, count).map(identity);
    const results = record.reference(
      Object.fromEntries([...kase.present].map((name, k) => [name, inputs[k]!])),
      kase.options,
      kase.dims,
    );
    expansion = { inputs, outputs: Object.keys(record.outputs).map((name) => results[name]!) };
    expansions.set(origin, expansion);
  }
  if (!forward) return expansion.outputs;
  const cotangents = given.slice(count + forward.outputs.length);
  let next = 0;
  const present = Object.keys(record.outputs).map((name) =>
    kase.cotangents.has(name) ? cotangents[next++] : undefined,
  );
  const gradients = backpropagate(expansion.outputs, present, expansion.inputs);
  return origin.inputs.flatMap((x, k) => (isDifferentiable(origin, k) ? [gradients[k] ?? zeros(x.shape)] : []));
}

/** The first variant that runs the case on a device, or the reasons why none does. */
export function chooseVariant(
  {
    record,
    kase,
    gradient,
  }: { readonly record: AnyKernelRecord; readonly kase: KernelCase<unknown>; readonly gradient: boolean },
  device: string,
): KernelVariant<unknown> | readonly string[] {
  const reasons: string[] = [];
  for (const variant of record.variants) {
    if (variant.device !== device) continue;
    const verdict = variant.supports?.(kase) ?? true;
    if (verdict === true && (!gradient || variant.backward)) return variant;
    reasons.push(`${variant.name}: ${verdict === true ? "no backward program" : verdict}`);
  }
  return reasons;
}
