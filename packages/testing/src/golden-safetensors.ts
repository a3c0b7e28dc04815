/** Reading tensors out of a safetensors file: 8 bytes of header length, a JSON header, then raw little-endian values. */
import type { HostArray } from "@seqmix/tensor";

/** One tensor of a file. */
export interface StoredTensor {
  /** "F64", "F32", "I64", "I32", "U8" or "BOOL", as in the file. */
  readonly dtype: string;
  /** Extents. */
  readonly shape: readonly number[];
  /** Values, row-major: float64 for both float types, int32 for both integer types. */
  readonly data: HostArray;
}

/** How values of each stored type are read. */
const READERS: Readonly<Record<string, { readonly bytes: number; read(view: DataView, count: number): HostArray }>> = {
  F64: {
    bytes: 8,
    read: (view, count) => Float64Array.from({ length: count }, (_, k) => view.getFloat64(8 * k, true)),
  },
  F32: {
    bytes: 4,
    read: (view, count) => Float64Array.from({ length: count }, (_, k) => view.getFloat32(4 * k, true)),
  },
  I64: {
    bytes: 8,
    read: (view, count) => Int32Array.from({ length: count }, (_, k) => Number(view.getBigInt64(8 * k, true))),
  },
  I32: { bytes: 4, read: (view, count) => Int32Array.from({ length: count }, (_, k) => view.getInt32(4 * k, true)) },
  U8: { bytes: 1, read: (view, count) => Uint8Array.from({ length: count }, (_, k) => view.getUint8(k)) },
  BOOL: { bytes: 1, read: (view, count) => Uint8Array.from({ length: count }, (_, k) => view.getUint8(k)) },
};

/**
 * All tensors of a file by name.
 * @throws RangeError if the file ends early or has a type that is not read here.
 */
export function readSafetensors(file: Uint8Array): Record<string, StoredTensor> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const length = file.byteLength < 8 ? 0 : Number(view.getBigUint64(0, true));
  if (length === 0 || length > file.byteLength - 8)
    throw new RangeError(
      `safetensors: expected a header within ${file.byteLength} bytes, got a header length of ${length}; the file is cut short or of another format`,
    );
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length))) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const out: Record<string, StoredTensor> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const reader = READERS[entry.dtype];
    if (!reader)
      throw new RangeError(
        `safetensors: expected one of ${Object.keys(READERS).join(", ")} for ${name}, got ${entry.dtype}`,
      );
    const [start, end] = entry.data_offsets;
    const count = entry.shape.reduce((a, b) => a * b, 1);
    if (end - start !== count * reader.bytes || 8 + length + end > file.byteLength)
      throw new RangeError(
        `safetensors: expected ${count * reader.bytes} bytes for ${name} [${entry.shape.join(",")}], got ${Math.min(end - start, file.byteLength - 8 - length - start)}; the file is cut short`,
      );
    out[name] = {
      dtype: entry.dtype,
      shape: entry.shape,
      data: reader.read(new DataView(view.buffer, view.byteOffset + 8 + length + start, end - start), count),
    };
  }
  return out;
}
