/** Kernels by what they say: equal texts, equal programs. */

const identities = new WeakMap<object, number>();
let nextIdentity = 1;

/** A text of plain data, in which a part that is used again is written once; functions and other objects count by identity. */
export function structureKey(value: unknown): string {
  const known = new Map<object, number>();
  const parts: string[] = [];
  const write = (x: unknown): void => {
    if (typeof x !== "object" || x === null) {
      parts.push(typeof x === "function" ? `f${identify(x)}` : Object.is(x, -0) ? "-0" : String(x));
      return;
    }
    const before = known.get(x);
    if (before !== undefined) {
      parts.push(`#${before}`);
      return;
    }
    known.set(x, known.size);
    if (Array.isArray(x) || x instanceof Set) {
      parts.push("[");
      for (const each of x as Iterable<unknown>) {
        write(each);
        parts.push(",");
      }
      parts.push("]");
    } else if (Object.getPrototypeOf(x) === Object.prototype && !("reference" in x)) {
      parts.push("{");
      for (const name in x) {
        parts.push(name, ":");
        write((x as Record<string, unknown>)[name]);
        parts.push(",");
      }
      parts.push("}");
    } else parts.push(`o${identify(x)}`);
  };
  write(value);
  return parts.join("");
}

function identify(value: object): number {
  let id = identities.get(value);
  if (id === undefined) identities.set(value, (id = nextIdentity++));
  return id;
}
