/**
 * A {@link ScanKernel} as the CPU renderer wants it: always forward in time, with at least one axis beside `along`,
 * every result's place as an index, and expressions that are cheap to render.
 */
import type { DType } from "../../../../graph/dtype.js";
import { isAtMostOne } from "../../../../ir/decay-size.js";
import { interning, rewriting } from "../../../../ir/interning.js";
import type { Affine, Scalar } from "../../../../ir/loop.js";
import type { KeptStates, ScanKernel, ScanStep, ScanSum } from "../../../../ir/scan-kernel.js";
import { affinesOf, nodesOf, parts } from "../../../../ir/simplify.js";

/** A result that has an element for every point, written where the states are. */
export interface DirectOutput {
  readonly output: number;
  readonly dtype: DType;
  readonly step: ScanStep;
  readonly value: Scalar;
  /** Where it is stored. */
  readonly index: Affine;
}

/** A result that is made of sums. */
export interface SumOutput extends DirectOutput {
  readonly keeps: readonly number[];
}

export interface ScanForm {
  readonly extents: readonly number[];
  readonly along: number;
  readonly inputs: ScanKernel["inputs"];
  readonly complex: boolean;
  readonly forgets: boolean;
  /** Whether decays may be above 1 in size: products of them have an exponent of their own. */
  readonly grows: boolean;
  /** One expression, or the real and the imaginary part. */
  readonly decay: readonly Scalar[];
  readonly drive: readonly Scalar[];
  readonly initial: readonly Scalar[] | undefined;
  readonly seed: readonly Scalar[] | undefined;
  /** What a real adjoint hands to the step before, g_t decay_t; sums whose terms have both factors are made of it. */
  readonly carried: Scalar | undefined;
  readonly sums: readonly ScanSum[];
  readonly direct: readonly DirectOutput[];
  readonly summed: readonly SumOutput[];
  /** The states that this kernel writes, or with an adjoint reads. */
  readonly kept: KeptStates | undefined;
}

/** Place of the shared block among the arguments, behind all buffers. */
export const sharedArgument = ({ inputs, direct, summed, seed, kept }: ScanForm): number =>
  inputs.length + direct.length + summed.length + (kept !== undefined && seed === undefined ? 1 : 0);
/** Place of the kept states: behind the outputs, or the last input. */
export const keptArgument = (form: ScanForm): number =>
  form.seed === undefined ? sharedArgument(form) - 1 : form.inputs.length - 1;

/** Which axes a value varies along; a state or a record varies along all. */
export function axesOfNodes(rank: number): (node: Scalar) => ReadonlySet<number> {
  const known = new Map<Scalar, ReadonlySet<number>>();
  const all = new Set(Array.from({ length: rank }, (_, k) => k));
  const axes = (node: Scalar): ReadonlySet<number> => {
    let result = known.get(node);
    if (result === undefined) {
      result =
        node.op === "state" || node.op === "reduced"
          ? all
          : new Set([
              ...affinesOf(node).flatMap((a) => a.coefficients.flatMap((c, k) => (c === 0 ? [] : [k]))),
              ...parts(node).flatMap((part) => [...axes(part)]),
            ]);
      known.set(node, result);
    }
    return result;
  };
  return axes;
}

export function scanForm(kernel: ScanKernel): ScanForm {
  const { along, reverse } = kernel;
  const rank = kernel.extents.length;
  const extents = rank === 1 ? [...kernel.extents, 1] : kernel.extents;
  const length = extents[along]!;
  const affine = (a: Affine): Affine => {
    const c = a.coefficients[along]!;
    const coefficients = rank === 1 ? [...a.coefficients, 0] : a.coefficients;
    if (!reverse || c === 0) return rank === 1 ? { ...a, coefficients } : a;
    return { offset: a.offset + c * (length - 1), coefficients: coefficients.map((x, k) => (k === along ? -x : x)) };
  };
  const power = powersOfTwo(kernel);
  const intern = rewriting((a) => a, undefined, interning());
  const change = rewriting(affine, (node) => power(node, (part) => change(part)));
  const carried = carriedAdjoint(kernel.adjoint && kernel.decay.map((node) => intern(change(node))), intern);
  const rewrite = (node: Scalar): Scalar => carried.pull(intern(change(node)));
  const all = (value: readonly Scalar[]): readonly Scalar[] => value.map(rewrite);
  // Of every point: the sums are no sums.
  const plain = rewriting(
    (a) => a,
    (node) => (node.op === "reduced" ? kernel.sums[node.reduction]!.value : undefined),
  );
  const outputs = kernel.outputs.map((o, output): SumOutput => {
    const strides = extents.map(() => 0);
    o.keeps.reduceRight((stride, axis) => {
      strides[axis] = stride;
      return stride * extents[axis]!;
    }, 1);
    return {
      output,
      dtype: o.dtype,
      step: o.step,
      keeps: o.keeps,
      index: affineAt(strides, along, reverse, length),
      value: o.value,
    };
  });
  const isDirect = (o: SumOutput): boolean =>
    extents.every((extent, axis) => extent === 1 || o.keeps.includes(axis) || (axis === along && o.step !== "each"));
  return {
    extents,
    along,
    inputs: kernel.inputs,
    complex: kernel.decay.length === 2,
    forgets: kernel.forgets === true,
    grows: !isAtMostOne(kernel.decay),
    decay: all(kernel.decay),
    drive: all(kernel.drive),
    initial: kernel.initial && all(kernel.initial),
    seed: kernel.adjoint && all(kernel.adjoint.seed),
    carried: carried.product,
    sums: kernel.sums.map((sum) => ({ ...sum, value: rewrite(sum.value) })),
    direct: outputs.filter(isDirect).map((o) => ({ ...o, value: rewrite(plain(o.value)) })),
    summed: outputs.filter((o) => !isDirect(o)).map((o) => ({ ...o, value: rewrite(o.value) })),
    kept: kernel.keptStates,
  };
}

