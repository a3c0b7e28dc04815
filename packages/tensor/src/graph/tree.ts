/**
 * Trees: a tensor, or plain objects and arrays of trees. Parameters, optimizer states and
 * recurrent states are trees; functions map over them.
 */
import { describeValue } from "./errors.js";
import { Tensor } from "./tensor.js";

/** A tensor, or a plain object or array of trees. */
export type Tree = Tensor | readonly Tree[] | { readonly [key: string]: Tree };

/** A tree of the same form as T with another type at the leaves. */
export type MapTree<T, U> = T extends Tensor ? U : { [K in keyof T]: MapTree<T[K], U> };

/** Applies f to every tensor of `tree` and the matching ones of `rest`, keeping the form. `path` is e.g. "layers.0.weight". */
export function mapTree<T extends Tree>(f: (leaf: Tensor, path: string) => Tensor, tree: T): T;
export function mapTree<T extends Tree>(
  f: (leaf: Tensor, path: string, ...rest: Tensor[]) => Tensor,
  tree: T,
  ...rest: Tree[]
): T;
export function mapTree(
  f: (leaf: Tensor, path: string, ...rest: Tensor[]) => Tensor,
  tree: Tree,
  ...rest: Tree[]
): Tree {
  return walk(tree, rest, "", f);
}

function walk(
  tree: Tree,
  rest: readonly Tree[],
  path: string,
  f: (leaf: Tensor, path: string, ...rest: Tensor[]) => Tensor,
): Tree {
  if (tree instanceof Tensor) {
    for (const other of rest)
      if (!(other instanceof Tensor))
        throw new TypeError(
          `mapTree: expected a tensor at "${path}" in every tree, got ${describeValue(other)}; pass trees of the same form`,
        );
    return f(tree, path, ...(rest as Tensor[]));
  }
  const child = (key: string): readonly Tree[] =>
    rest.map((other) => {
      const value = (other as Record<string, Tree> | undefined)?.[key];
      if (value === undefined)
        throw new TypeError(
          `mapTree: expected "${join(path, key)}" in every tree, got ${describeValue(other)} without it; pass trees of the same form`,
        );
      return value;
    });
  if (Array.isArray(tree)) return tree.map((item: Tree, k) => walk(item, child(String(k)), join(path, String(k)), f));
  // Promises, maps and typed arrays have nothing to walk through, and would be empty.
  if (typeof tree !== "object" || tree === null || Symbol.toStringTag in tree)
    throw new TypeError(
      `mapTree: expected a tensor, array or plain object at "${path}", got ${describeValue(tree)}; await it, or make a tensor of it`,
    );
  const out: Record<string, Tree> = {};
  for (const [key, value] of Object.entries(tree as Record<string, Tree>))
    out[key] = walk(value, child(key), join(path, key), f);
  return out;
}

const join = (path: string, key: string): string => (path === "" ? key : `${path}.${key}`);

/** The tensors of a tree in the order in which it is walked: entries of an array, keys of an object as they lie in it. */
export function leavesOf(tree: Tree): Tensor[] {
  const out: Tensor[] = [];
  mapTree((leaf) => {
    out.push(leaf);
    return leaf;
  }, tree);
  return out;
}

/**
 * The tensors of a tree by path, e.g. "layers.0.in_proj.weight".
 * @throws TypeError if two have one path, as with the keys "a.b" and "a" around "b".
 */
export function namedLeaves(tree: Tree): Record<string, Tensor> {
  const out: Record<string, Tensor> = {};
  mapTree((leaf, path) => {
    if (Object.hasOwn(out, path))
      throw new TypeError(`namedLeaves: expected one tensor at "${path}", got two; leave the dots out of the keys`);
    return (out[path] = leaf);
  }, tree);
  return out;
}

/** The same form with other tensors, taken in the order of {@link leavesOf}. */
export function replaceLeaves<T extends Tree>(tree: T, leaves: readonly Tensor[]): T {
  let next = 0;
  const filled = mapTree(() => leaves[next++]!, tree);
  if (next !== leaves.length)
    throw new TypeError(`replaceLeaves: expected ${next} tensors, got ${leaves.length}; give one for each of the tree`);
  return filled;
}

/** Gives the device memory of all tensors of a tree back at once. */
export function dispose(tree: Tree): void {
  for (const leaf of leavesOf(tree)) leaf.dispose();
}
