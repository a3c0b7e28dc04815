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
 * For functions with settings: a name that does not exist would be ignored without a word.
 * @param name The function, for the error.
 * @param known The names of all settings.
 * @throws TypeError for a setting that does not exist, or anything but an object.
 */
export function assertSettings<T extends object>(name: string, given: T, known: readonly (keyof T & string)[]): void {
  if (typeof given !== "object" || given === null || given instanceof Tensor)
    throw new TypeError(
      `${name}: expected an object with ${known.join(", ")}, got ${describeValue(given)}; write { ${known[0]}: ... }`,
    );
  for (const key in given)
    if (!known.includes(key))
      throw new TypeError(
        `${name}: expected settings out of ${known.join(", ")}, got ${key}; leave it out or correct its name`,
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
