/** Scalar expressions of a scan: what they depend on, where they can be computed once, and decays that are linear in the exponent. */
import {
  affinesOf,
  nodesOf,
  parts,
  type Affine,
  type Scalar,
  type ScanKernel,
  type ScanValue,
} from "@seqmix/tensor/backend";

/** Bit k: the node depends on axis k of the loop; states depend on all. */
export type Axes = number;
export const ALL: Axes = -1;

/** The axes an expression depends on; axes of one point do not count. */
export function dependence(extents: readonly number[]): (node: Scalar) => Axes {
  const known = new Map<Scalar, Axes>();
  const axesOf = (node: Scalar): Axes => {
    let axes = known.get(node);
    if (axes === undefined) {
      axes = node.op === "state" || node.op === "reduced" ? ALL : 0;
      for (const { coefficients } of affinesOf(node))
        coefficients.forEach((c, k) => (axes! |= c !== 0 && extents[k]! > 1 ? 1 << k : 0));
      for (const part of parts(node)) axes |= axesOf(part);
      known.set(node, axes);
    }
    return axes;
  };
  return axesOf;
}

/** The largest parts of the expressions that are `early`, constants left out. */
export function frontier(roots: readonly Scalar[], early: (node: Scalar) => boolean): Scalar[] {
  const seen = new Set<Scalar>();
  const found: Scalar[] = [];
  const visit = (node: Scalar): void => {
    if (seen.has(node)) return;
    seen.add(node);
    if (node.op === "constant" || node.op === "position") return;
    if (early(node)) found.push(node);
    else parts(node).forEach(visit);
  };
  roots.forEach(visit);
  return found;
}

/** Rebuilds expressions with indices mapped and some nodes replaced; what is shared stays shared. */
export function rewriter(
  affine: (index: Affine) => Affine,
  instead: (node: Scalar) => Scalar | undefined,
): (node: Scalar) => Scalar {
  const done = new Map<Scalar, Scalar>();
  const rewrite = (node: Scalar): Scalar => {
    let result = done.get(node);
    if (!result) done.set(node, (result = instead(node) ?? rebuild(node)));
    return result;
  };
  const rebuild = (node: Scalar): Scalar => {
    switch (node.op) {
      case "constant":
      case "reduced":
      case "state":
        return node;
      case "position":
        return { ...node, index: affine(node.index) };
      case "load":
        return {
          ...node,
          index: affine(node.index),
          ...(node.gather && { gather: node.gather.map((g) => ({ ...g, value: rewrite(g.value) })) }),
        };
      case "guard":
        return {
          ...node,
          conditions: node.conditions.map((c) => ({ ...c, index: affine(c.index) })),
          value: rewrite(node.value),
        };
      default:
        return { ...node, args: node.args.map(rewrite) };
    }
  };
  return rewrite;
}

/** decay = 2^(step rate), where `rate` does not depend on the recurrence's axis, and `step` not on the axis in registers. */
export interface LinearDecay {
  readonly step: Scalar;
  readonly rate: Scalar;
}

/** A kernel whose real decay e^(x y) is written 2^(x (y log2 e)). */
export interface Prepared {
  readonly kernel: ScanKernel;
  readonly linear?: LinearDecay;
  /** The exponential to the base two. */
  readonly base2: ReadonlySet<Scalar>;
}