const affineAt = (strides: readonly number[], along: number, reverse: boolean, length: number): Affine =>
  reverse
    ? { offset: strides[along]! * (length - 1), coefficients: strides.map((c, k) => (k === along ? -c : c)) }
    : { offset: 0, coefficients: strides };

const isProduct = (node: Scalar): node is Scalar & { readonly op: "mul" } => node.op === "mul" && node.dtype === "f32";
const isAdjoint = (node: Scalar): boolean => node.op === "state" && node.which === "adjoint";

/** The product of a real adjoint and its decay, and expressions in which it takes the place of the two. */
function carriedAdjoint(
  decay: readonly Scalar[] | undefined,
  intern: (node: Scalar) => Scalar,
): { readonly product: Scalar | undefined; readonly pull: (node: Scalar) => Scalar } {
  if (decay?.length !== 1) return { product: undefined, pull: (node) => node };
  const adjoint: Scalar = intern({ op: "state", dtype: "f32", which: "adjoint", part: "re" });
  const product = intern({ op: "mul", dtype: "f32", args: [adjoint, decay[0]!] });
  /** The factors with the adjoint among them, decay behind it; undefined without it. */
  const withDecay = (factors: Scalar): Scalar | undefined => {
    if (isAdjoint(factors)) return product;
    if (!isProduct(factors)) return undefined;
    const [a, b] = factors.args as [Scalar, Scalar];
    const [first, second] = [withDecay(a), withDecay(b)];
    if (first !== undefined) return intern({ ...factors, args: [first, b] });
    return second && intern({ ...factors, args: [a, second] });
  };
  const pull = rewriting(
    (a) => a,
    undefined,
    (node) => {
      if (!isProduct(node)) return node;
      const [a, b] = node.args as [Scalar, Scalar];
      return (b === decay[0] ? withDecay(a) : a === decay[0] ? withDecay(b) : undefined) ?? node;
    },
  );
  return { product, pull: (node) => intern(pull(node)) };
}

/** e^x as 2^argument. */
export type Power = Scalar & { readonly op: "exp"; readonly base: 2 };
export const isPower = (node: Scalar): node is Power => node.op === "exp" && "base" in node;

/**
 * exp in the decay becomes a power of 2: the factor log2(e) goes to that side of a product that is the same for all
 * steps. (exp of a large argument is then good to |x| units in the last place, which a decay of a state does not show.)
 */
function powersOfTwo(kernel: ScanKernel): (node: Scalar, rewrite: (part: Scalar) => Scalar) => Scalar | undefined {
  const axes = axesOfNodes(kernel.extents.length);
  const moves = (node: Scalar): boolean => axes(node).has(kernel.along);
  const chosen = new Set([...nodesOf(kernel.decay)].filter((node) => node.op === "exp" && moves(node)));
  const scaled = (x: Scalar): Scalar => ({
    op: "mul",
    dtype: "f32",
    args: [x, { op: "constant", dtype: "f32", value: Math.LOG2E }],
  });
  return (node, rewrite) => {
    if (node.op !== "exp" || !chosen.has(node)) return undefined;
    const x = node.args[0]!;
    let argument: Scalar | undefined;
    if (x.op === "mul") {
      const [a, b] = x.args as [Scalar, Scalar];
      if (!moves(b)) argument = { ...x, args: [rewrite(a), scaled(rewrite(b))] };
      else if (!moves(a)) argument = { ...x, args: [scaled(rewrite(a)), rewrite(b)] };
    }
    return { ...node, args: [argument ?? scaled(rewrite(x))], base: 2 } as Power;
  };
}
