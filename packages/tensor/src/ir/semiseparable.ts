/**
 * State-space duality as a rule: whether a scan kernel's states are sums of outer products that are read by contractions,
 *
 *     S_t = a_t S_(t-1) + s_t k_t v_t^T,     y_t = q_t^T S_t,
 *
 * so that products of matrices, chunk by chunk, can take the place of the recurrence (Dao and Gu 2024, "Transformers are
 * SSMs", section 3). One axis of the loop is that of the *keys*, one that of the *values*; all others beside the
 * recurrence's are *heads* here, and an operand may lack any of them. The decay is any real number: one for all
 * states of a head, or one for each key. The adjoint states of a gradient are of the same form, from the last step to the
 * first, with the readout's factors in the place of k and v.
 */
import { interning, rewriting } from "./interning.js";
import type { Scalar } from "./loop.js";
import type { ScanKernel, ScanSum } from "./scan-kernel.js";
import { affinesOf, nodesOf, parts } from "./simplify.js";

/** An outer product: `keys` lacks the axis of the values, `values` that of the keys, `scale` both. */
export interface OuterProduct {
  readonly keys: Scalar;
  readonly values: Scalar;
  readonly scale: Scalar;
}

/** What a sum of the kernel is. */
export type StateSum =
  /**
   * A product with the states: at each step, over the axis of the keys (q^T S, the gradient of v) or that of the values
   * (S dy, the gradients of k and q).
   */
  | {
      readonly role: "read";
      readonly state: "current" | "adjoint";
      readonly over: "keys" | "values";
      /** Lacks the axis that is not summed. */
      readonly operand: Scalar;
      /** The factors without the summed axis, for after the product. */
      readonly outside: Scalar;
      /** Axes that are summed after it. */
      readonly lost: readonly number[];
      /** An axis of heads that is summed with the values, and factors that have it. */
      readonly group?: { readonly axis: number; readonly weights: Scalar };
    }
  /** The gradient of the decay: adjoint times previous state, over values, and over keys if they have one decay. */
  | { readonly role: "decay"; readonly outside: Scalar; readonly lost: readonly number[] }
  /** A sum of the states at the first or the last step. */
  | { readonly role: "ends" };

export interface Semiseparable {
  /** The kernel with one object for equal expressions. */
  readonly kernel: ScanKernel;
  /** Axes of the loop. */
  readonly keys: number;
  readonly values: number;
  readonly heads: readonly number[];
  /** "constant": the same at all steps; "vector": one for each key. */
  readonly decay: { readonly kind: "none" | "constant" | "scalar" | "vector"; readonly value: Scalar };
  readonly drive: OuterProduct;
  /** The cotangent of the states. */
  readonly seed?: OuterProduct;
  /** The cotangent of the last states, beside the seed. */
  readonly final?: Scalar;
  /** By sum of the kernel. */
  readonly sums: readonly StateSum[];
}

export const ONE: Scalar = { op: "constant", dtype: "f32", value: 1 };
const MINUS_ONE: Scalar = { op: "constant", dtype: "f32", value: -1 };

const factorsOf = (x: Scalar): readonly Scalar[] =>
  x.op === "mul"
    ? x.args.flatMap(factorsOf)
    : x.op === "neg"
      ? [MINUS_ONE, ...factorsOf(x.args[0]!)]
      : x.op === "constant" && x.value === 1
        ? []
        : [x];

/** Expressions of a kernel, one object for equal ones. */
function interned(kernel: ScanKernel): ScanKernel {
  const same = rewriting((a) => a, undefined, interning());
  const value = <T extends readonly Scalar[]>(list: T): T => list.map(same) as unknown as T;
  return {
    ...kernel,
    decay: value(kernel.decay),
    drive: value(kernel.drive),
    ...(kernel.initial && { initial: value(kernel.initial) }),
    ...(kernel.adjoint && { adjoint: { seed: value(kernel.adjoint.seed) } }),
    sums: kernel.sums.map((sum) => ({ ...sum, value: same(sum.value) })),
    outputs: kernel.outputs.map((output) => ({ ...output, value: same(output.value) })),
  };
}

/** The axes a value varies along; those of one point do not count. */
function axesOf(extents: readonly number[]): (x: Scalar) => ReadonlySet<number> {
  const known = new Map<Scalar, ReadonlySet<number>>();
  const axes = (x: Scalar): ReadonlySet<number> => {
    let result = known.get(x);
    if (!result) {
      const own = affinesOf(x).flatMap(({ coefficients }) =>
        coefficients.flatMap((c, axis) => (c !== 0 && extents[axis]! > 1 ? [axis] : [])),
      );
      known.set(x, (result = new Set([...own, ...parts(x).flatMap((part) => [...axes(part)])])));
    }
    return result;
  };
  return axes;
}

