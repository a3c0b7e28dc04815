import { describeValue, DTypeError } from "./errors.js";

/**
 * Element types. `f32` is the working precision of every product device; the
 * reference device keeps `f32` tensors in float64. `bool` and `i32` take four
 * bytes an element on every device, so that one kernel addresses all of them alike.
 *
 * `f16` is for storage: an op computes in f32 (float64 on the reference device) and rounds each of its results once, to the
 * nearest f16 number, whether it is stored or used by the next op in one kernel; so all devices, fused or not, give the
 * same numbers. It takes two bytes an element where a device can store it, else four. `cast` is the way in and out.
 */
export type DType = "f32" | "f16" | "i32" | "bool";

/** Whether elements are real numbers, which have gradients. */
export const isReal = (dtype: DType): dtype is "f32" | "f16" => dtype === "f32" || dtype === "f16";

/** Host arrays a tensor can be made from or read into. */
export type HostArray = Float32Array | Float64Array | Int32Array | Uint8Array;

/**
 * Values read from a tensor: a Float32Array, Float64Array, Int32Array or Uint8Array, seen as one type, so that its methods can be called
 * without asking which.
 */
export interface TensorData extends ArrayLike<number>, Iterable<number> {
  /** The memory behind the values. */
  readonly buffer: ArrayBufferLike;
  /** Where they begin in it. */
  readonly byteOffset: number;
  /** Bytes they take. */
  readonly byteLength: number;
  /** As of a typed array, also from the end. */
  at(index: number): number | undefined;
  /** Positions and values. */
  entries(): IterableIterator<[number, number]>;
  /** Whether all values pass. */
  every(test: (value: number, index: number) => boolean): boolean;
  /** Writes a value over a range. */
  fill(value: number, start?: number, end?: number): this;
  /** The values that pass. */
  filter(test: (value: number, index: number) => boolean): TensorData;
  /** The first value that passes. */
  find(test: (value: number, index: number) => boolean): number | undefined;
  /** The position of the first value that passes, or -1. */
  findIndex(test: (value: number, index: number) => boolean): number;
  /** Visits every value. */
  forEach(visit: (value: number, index: number) => void): void;
  /** Whether a value is there. */
  includes(value: number): boolean;
  /** The first position of a value, or -1. */
  indexOf(value: number): number;
  /** The values as text. */
  join(separator?: string): string;
  /** New values, of the same class. */
  map(f: (value: number, index: number) => number): TensorData;
  /** Combines the values from the first on. */
  reduce(combine: (before: number, value: number, index: number) => number): number;
  /** Combines the values from the first on. */
  reduce<T>(combine: (before: T, value: number, index: number) => T, start: T): T;
  /** Writes values from an offset on. */
  set(values: ArrayLike<number>, offset?: number): void;
  /** A copy of a range. */
  slice(start?: number, end?: number): TensorData;
  /** Whether a value passes. */
  some(test: (value: number, index: number) => boolean): boolean;
  /** A view of a range. */
  subarray(start?: number, end?: number): TensorData;
}

/** Bytes of one element on a device, at most. */
export const BYTES_PER_ELEMENT = 4;

/**
 * The element type that host data of this array class stands for.
 * @throws DTypeError for other classes.
 */
export function dtypeOf(data: HostArray): DType {
  if (data instanceof Float32Array || data instanceof Float64Array) return "f32";
  if (data instanceof Int32Array) return "i32";
  if (data instanceof Uint8Array) return "bool";
  throw new DTypeError(
    `tensor: expected a Float32Array, Float64Array, Int32Array or Uint8Array, got ${describeValue(data)}; convert it, e.g. with Int32Array.from`,
  );
}

const DTYPES: readonly DType[] = ["f32", "f16", "i32", "bool"];
/** How other libraries call them. */
const ALIASES: Readonly<Record<string, DType>> = {
  float32: "f32",
  float: "f32",
  float16: "f16",
  half: "f16",
  int32: "i32",
  int: "i32",
  boolean: "bool",
};

/** @throws DTypeError for a type that does not exist. */
export function assertDType(name: string, dtype: DType): void {
  if (DTYPES.includes(dtype)) return;
  const meant = ALIASES[String(dtype)];
  throw new DTypeError(
    `${name}: expected an element type out of ${DTYPES.join(", ")}, got ${describeValue(dtype)}${meant ? `; write "${meant}"` : ""}`,
  );
}
