/** Reading a case's values in the form that the packages take. */
import type { Complex } from "@seqmix/scan";
import { reshape, sliceAxis, Tensor, transpose } from "@seqmix/tensor";
import type { GoldenValues } from "@seqmix/testing";

/** A real value that has to be there. */
export function real(values: GoldenValues, name: string): Tensor {
  const value = values[name];
  if (!(value instanceof Tensor))
    throw new TypeError(`golden: expected a real tensor "${name}", got ${value ? "a complex one" : "none"}`);
  return value;
}

/** A real value, or undefined if the case has none. */
export const maybe = (values: GoldenValues, name: string): Tensor | undefined =>
  values[name] ? real(values, name) : undefined;

/** A complex value that has to be there. */
export function complex(values: GoldenValues, name: string): Complex {
  const value = values[name];
  if (!value || value instanceof Tensor)
    throw new TypeError(`golden: expected a complex tensor "${name}", got ${value ? "a real one" : "none"}`);
  return value;
}

/** The last two axes change places, e.g. [B D L] -> [B L D]. */
export const swap = (x: Tensor): Tensor => transpose(x);

/** {@link swap} of a value that may be missing. */
export const maybeSwap = (x: Tensor | undefined): Tensor | undefined => x && transpose(x);

/** [.. 2n] with real and imaginary parts in turn -> [.. n]. */
export function interleaved(x: Tensor): Complex {
  const pairs = [...x.shape.slice(0, -1), x.shape.at(-1)! / 2, 2];
  const part = (k: number): Tensor => reshape(sliceAxis(reshape(x, pairs), -1, k, k + 1), pairs.slice(0, -1));
  return { re: part(0), im: part(1) };
}

/** Parameters as the tree that their dotted names spell: "param.in_proj.weight" is at in_proj, weight; numbers are places in a list. */
export function parameterTree(values: GoldenValues, prefix = "param."): unknown {
  interface Branch {
    [key: string]: Branch | Tensor;
  }
  const root: Branch = {};
  for (const name of Object.keys(values)) {
    if (!name.startsWith(prefix)) continue;
    const path = name.slice(prefix.length).split(".");
    let branch = root;
    for (const key of path.slice(0, -1)) branch = (branch[key] ??= {}) as Branch;
    branch[path.at(-1)!] = real(values, name);
  }
  const settle = (branch: Branch | Tensor): unknown => {
    if (branch instanceof Tensor) return branch;
    const entries = Object.entries(branch).map(([key, value]) => [key, settle(value)] as const);
    return entries.every(([key]) => /^\d+$/.test(key))
      ? entries.map(([, value]) => value)
      : Object.fromEntries(entries);
  };
  return settle(root);
}

/** A whole number among a case's options. */
export function count(options: Readonly<Record<string, unknown>>, name: string): number {
  const value = options[name];
  if (typeof value !== "number")
    throw new TypeError(`golden: expected a number for option ${name}, got ${JSON.stringify(value)}`);
  return value;
}
