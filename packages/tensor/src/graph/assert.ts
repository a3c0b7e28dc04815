/** Errors of one sentence for arguments that are not what a function takes. */
import { describeValue, DTypeError, ShapeError } from "./errors.js";
import { formatShape, type Shape } from "./shape.js";
import { Tensor } from "./tensor.js";

/** @throws DTypeError for anything but a tensor. */
export function assertTensor(name: string, x: unknown): asserts x is Tensor {
  if (x instanceof Tensor) return;
  const isList = Array.isArray(x) || ArrayBuffer.isView(x) || typeof x === "number";
  throw new DTypeError(
    `${name}: expected a tensor, got ${describeValue(x)}; ${isList ? "make a tensor of it with tensor(...)" : "check the arguments"}`,
  );
}

/**
 * What a setting has to be: a number within bounds, one out of a list, true or false ("flag"), a function, a list, a tensor or a
 * pair of them, `{ re, im }`; "own": what the function itself looks at. Only "function", "tensor" and "pair" have to be given.
 */
export type SettingRule =
  | NumberBounds
  | readonly unknown[]
  | "flag"
  | "function"
  | "function?"
  | "list?"
  | "tensor"
  | "tensor?"
  | "pair"
  | "pair?"
  | "own";

type Pair = { readonly re?: unknown; readonly im?: unknown };
const isTensor = (value: unknown): boolean => value instanceof Tensor;
const KINDS: Readonly<Record<string, (value: unknown) => boolean>> = {
  function: (value) => typeof value === "function",
  list: Array.isArray,
  tensor: isTensor,
  pair: (value) => isTensor((value as Pair | undefined)?.re) && isTensor((value as Pair).im),
};

/** What each setting of an object has to be, by name. */
export type SettingRules<T extends object> = { readonly [K in keyof T & string]-?: SettingRule };

/**
 * For functions with settings: a name that does not exist would be ignored without a word.
 * @param name The function, for the error.
 * @param known The names of all settings, or what each has to be by name.
 * @throws TypeError for a setting that does not exist, or anything but an object; RangeError, DTypeError or TypeError for what breaks its rule.
 */
export function assertSettings<T extends object>(
  name: string,
  given: T,
  known: readonly (keyof T & string)[] | SettingRules<T>,
): void {
  const rules = Array.isArray(known) ? undefined : (known as Readonly<Record<string, SettingRule>>);
  const names: readonly string[] = rules ? Object.keys(rules) : (known as readonly string[]);
  assertObject(name, given, names);
  for (const key in given)
    if (!names.includes(key))
      throw new TypeError(
        `${name}: expected settings out of ${names.join(", ")}, got ${key}; leave it out or correct its name`,
      );
  for (const key in rules) {
    const [rule, value] = [rules[key]!, given[key as keyof T]];
    if (value !== undefined || KINDS[rule as string]) assertSetting(name, key, value, rule);
  }
}

/**
 * For functions that take some of the settings of a config, which may have others: a config lacks nothing.
 * @param name The function, for the error.
 * @throws TypeError for anything but an object; RangeError or TypeError for what breaks its rule.
 */
export function assertFields<T extends object>(name: string, config: T, rules: Partial<SettingRules<T>>): void {
  assertObject(name, config, Object.keys(rules));
  for (const key in rules) assertSetting(name, key, config[key as keyof T], rules[key as keyof typeof rules]!);
}

function assertObject(name: string, given: unknown, names: readonly string[]): void {
  if (typeof given !== "object" || given === null || given instanceof Tensor)
    throw new TypeError(
      `${name}: expected an object with ${names.join(", ")}, got ${describeValue(given)}; write { ${names[0]}: ... }`,
    );
}

function assertSetting(name: string, key: string, value: unknown, rule: SettingRule): void {
  if (Array.isArray(rule)) assertOneOf(name, key, value, rule);
  else if (typeof rule === "object") assertNumber(name, key, value, rule as NumberBounds);
  else if (rule === "flag") assertOneOf(name, key, value, [true, false]);
  else if (rule !== "own") assertKind(name, key, value, rule.replace("?", ""));
}

