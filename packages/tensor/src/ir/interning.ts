/** Expressions by what they say. */
import type { Affine, Scalar } from "./loop.js";
import { parts } from "./simplify.js";

/** Rebuilds expressions; a node none of whose parts change stays the same object. `leaf` is asked first, `finish` last. */
export function rewriting(
  affine: (index: Affine) => Affine,
  leaf: (node: Scalar) => Scalar | undefined = () => undefined,
  finish = (node: Scalar): Scalar => node,
): (node: Scalar) => Scalar {
  const done = new Map<Scalar, Scalar>();
  const same = <T>(a: readonly T[], b: readonly T[]): boolean => a.every((x, k) => x === b[k]);
  const rewrite = (node: Scalar): Scalar => {
    let result = done.get(node);
    if (result === undefined) done.set(node, (result = finish(leaf(node) ?? rebuild(node))));
    return result;
  };
  const rebuild = (node: Scalar): Scalar => {
    switch (node.op) {
      case "constant":
      case "reduced":
      case "state":
        return node;
      case "position": {
        const index = affine(node.index);
        return index === node.index ? node : { ...node, index };
      }
      case "load": {
        const index = affine(node.index);
        const gather = node.gather?.map((g) => {
          const value = rewrite(g.value);
          return value === g.value ? g : { ...g, value };
        });
        return index === node.index && (gather === undefined || same(gather, node.gather ?? []))
          ? node
          : { ...node, index, ...(gather && { gather }) };
      }
      case "guard": {
        const conditions = node.conditions.map((c) => {
          const index = affine(c.index);
          return index === c.index ? c : { ...c, index };
        });
        const value = rewrite(node.value);
        return value === node.value && same(conditions, node.conditions) ? node : { ...node, conditions, value };
      }
      default: {
        const args = node.args.map(rewrite);
        return same(args, node.args) ? node : { ...node, args };
      }
    }
  };
  return rewrite;
}

/** A `finish` of {@link rewriting}: one object for equal expressions. */
export function interning(): (node: Scalar) => Scalar {
  const ids = new Map<Scalar, number>(),
    known = new Map<string, Scalar>();
  return (node) => {
    const own = JSON.stringify(node, (key, value: unknown) =>
      key === "args" || (key === "value" && typeof value === "object")
        ? undefined
        : typeof value === "number"
          ? Object.is(value, -0)
            ? "-0"
            : String(value)
          : value,
    );
    const key = `${own} ${parts(node)
      .map((part) => ids.get(part))
      .join()}`;
    const same = known.get(key) ?? node;
    known.set(key, same);
    ids.set(same, ids.get(same) ?? ids.size);
    return same;
  };
}