/** @param register The axis that a thread runs through. */
export function prepare(kernel: ScanKernel, register: number | undefined): Prepared {
  const [decay, imaginary] = kernel.decay;
  const none: Prepared = { kernel, base2: new Set() };
  if (imaginary || decay.op !== "exp" || decay.args[0]!.op !== "mul") return none;
  const axesOf = dependence(kernel.extents);
  const [x, y] = decay.args[0]!.args as [Scalar, Scalar];
  const along = 1 << kernel.along,
    inRegisters = register === undefined ? 0 : 1 << register;
  const fits = (step: Scalar, rate: Scalar): boolean =>
    (axesOf(rate) & along) === 0 && (axesOf(step) & inRegisters) === 0;
  const [step, rate] = fits(x, y) ? [x, y] : fits(y, x) ? [y, x] : [];
  if (!step || !rate) return none;
  const scaled: Scalar = { op: "mul", dtype: "f32", args: [rate, { op: "constant", dtype: "f32", value: Math.LOG2E }] };
  const faster: Scalar = { op: "exp", dtype: "f32", args: [{ op: "mul", dtype: "f32", args: [step, scaled] }] };
  const rewrite = rewriter(
    (index) => index,
    (node) => (node === decay ? faster : node === step || node === rate ? node : undefined),
  );
  const value = (v: ScanValue): ScanValue => v.map(rewrite) as unknown as ScanValue;
  return {
    kernel: {
      ...kernel,
      decay: [faster],
      drive: value(kernel.drive),
      ...(kernel.adjoint && { adjoint: { seed: value(kernel.adjoint.seed) } }),
      sums: kernel.sums.map((sum) => ({ ...sum, value: rewrite(sum.value) })),
      outputs: kernel.outputs.map((output) => ({ ...output, value: rewrite(output.value) })),
    },
    linear: { step, rate: scaled },
    base2: new Set([faster]),
  };
}

/**
 * Products in the sums of the decay, the adjoint and other values: these, by product. Decay times adjoint is what goes to the
 * step before anyway.
 */
export function productsSentBack({
  decay,
  adjoint,
  sums,
  outputs,
}: ScanKernel): ReadonlyMap<Scalar, readonly Scalar[]> {
  const found = new Map<Scalar, readonly Scalar[]>();
  if (adjoint === undefined || decay.length === 2) return found;
  const factors = (node: Scalar): readonly Scalar[] => (node.op === "mul" ? node.args.flatMap(factors) : [node]);
  const places = (list: readonly Scalar[]): readonly number[] => [
    list.indexOf(decay[0]),
    list.findIndex((node) => node.op === "state" && node.which === "adjoint"),
  ];
  for (const node of nodesOf([...sums, ...outputs].map(({ value }) => value))) {
    const all = factors(node);
    const both = places(all);
    if (node.op !== "mul" || both.includes(-1)) continue;
    if (node.args.some((arg) => !places(factors(arg)).includes(-1))) continue;
    found.set(
      node,
      all.filter((_, k) => !both.includes(k)),
    );
  }
  return found;
}

/** Inputs all of whose loads are such and lie in fours of neighbours along an axis, which begin at multiples of four. */
export function foursAlong(
  kernel: ScanKernel,
  axis: number | undefined,
  isSuch: (load: Scalar) => boolean,
): ReadonlySet<number> {
  const found = new Set<number>();
  const others = new Set<number>();
  for (const node of nodesOf(scanRoots(kernel))) {
    if (node.op !== "load") continue;
    const { offset, coefficients } = node.index;
    const inFours =
      axis !== undefined &&
      !node.gather &&
      kernel.inputs[node.input]!.dtype === "f32" &&
      offset % 4 === 0 &&
      coefficients.every((c, k) => (k === axis ? c === 1 : c % 4 === 0));
    (inFours && isSuch(node) ? found : others).add(node.input);
  }
  for (const input of others) found.delete(input);
  return found;
}

/** All expressions of a kernel. */
export const scanRoots = (kernel: ScanKernel): Scalar[] => [
  ...kernel.decay,
  ...kernel.drive,
  ...(kernel.initial ?? []),
  ...(kernel.adjoint?.seed ?? []),
  ...kernel.sums.map((s) => s.value),
  ...kernel.outputs.map((o) => o.value),
];

/** The inputs that expressions read. */
export const inputsOf = (values: readonly Scalar[]): number[] =>
  [...new Set([...nodesOf(values)].flatMap((node) => (node.op === "load" ? [node.input] : [])))].sort((a, b) => a - b);