function assertKind(name: string, key: string, value: unknown, kind: string, other = kind): void {
  if (!KINDS[kind]!(value) && !KINDS[other]!(value))
    throw new DTypeError(
      `${name}: expected a ${kind === "pair" ? "pair { re, im }" : kind} for ${key}, got ${describeValue(value)}; check the arguments`,
    );
}

/** @throws TypeError for anything but a function. */
export function assertFunction(name: string, f: unknown): void {
  if (typeof f !== "function")
    throw new TypeError(`${name}: expected a function, got ${describeValue(f)}; pass the function itself`);
}

/** @throws ShapeError for anything but a list of extents. */
export function assertShape(name: string, shape: Shape): void {
  if (!Array.isArray(shape))
    throw new ShapeError(
      `${name}: expected a shape such as [2,3], got ${describeValue(shape)}; put extents into a list`,
    );
  for (const extent of shape as Shape)
    if (!Number.isInteger(extent) || extent < 0)
      throw new ShapeError(
        `${name}: expected extents that are integers of at least 0, got shape ${formatShape(shape)}; round them`,
      );
}

/** @throws TypeError for anything but a list. */
export function assertList(name: string, list: unknown, example: string): void {
  if (!Array.isArray(list))
    throw new TypeError(`${name}: expected a list such as ${example}, got ${describeValue(list)}; put it into a list`);
}

/** @throws RangeError unless the value is a whole number of 32 bits with sign. */
export function assertWhole(name: string, value: unknown): void {
  if (((value as number) | 0) !== value)
    throw new RangeError(
      `${name}: expected a whole number of 32 bits with sign, got ${describeValue(value)}; round it, or use x | 0`,
    );
}

/** What a number has to be. */
export interface NumberBounds {
  /** The least that it may be. */
  readonly from?: number;
  /** The largest; Infinity lets that in. */
  readonly to?: number;
  /** What it has to be above. */
  readonly above?: number;
  /** What it has to be below. */
  readonly below?: number;
  /** Whether it has to be an integer. */
  readonly whole?: boolean;
}

/**
 * For functions with settings that are numbers.
 * @param name The function, and `what` the setting, for the error.
 * @throws RangeError for what is no finite number within the bounds.
 */
export function assertNumber(name: string, what: string, value: unknown, bounds: NumberBounds = {}): void {
  const { from = -Infinity, to = Infinity, above = -Infinity, below = NaN, whole = false } = bounds;
  const x = value as number;
  const isKind = (whole ? Number.isInteger(x) : Number.isFinite(x)) || x === bounds.to;
  if (isKind && x >= from && x <= to && x > above && !(x >= below)) return;
  const words = { from: "of at least", to: "of at most", above: "above", below: "below" } as const;
  const limits = (["from", "to", "above", "below"] as const)
    .filter((key) => Number.isFinite(bounds[key]))
    .map((key) => ` ${words[key]} ${bounds[key]}`);
  throw new RangeError(
    `${name}: expected ${what}, a ${whole ? "whole " : ""}number${limits.join(" and")}, got ${typeof value === "number" ? value : describeValue(value)}; correct it`,
  );
}

/**
 * For functions with settings that are one of a few words, or true or false.
 * @param name The function, and `what` the setting, for the error.
 * @throws RangeError for anything else.
 */
export function assertOneOf(name: string, what: string, value: unknown, choices: readonly unknown[]): void {
  if (choices.includes(value)) return;
  const quoted = (each: unknown): string => (typeof each === "string" ? `"${each}"` : String(each));
  throw new RangeError(
    `${name}: expected ${what} ${choices.map(quoted).join(" or ")}, got ${typeof value === "string" ? quoted(value) : describeValue(value)}; choose one of them`,
  );
}

/**
 * For functions that take tensors by name.
 * @param name The function, for the error.
 * @param required Names that have to be there. Others of `given` that are neither tensors nor pairs are not looked at.
 * @param optional Names that may be there.
 * @throws TypeError for anything but an object; DTypeError for anything but a tensor, or a pair of them, under a name.
 */
export function assertTensors<T extends object>(
  name: string,
  given: T,
  required: readonly (keyof T & string)[],
  optional: readonly (keyof T & string)[] = [],
): void {
  const names = [...required, ...optional];
  assertObject(name, given, names);
  for (const key of names) {
    if (given[key] !== undefined || required.includes(key)) assertKind(name, key, given[key], "tensor", "pair");
  }
}
