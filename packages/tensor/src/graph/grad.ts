/** Gradients as functions: trees of tensors in, trees of lazy tensors out. */
import { assertFunction, assertTensor } from "./assert.js";
import { isReal } from "./dtype.js";
import { describeValue, DTypeError, ShapeError } from "./errors.js";
import { callOf, sortCalls } from "./calls.js";
import type { Op } from "./op.js";
import { add } from "../ops/elementwise.js";
import { ones, zeros } from "../ops/generators.js";
import { identity } from "../ops/movement.js";
import { formatShape, sameShape } from "./shape.js";
import { callOp, type Tensor } from "./tensor.js";
import { leavesOf, mapTree, replaceLeaves, type Tree } from "./tree.js";

/** Cotangents of some sources, in their order, from those of the outputs; undefined where no output depends on a source. */
type Pullback = (cotangents: readonly (Tensor | undefined)[]) => (Tensor | undefined)[];

/**
 * Remembers the graph from `sources` to `outputs` and returns its pullback, which applies the rows' gradient rules in
 * reverse order. It works after the outputs were realized too, when they no longer know what they came from.
 */
function pullbackOf(outputs: readonly Tensor[], sources: readonly Tensor[]): Pullback {
  const stops = new Set(sources);
  const order = sortCalls(outputs, (call) => (call.outputs.some((x) => stops.has(x)) ? [] : call.inputs));
  const active = new Set<Tensor>(sources);
  for (const call of order) if (call.inputs.some((x) => active.has(x))) for (const x of call.outputs) active.add(x);

  const calls = order
    .reverse()
    .filter(
      (call) => call.op.gradient && !call.outputs.some((x) => stops.has(x)) && call.inputs.some((x) => active.has(x)),
    );
  return (cotangents) => {
    const parts = new Map<Tensor, Tensor[]>();
    const accumulate = (x: Tensor, g: Tensor): void => {
      const before = parts.get(x);
      if (before) before.push(g);
      else parts.set(x, [g]);
    };
    outputs.forEach((x, k) => {
      const g = cotangents[k];
      if (g && active.has(x)) accumulate(x, g);
    });
    for (const call of calls) {
      const given = call.outputs.map((x) => total(parts.get(x)));
      if (given.every((g) => g === undefined)) continue;
      const gradient = call.op.gradient as Exclude<Op["gradient"], false>;
      gradient(call, given).forEach((g, k) => {
        const x = call.inputs[k]!;
        if (g && active.has(x) && isReal(x.dtype)) accumulate(x, g);
      });
      for (const x of call.outputs) parts.delete(x);
    }
    return sources.map((x) => total(parts.get(x)));
  };
}

/**
 * The sum of what the uses of a tensor give, from the first use in the forward pass on: uses whose forward and backward pass
 * come one after another, as the pieces of a loss do, find the sum of those before.
 * @param parts From the last use on.
 */
function total(parts: readonly Tensor[] | undefined): Tensor | undefined {
  if (!parts || parts.length < 3) return parts && parts.reduce((a, b) => add(a, b));
  return parts.reduceRight((a, b) => add(a, b));
}

/** Cotangents of `sources` given those of `outputs`; undefined where an output does not depend on a source. */
export const backpropagate = (
  outputs: readonly Tensor[],
  cotangents: readonly (Tensor | undefined)[],
  sources: readonly Tensor[],
): (Tensor | undefined)[] => pullbackOf(outputs, sources)(cotangents);

/** The type of a leaf's gradient: its own, or f32 zeros where it has none. */
const gradientType = (x: Tensor): "f32" | "f16" => (x.dtype === "f16" ? "f16" : "f32");

/** The tensors of a tree, each behind a mark of its own, so that uses elsewhere do not count. */
const marked = <T extends Tree>(tree: T): T => mapTree((x) => (isReal(x.dtype) ? identity(x) : x), tree);

/**
 * Value and gradient of a scalar function with respect to its first argument.
 * @param f Takes a tree of tensors (and anything else) and returns an f32 tensor of one element.
 * @returns A function with the same arguments that returns `[value, gradient]`; the gradient has the form of the
 *   first argument, zeros where the value does not depend on it and at i32 and bool leaves.
 * @throws ShapeError if the value has more than one element.
 */
export function valueAndGrad<T extends Tree, R extends readonly unknown[]>(
  f: (tree: T, ...rest: R) => Tensor,
): (tree: T, ...rest: R) => [Tensor, T] {
  assertFunction("grad", f);
  const both = valueAndGradAux((tree: T, ...rest: R) => [f(tree, ...rest), undefined]);
  return (tree, ...rest) => {
    const [value, gradient] = both(tree, ...rest);
    return [value, gradient];
  };
}