interface Facts {
  readonly kernel: ScanKernel;
  readonly axes: (x: Scalar) => ReadonlySet<number>;
  /** One object for equal products. */
  readonly product: (factors: readonly Scalar[]) => Scalar;
  /** Axes of more than one point beside the recurrence's. */
  readonly others: readonly number[];
}

/**
 * The form, or why the kernel has none.
 * @param grouped Sums over values may take in an axis of heads.
 */
export function semiseparable(given: ScanKernel, grouped = false): Semiseparable | string {
  if (given.decay.length > 1) return "the states are complex";
  const kernel = interned(given);
  const { extents, along } = kernel;
  const same = rewriting((a) => a, undefined, interning());
  const facts: Facts = {
    kernel,
    axes: axesOf(extents),
    product: (factors) =>
      same(factors.reduce((a, b) => (a === ONE ? b : { op: "mul", dtype: "f32", args: [a, b] }), ONE)),
    others: extents.flatMap((extent, axis) => (axis === along || extent === 1 ? [] : [axis])),
  };
  const obstacle = statesStored(kernel);
  if (obstacle) return obstacle;
  let first: string | undefined;
  for (const [keys, values] of candidates(facts)) {
    const found = withAxes(facts, keys, values);
    if (typeof found !== "string") return grouped ? groupingHeads(found, facts) : found;
    first ??= found;
  }
  return first ?? "the drive is no outer product";
}

/** Only the last states and the first adjoint ones are at hand. */
function statesStored({ outputs, sums }: ScanKernel): string | undefined {
  const statesIn = (x: Scalar): readonly string[] =>
    [...nodesOf([x])].flatMap((node) => (node.op === "state" ? [node.which] : []));
  for (const { step, value } of [...outputs, ...sums.filter((sum) => sum.step !== "each")]) {
    const states = statesIn(value);
    if (states.length > 0 && step === "each") return "states of every step are stored";
    if (states.some((which) => which !== (step === "last" ? "current" : "adjoint")))
      return "states are read at the end where they begin";
  }
  return undefined;
}

/** Pairs of axes that may be those of keys and values, the best first: the largest states, and what most heads share as keys. */
function candidates({
  kernel: { extents, drive, decay, adjoint, sums, along },
  axes,
  others,
}: Facts): readonly [number, number][] {
  const factors = factorsOf(drive[0]);
  const headsOf = (axis: number): number =>
    new Set(factors.flatMap((x) => (axes(x).has(axis) ? [...axes(x)] : []))).size;
  const contracted = (axis: number): boolean =>
    sums.some(({ keeps, step }) => step === "each" && keeps.includes(along) && !keeps.includes(axis));
  const pairs = others.flatMap((keys) =>
    others.flatMap((values): [number, number][] =>
      keys !== values && !axes(decay[0]).has(values) && (contracted(keys) || contracted(values))
        ? [[keys, values]]
        : [],
    ),
  );
  const rank = ([keys, values]: [number, number]): readonly number[] => [
    Math.min(extents[keys]!, extents[values]!),
    extents[keys]! * extents[values]!,
    Number(axes(decay[0]).has(keys)),
    headsOf(values) - headsOf(keys),
    // nothing tells them apart: as most write them, the first sum of a forward pass is over keys, and values are innermost
    Number(adjoint ? keys < values : !sums[0]?.keeps.includes(keys)),
  ];
  return pairs.sort((a, b) => {
    const [x, y] = [rank(a), rank(b)];
    const k = x.findIndex((value, at) => value !== y[at]);
    return k < 0 ? 0 : y[k]! - x[k]!;
  });
}

function withAxes(facts: Facts, keys: number, values: number): Semiseparable | string {
  const { kernel, axes, product, others } = facts;
  const [decay] = kernel.decay;
  const outer = (x: Scalar): OuterProduct | undefined => {
    const factors = factorsOf(x);
    const having = (axis: number): Scalar[] => factors.filter((factor) => axes(factor).has(axis));
    const [ofKeys, ofValues] = [having(keys), having(values)];
    if (ofKeys.length === 0 || ofValues.length === 0 || ofKeys.some((factor) => ofValues.includes(factor)))
      return undefined;
    const rest = factors.filter((factor) => !ofKeys.includes(factor) && !ofValues.includes(factor));
    return { keys: product(ofKeys), values: product(ofValues), scale: product(rest) };
  };
  const drive = outer(kernel.drive[0]);
  if (!drive) return "the drive is no outer product";
  const [given, final] = kernel.adjoint ? withoutFinal(kernel, kernel.adjoint.seed[0]) : [];
  const seed = given && outer(given);
  if (kernel.adjoint && !seed) return "the cotangent of the states is no outer product";
  const kind = axes(decay).has(keys)
    ? "vector"
    : axes(decay).has(kernel.along)
      ? "scalar"
      : decay.op === "constant" && decay.value === 1
        ? "none"
        : "constant";
  const sums = kernel.sums.map((sum) => roleOf(facts, sum, keys, values, kind === "vector"));
  const unknown = sums.find((role) => typeof role === "string");
  if (typeof unknown === "string") return unknown;
  return {
    kernel,
    keys,
    values,
    heads: others.filter((axis) => axis !== keys && axis !== values),
    decay: { kind, value: decay },
    drive,
    ...(seed && { seed }),
    ...(final && { final }),
    sums: sums as StateSum[],
  };
}

