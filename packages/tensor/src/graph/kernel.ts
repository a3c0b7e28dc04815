/**
 * One kernel, one record. A record says what a fused kernel computes (`reference`, composed from ops: the
 * definition, the oracle and the fallback), and has variants: hand-written programs for particular devices.
 * Without a variant for a device the planner puts the reference in the call's place; without a backward
 * program the gradient is that of the reference.
 */
import { assertSettings, type SettingRules } from "./assert.js";
import { isReal, type DType } from "./dtype.js";
import { DTypeError, ShapeError } from "./errors.js";
import { backpropagate } from "./grad.js";
import type { Dims, KernelCase, KernelVariant } from "./kernel-variant.js";
import type { Op } from "./op.js";
import { cast } from "../ops/elementwise.js";
import { zeros } from "../ops/generators.js";
import { identity } from "../ops/movement.js";
import { formatShape, type Shape } from "./shape.js";
import { callOp, type Call, type Tensor } from "./tensor.js";

/** Axis letters by tensor name, e.g. `{ u: "B L D", A: "D N" }`. */
export type AxisSpec = Readonly<Record<string, string>>;

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
  /** f32 inputs that may be f16 as well: the reference gets them as f32, and their gradients are rounded at the end. */
  readonly halves?: readonly (keyof I & string)[];
  /** Axes of each output; all are f32. */
  readonly outputs: U;
  /** Values the forward program keeps for the backward one; axes may use those of `extraDims`. */
  readonly residuals?: AxisSpec;
  /** Outputs and residuals that backward programs read; all by default. */
  readonly backwardReads?: readonly string[];
  /** What each option of a call has to be. */
  readonly options?: SettingRules<O & object>;
  /** Axes that no input has, computed from those that have one. */
  extraDims?(dims: Dims, options: O): Dims;
  /** The definition, composed from ops. */
  reference(inputs: { readonly [K in keyof I]: Tensor }, options: O, dims: Dims): { readonly [K in keyof U]: Tensor };
  /**
   * Gradients of the inputs from the cotangents of the outputs, as tensor code: what runs where no variant has a backward
   * program. Without it the gradient there is that of the reference.
   */
  gradient?(
    inputs: { readonly [K in keyof I]: Tensor },
    cotangents: { readonly [K in keyof U]?: Tensor },
    options: O,
    dims: Dims,
  ): { readonly [K in keyof I]?: Tensor };
  /** Work and compulsory memory traffic of the forward pass. @param present The inputs given; all by default. */
  cost(dims: Dims, options: O, present?: ReadonlySet<string>): KernelCost;
  /** Hand-written programs, tried in order. */
  readonly variants: readonly KernelVariant<O>[];
  /** Cases that `checkKernel` runs. */
  readonly samples: readonly KernelSample<keyof I & string, O>[];
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
  /** Inputs given as f16. */
  readonly halves?: readonly Names[];
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
  const rules = Object.fromEntries(Object.keys(record.inputs).map((name) => [name, "tensor?"]));
  const call = (
    inputs: { readonly [K in keyof I]?: Tensor | undefined },
    options: O,
  ): { readonly [K in keyof U]: Tensor } => {
    assertSettings(record.name, inputs, rules as SettingRules<typeof inputs>);
    if (record.options) assertSettings(record.name, options as O & object, record.options);
    const given: Record<string, Tensor> = {};
    for (const name in rules) {
      const x = inputs[name];
      if (x) given[name] = x;
      else if (!record.optional?.includes(name))
        throw new ShapeError(`${record.name}: expected input ${name} [${record.inputs[name]}], got none`);
    }
    const halves = new Set<string>();
    for (const [name, x] of Object.entries(given)) {
      const expected = record.dtypes?.[name] ?? "f32";
      if (x.dtype === "f16" && record.halves?.includes(name)) halves.add(name);
      else if (x.dtype !== expected)
        throw new DTypeError(
          `${record.name}: expected ${expected} for ${name}, got ${x.dtype} ${formatShape(x.shape)}; convert it with cast`,
        );
    }
    const bound = bindDims(record.name, record.inputs, given);
    const dims = { ...bound, ...record.extraDims?.(bound, options) };
    const present = new Set(Object.keys(given));
    const kase: KernelCase<unknown> = { dims, options, present, halves, cotangents: new Set() };
    const results = callOp(kernelOp, Object.values(given), {
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

/** The values of the forward call that backward programs read. */
function readBackward({ outputs, attributes }: Call): readonly Tensor[] {
  const { record } = attributes as KernelAttributes;
  const { backwardReads } = record;
  return backwardReads ? outputs.filter((_, k) => backwardReads.includes(resultNames(record)[k]![0])) : outputs;
}

/** A forward call. */
export const kernelOp: Op = {
  name: "kernel",
  rule: { kind: "kernel", expand: expandKernel },
  infer(_, attributes) {
    const { record, kase } = attributes as KernelAttributes;
    return resultNames(record).map(([, axes]) => ({ shape: shapeOf(axes, kase.dims), dtype: "f32" }));
  },
  gradient(call, cotangents) {
    const { record, kase } = call.attributes as KernelAttributes;
    const names = Object.keys(record.outputs).filter((_, k) => cotangents[k]);
    const given: KernelCase<unknown> = { ...kase, cotangents: new Set(names) };
    const present = cotangents.filter((g): g is Tensor => g !== undefined);
    if (record.gradient && !record.variants.some(({ backward }) => backward))
      return rounded(call, composedGradient(record, given, call.inputs, present));
    const attributes: KernelAttributes = { record, kase: given, forward: call };
    const gradients = callOp(kernelGradientOp, [...call.inputs, ...readBackward(call), ...present], attributes);
    let next = 0;
    return rounded(
      call,
      call.inputs.map((x) => (isReal(x.dtype) ? gradients[next++] : undefined)),
    );
  },
};

/** Gradients of f16 inputs are computed as f32. */
const rounded = ({ inputs }: Call, gradients: readonly (Tensor | undefined)[]): (Tensor | undefined)[] =>
  gradients.map((g, k) => (g && inputs[k]!.dtype === "f16" ? cast(g, "f16") : g));

/** The record's own gradient in tensor code: one tensor an input, of the cotangents given. */
function composedGradient(
  record: AnyKernelRecord,
  kase: KernelCase<unknown>,
  inputs: readonly Tensor[],
  cotangents: readonly Tensor[],
): (Tensor | undefined)[] {
  const names = [...kase.present];
  const gradients = record.gradient!(
    Object.fromEntries(names.map((name, k) => [name, widened(inputs[k]!)])),
    Object.fromEntries([...kase.cotangents].map((name, k) => [name, cotangents[k]!])),
    kase.options,
    kase.dims,
  );
  return names.map((name) => gradients[name]);
}

const widened = (x: Tensor): Tensor => (x.dtype === "f16" ? cast(x, "f32") : x);

/** A backward call: inputs, what backward programs read, and given cotangents of the forward call -> gradients of its real inputs. */
export const kernelGradientOp: Op = {
  name: "kernelGradient",
  rule: { kind: "kernel", expand: expandKernel },
  infer(_, attributes) {
    const { forward } = attributes as KernelAttributes;
    return forward!.inputs.flatMap(({ shape, dtype }) => (isReal(dtype) ? [{ shape, dtype: "f32" as const }] : []));
  },
  // Second derivatives go through the composed gradient.
  gradient(call, cotangents) {
    const inputs = call.inputs.map(identity);
    return backpropagate(expandKernel(call, new Map(), inputs), cotangents, inputs);
  },
};

/** References already put in the place of forward calls, so that a gradient shares its forward pass. */
export type Expansions = Map<Call, Expansion>;

interface Expansion {
  /** A mark in front of each input, so that a tensor given twice counts as two. */
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
}

/**
 * What a call is composed of, in terms of `given`, the call's inputs: its reference, or the record's gradient, or that of
 * the reference; one tensor per result but the residuals.
 */
function expandKernel(call: Call, expansions: Expansions, given: readonly Tensor[] = call.inputs): readonly Tensor[] {
  const { record, kase, forward } = call.attributes as KernelAttributes;
  const origin = forward ?? call;
  const count = origin.inputs.length;
  if (!forward) return expandReference(origin, expansions, given).outputs;
  const cotangents = given.slice(count + readBackward(forward).length);
  const gradients = record.gradient
    ? composedGradient(record, kase, given.slice(0, count), cotangents)
    : referenceGradient(kase, expandReference(origin, expansions, given.slice(0, count)), record, cotangents);
  return origin.inputs.flatMap((x, k) => (isReal(x.dtype) ? [widened(gradients[k] ?? zeros(x.shape))] : []));
}

function expandReference(origin: Call, expansions: Expansions, given: readonly Tensor[]): Expansion {
  const { record, kase } = origin.attributes as KernelAttributes;
  let expansion = expansions.get(origin);
  if (!expansion) {
    const inputs = given.map(identity);
    const results = record.reference(
      Object.fromEntries([...kase.present].map((name, k) => [name, widened(inputs[k]!)])),
      kase.options,
      kase.dims,
    );
    expansion = { inputs, outputs: Object.keys(record.outputs).map((name) => results[name]!) };
    expansions.set(origin, expansion);
  }
  return expansion;
}

function referenceGradient(
  { cotangents: names }: KernelCase<unknown>,
  { inputs, outputs }: Expansion,
  record: AnyKernelRecord,
  cotangents: readonly Tensor[],
): readonly (Tensor | undefined)[] {
  let next = 0;
  const present = Object.keys(record.outputs).map((name) => (names.has(name) ? cotangents[next++] : undefined));
  return backpropagate(outputs, present, inputs);
}