/** {@link valueAndGrad} of a function that returns `[value, more]`; the result is `[value, gradient, more]`. */
export function valueAndGradAux<T extends Tree, R extends readonly unknown[], A>(
  f: (tree: T, ...rest: R) => readonly [Tensor, A],
): (tree: T, ...rest: R) => [Tensor, T, A] {
  assertFunction("grad", f);
  return (tree, ...rest) => {
    const inputs = marked(tree);
    const result = f(inputs, ...rest);
    if (!Array.isArray(result))
      throw new TypeError(
        `valueAndGradAux: expected a function that returns [value, more], got ${describeValue(result)}; use valueAndGrad for a value alone`,
      );
    const [value, aux] = result as readonly [Tensor, A];
    assertTensor("grad, of what the function returns", value);
    if (value.size !== 1)
      throw new ShapeError(
        `grad: expected a function whose value has one element, got shape ${formatShape(value.shape)}; sum or average it`,
      );
    if (value.dtype !== "f32")
      throw new DTypeError(`grad: expected an f32 value, got ${value.dtype}; convert it with cast`);
    const leaves = leavesOf(inputs);
    const gradients = backpropagate([value], [ones(value.shape)], leaves);
    return [
      value,
      replaceLeaves(
        tree,
        leaves.map((x, k) => gradients[k] ?? zeros(x.shape, gradientType(x))),
      ),
      aux,
    ];
  };
}

/** Gradient of a scalar function with respect to its first argument: {@link valueAndGrad} without the value. */
export function grad<T extends Tree, R extends readonly unknown[]>(
  f: (tree: T, ...rest: R) => Tensor,
): (tree: T, ...rest: R) => T {
  const both = valueAndGrad(f);
  return (tree, ...rest) => both(tree, ...rest)[1];
}

/**
 * Values of f and the function that pulls cotangents of the values back to the arguments.
 * @returns `[outputs, pullback]`; `pullback(cotangents)` takes a tree of the form of the outputs.
 */
export function vjp<T extends Tree, U extends Tree>(f: (tree: T) => U, tree: T): [U, (cotangents: U) => T] {
  const inputs = marked(tree);
  const outputs = f(inputs);
  const leaves = leavesOf(inputs);
  const values = leavesOf(outputs);
  const pull = pullbackOf(values, leaves);
  return [
    outputs,
    (cotangents) => {
      const given: Tensor[] = [];
      // By name: the keys of the cotangents may be in another order.
      mapTree(
        (x, path, g) => {
          if (!sameShape(g!.shape, x.shape))
            throw new ShapeError(
              `vjp: expected a cotangent ${formatShape(x.shape)} for the output${path && ` "${path}"`}, got ${formatShape(g!.shape)}; give it the shape of the output`,
            );
          given.push(g!);
          return x;
        },
        outputs as Tree,
        cotangents,
      );
      const gradients = pull(given);
      return replaceLeaves(
        tree,
        leaves.map((x, k) => gradients[k] ?? zeros(x.shape, gradientType(x))),
      );
    },
  ];
}

/** Attributes of a checkpoint's call. @internal */
export interface CheckpointAttributes {
  /** The outputs again, from the arguments. */
  readonly recompute: (inputs: readonly Tensor[]) => readonly Tensor[];
  /** Which of them the value is. */
  readonly index: number;
}

/** inputs[0] is the value; the others are the arguments it is computed from again in the backward pass. */
const checkpointRow: Op = {
  name: "checkpoint",
  rule: { kind: "movement", map: (index) => ({ index }) },
  infer: ([x]) => [x!],
  gradient({ inputs, attributes }, [g]) {
    const { recompute, index } = attributes as CheckpointAttributes;
    const again = inputs.slice(1).map(identity);
    return [undefined, ...backpropagate([recompute(again)[index]!], [g], again)];
  },
};

/**
 * The same function, but its intermediate values are computed again in the backward pass instead of kept.
 * Less memory, about a third more work.
 */
export function checkpoint<T extends Tree, U extends Tree>(f: (tree: T) => U): (tree: T) => U {
  assertFunction("checkpoint", f);
  return (tree) => {
    const inputs = leavesOf(tree);
    const run = (leaves: readonly Tensor[]): U => f(replaceLeaves(tree, leaves));
    // A graph of its own between marks, so that nothing of the forward pass is shared with the second one.
    const outputs = run(inputs.map(identity));
    const recompute = (leaves: readonly Tensor[]): readonly Tensor[] => leavesOf(run(leaves));
    return replaceLeaves(
      outputs,
      leavesOf(outputs).map((x, index) =>
        callOf(x) ? callOp(checkpointRow, [x, ...inputs], { recompute, index } satisfies CheckpointAttributes)[0]! : x,
      ),
    );
  };
}
