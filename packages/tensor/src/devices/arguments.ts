/** What a compiled function is called with: tensors, and all else as constants. */
import { Tensor } from "../graph/tensor.js";

/** Arguments taken apart. */
export interface Given {
  /** Form, shapes, types and constants: equal texts run the same trace. A tensor that comes twice is the same one each time. */
  readonly key: string;
  /** Each tensor once, in the order in which they come. */
  readonly tensors: readonly Tensor[];
  /** By argument, the number of its first tensor and of the next argument's. */
  readonly bounds: readonly number[];
}

const identities = new WeakMap<object, number>();
let nextIdentity = 1;

/** @param args Trees of tensors with numbers, texts and other constants between them; functions and class instances count by identity. */
export function takeApart(args: readonly unknown[]): Given {
  const numbers = new Map<Tensor, number>();
  const bounds: number[] = [];
  let key = "";
  const visit = (value: unknown): void => {
    if (value instanceof Tensor) {
      const known = numbers.get(value);
      if (known === undefined) {
        numbers.set(value, numbers.size);
        key += `${value.dtype}${value.shape.join()};`;
      } else key += `@${known};`;
    } else if (Array.isArray(value)) {
      key += "[";
      for (const each of value) visit(each);
      key += "]";
    } else if (isPlain(value)) {
      key += "{";
      for (const name in value) {
        key += `${JSON.stringify(name)}:`;
        visit(value[name]);
      }
      key += "}";
    } else key += constantKey(value);
  };
  for (const each of args) {
    bounds.push(numbers.size);
    visit(each);
    key += "|";
  }
  bounds.push(numbers.size);
  return { key, tensors: [...numbers.keys()], bounds };
}

/** The arguments with other tensors in the place of theirs, by their numbers. */
export function putTogether(args: readonly unknown[], tensors: readonly Tensor[]): unknown[] {
  const instead = new Map<Tensor, Tensor>();
  const rebuild = (value: unknown): unknown => {
    if (value instanceof Tensor) {
      let other = instead.get(value);
      if (!other) instead.set(value, (other = tensors[instead.size]!));
      return other;
    }
    if (Array.isArray(value)) return value.map(rebuild);
    if (!isPlain(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, rebuild(each)]));
  };
  return args.map(rebuild);
}

function constantKey(value: unknown): string {
  if (typeof value === "string") return `${JSON.stringify(value)};`;
  if (typeof value !== "function" && (typeof value !== "object" || value === null))
    return `${Object.is(value, -0) ? "-0" : typeof value === "bigint" ? `${value}n` : String(value)};`;
  let identity = identities.get(value);
  if (identity === undefined) identities.set(value, (identity = nextIdentity++));
  return `#${identity};`;
}

const isPlain = (value: unknown): value is Record<string, unknown> => {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
};