/** A seed and what is added to it at the last step alone. */
function withoutFinal({ along, extents, reverse }: ScanKernel, seed: Scalar): readonly [Scalar, Scalar?] {
  if (seed.op !== "add") return [seed];
  const last = reverse ? 0 : extents[along]! - 1;
  const isFinal = (x: Scalar): boolean => {
    if (x.op !== "guard" || x.fill !== 0 || x.conditions.length !== 1) return false;
    const [{ index, lo, hi }] = x.conditions as [(typeof x.conditions)[0]];
    return (
      index.coefficients.every((c, axis) => (axis === along ? c === 1 : c === 0)) &&
      (reverse ? hi - index.offset === 1 : lo - index.offset === last)
    );
  };
  const [a, b] = seed.args as [Scalar, Scalar];
  const [at, other] = isFinal(b) ? [b, a] : isFinal(a) ? [a, b] : [];
  return at?.op === "guard" && other ? [other, atStep(at.value, along, last)] : [seed];
}

/** The expression with one axis at a position. */
const atStep = (x: Scalar, axis: number, position: number): Scalar =>
  rewriting(({ offset, coefficients }) => ({
    offset: offset + coefficients[axis]! * position,
    coefficients: coefficients.map((c, k) => (k === axis ? 0 : c)),
  }))(x);

function roleOf(
  { kernel: { along }, axes, product, others }: Facts,
  { value, keeps, step }: ScanSum,
  keys: number,
  values: number,
  vector: boolean,
): StateSum | string {
  if (step !== "each") return { role: "ends" };
  const factors = factorsOf(value);
  const states = factors.flatMap((x) => (x.op === "state" ? [x.which] : []));
  const rest = factors.filter((x) => x.op !== "state");
  if (rest.some((x) => [...nodesOf([x])].some((node) => node.op === "state")))
    return "a sum is no product with the states";
  const lost = [...others, along].filter((axis) => !keeps.includes(axis));
  const except = (...some: number[]): number[] => lost.filter((axis) => !some.includes(axis));
  const having = (axis: number): Scalar[] => rest.filter((x) => axes(x).has(axis));
  if (states.length === 1 && states[0] !== "previous") {
    const over = lost.includes(keys) ? "keys" : lost.includes(values) ? "values" : undefined;
    if (!over) return "a sum keeps keys and values";
    const [summed, kept] = over === "keys" ? [keys, values] : [values, keys];
    const operand = having(summed);
    if (operand.some((x) => axes(x).has(kept))) return "what the states are multiplied by depends on keys and values";
    return {
      role: "read",
      state: states[0] as "current" | "adjoint",
      over,
      operand: product(operand),
      outside: product(rest.filter((x) => !operand.includes(x))),
      lost: except(summed),
    };
  }
  if (states.length === 2 && states.includes("adjoint") && states.includes("previous") && lost.includes(values)) {
    if (having(values).length > 0 || (!vector && (having(keys).length > 0 || !lost.includes(keys))))
      return "a sum of adjoint and previous states has weights";
    return { role: "decay", outside: product(rest), lost: vector ? except(values) : except(values, keys) };
  }
  return "a sum is no product with the states";
}

/** Sums over values take in an axis of heads: where many heads share their keys, the gradients of these are one product over all. */
function groupingHeads(form: Semiseparable, { axes, product }: Facts): Semiseparable {
  const { heads, drive, seed, decay } = form;
  if (decay.kind === "vector") return form;
  const group = (role: StateSum): StateSum => {
    if (role.role !== "read" || role.over !== "values" || role.lost.length !== 1) return role;
    const [axis] = role.lost as [number];
    const keys = (role.state === "current" ? drive : seed)?.keys;
    if (!heads.includes(axis) || !keys || axes(keys).has(axis)) return role;
    const factors = factorsOf(role.outside);
    const weights = factors.filter((x) => axes(x).has(axis));
    return {
      ...role,
      lost: [],
      outside: product(factors.filter((x) => !weights.includes(x))),
      group: { axis, weights: product(weights) },
    };
  };
  return { ...form, sums: form.sums.map(group) };
}
