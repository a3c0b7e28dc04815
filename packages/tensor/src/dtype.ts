/**
 * Element types. `f32` is the working precision of every product device; the
 * reference device keeps `f32` tensors in float64. `bool` and `i32` take four
 * bytes an element on every device, so that one kernel addresses all of them alike.
 */
export type DType = "f32" | "i32" | "bool";

/** Host arrays a tensor can be made from or read into. */
export type HostArray = Float32Array | Float64Array | Int32Array | Uint8Array;

/** Bytes of one element on a device. */
export const BYTES_PER_ELEMENT = 4;

/** The element type that host data of this array class stands for. */
export function dtypeOf(data: HostArray): DType {
  if (data instanceof Float32Array || data instanceof Float64Array) return "f32";
  if (data instanceof Int32Array) return "i32";
  return "bool";
}
