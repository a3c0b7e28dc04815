/** The structure of a graph as a string: graphs with equal signatures run the same plan. */
import { sortCalls } from "../graph/calls.js";
import { inputsRead } from "../graph/op.js";
import type { Call, Tensor } from "../graph/tensor.js";

export interface Graph {
  readonly roots: readonly Tensor[];
  /** The signature. */
  readonly key: string;
  /** The tensors with values of their own behind the roots, in the order the signature numbers them. */
  readonly leaves: readonly Tensor[];
}

const identities = new WeakMap<object, number>();
let nextIdentity = 1;

/** The graph behind the roots and its signature. */
export function graphOf(roots: readonly Tensor[]): Graph {
  const calls = sortCalls(roots, inputsRead);
  const numbers = new Map<Call, number>();
  const leaves: Tensor[] = [];
  const leafNumbers = new Map<Tensor, number>();
  const refer = (x: Tensor): string => {
    if (x.source.kind === "call") return `${numbers.get(x.source.call)}.${x.source.index}`;
    let k = leafNumbers.get(x);
    if (k === undefined) {
      leafNumbers.set(x, (k = leaves.length));
      leaves.push(x);
    }
    return `@${k}`;
  };
  const lines: string[] = [];
  calls.forEach((call, k) => {
    numbers.set(call, k);
    lines.push(`${call.op.name}(${inputsRead(call).map(refer).join(",")})${serialize(call.attributes)}`);
  });
  lines.push(roots.map(refer).join(","));
  for (const x of leaves) lines.push(`${x.dtype}${x.shape.join(",")}`);
  return { roots, key: lines.join("\n"), leaves };
}

/** Attributes as text; objects with behaviour count by identity. */
function serialize(value: unknown): string {
  switch (typeof value) {
    case "number":
      return Object.is(value, -0) ? "-0" : String(value);
    case "string":
    case "boolean":
    case "undefined":
      return String(value);
    case "object":
      if (value === null) return "null";
      if (Array.isArray(value)) return `[${value.map(serialize).join(",")}]`;
      if (value instanceof Set) return `{${[...value].map(serialize).join(",")}}`;
      if ("signature" in value) return String(value.signature);
      if (isPlain(value)) {
        let text = "{";
        for (const name in value) text += `${name}:${serialize((value as Record<string, unknown>)[name])},`;
        return `${text}}`;
      }
      return identify(value);
    default:
      return identify(value as object);
  }
}

/** Records and calls are told apart by identity; a gradient's forward call is known by its inputs. */
function isPlain(value: object): boolean {
  return !("reference" in value) && !("op" in value) && Object.getPrototypeOf(value) === Object.prototype;
}

function identify(value: object): string {
  if ("op" in value) return "call";
  let id = identities.get(value);
  if (id === undefined) identities.set(value, (id = nextIdentity++));
  return `#${id}`;
}
