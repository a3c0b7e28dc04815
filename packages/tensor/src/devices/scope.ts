/** Functions whose intermediate tensors are freed. */
import { assertFunction } from "../graph/assert.js";
import { collecting, listHere, noteKept, noteMade, toFree } from "../graph/scope.js";
import { Tensor } from "../graph/tensor.js";
import { leavesOf, type Tree } from "../graph/tree.js";
import { realize } from "./realize.js";

/**
 * Runs `f`, realizes the tensors of what it returns, and gives back the memory of all other tensors that were made while it
 * ran, also if it fails. Tensors made before stay, and so do those of {@link keep} and the parameters of a `trainer`.
 * Scopes nest: what an inner one returns belongs to the outer one.
 *
 * Node, Deno and Bun know on whose behalf code runs; in a page that is known up to the first `await` of `f`, and tensors made
 * after it are the scope's if they are handed to `own` (else they are freed when they are garbage collected). So are results of
 * a scope that is called after an `await` of the one around it: `own(await scope(f))`.
 *
 * ```ts
 * const accuracy = await scope(async () => {
 *   const logits = await realize(model(params, batch));
 *   return mean(equal(argmax(logits, -1), labels)).item();
 * });
 * ```
 *
 * @param f Is given `own`, which makes tensors the scope's and returns them.
 * @returns What `f` returns: arrays and plain objects with tensors and anything else in them.
 */
export async function scope<T>(f: (own: <X extends Tree>(tree: X) => X) => T | Promise<T>): Promise<T> {
  assertFunction("scope", f);
  const made: WeakRef<Tensor>[] = [];
  // Asked before anything is awaited: pages do not know it later.
  const outer = listHere();
  const own = <X extends Tree>(tree: X): X => {
    for (const x of leavesOf(tree)) made.push(new WeakRef(x));
    return tree;
  };
  let returned: ReadonlySet<Tensor> = new Set();
  try {
    const result = await collecting(made, async () => f(own));
    const tensors = new Set(tensorsIn(result));
    await realize([...tensors].filter(({ source }) => source.kind === "call"));
    returned = tensors;
    for (const x of tensors) noteMade(x, outer);
    return result;
  } finally {
    for (const x of toFree(made)) if (!returned.has(x) && x.source.kind !== "call") x.dispose();
  }
}

/** Takes realized tensors out of the scopes that they were made in: whoever keeps them disposes them. @returns The tree. */
export function keep<T extends Tree>(tree: T): T {
  for (const x of leavesOf(tree)) noteKept(x);
  return tree;
}

/** The tensors in arrays and plain objects, whatever else is there. */
function tensorsIn(value: unknown, seen = new Set<unknown>()): Tensor[] {
  if (value instanceof Tensor) return [value];
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value) || seen.has(value)) return [];
  seen.add(value);
  return Object.values(value).flatMap((each) => tensorsIn(each, seen));
}
