/** Values of tensors as bytes of a file, and back. Typed arrays lie little-endian in memory on every machine that runs this. */
import { CheckpointError, type DType, type HostArray, type TensorData } from "@seqmix/tensor";
import { fromHalfBits, toHalfBits } from "@seqmix/tensor/backend";
import type { StoredDType, StoredTensor } from "./format.js";

/** How each element type is stored. */
export const STORED_AS: Readonly<Record<DType, StoredDType>> = { f32: "F32", f16: "F16", i32: "I32", bool: "BOOL" };

const viewed = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** The bytes of values of an element type, as {@link STORED_AS} says. */
export function bytesOf(values: TensorData, dtype: DType): Uint8Array {
  if (dtype === "f16") return viewed(toHalfBits(values)).subarray(0, 2 * values.length);
  // The reference device gives its f32 numbers as float64.
  if (dtype === "f32") return viewed(values instanceof Float32Array ? values : Float32Array.from(values));
  return viewed(dtype === "i32" ? Int32Array.from(values) : Uint8Array.from(values));
}

/** The bytes from the start of a buffer of their own, where any type of elements is aligned. */
const aligned = ({ bytes }: StoredTensor): ArrayBuffer => bytes.slice().buffer as ArrayBuffer;

type Decoded = readonly [values: HostArray, dtype: DType];

const integers = (values: ArrayLike<number>): Decoded => [Int32Array.from(values), "i32"];

/** Integers of any width, if i32 holds them. */
function wide(name: string, stored: StoredTensor, values: ArrayLike<number | bigint>): Decoded {
  const out = new Int32Array(values.length);
  for (let k = 0; k < values.length; k++) {
    const value = values[k]!;
    out[k] = Number(value);
    if (BigInt(out[k]!) !== BigInt(value))
      throw new CheckpointError(
        `loadSafetensors: expected integers of 32 bits in "${name}", got ${value} (${stored.dtype}); store it as I32, or read its bytes with readSafetensors`,
      );
  }
  return [out, "i32"];
}

function truths(name: string, { bytes }: StoredTensor): Decoded {
  const odd = bytes.find((byte) => byte > 1);
  if (odd !== undefined)
    throw new CheckpointError(
      `loadSafetensors: expected 0 or 1 in "${name}" (BOOL), got ${odd}; the file is damaged, or its type should be U8`,
    );
  return [bytes.slice(), "bool"];
}

/** bfloat16 is the upper half of f32. */
function fromBrainBits(bits: Uint16Array): Float32Array {
  const words = Uint32Array.from(bits, (each) => each * 2 ** 16);
  return new Float32Array(words.buffer);
}

type Decode = (name: string, stored: StoredTensor) => Decoded;

const DECODERS: Partial<Readonly<Record<StoredDType, Decode>>> = {
  F32: (_, stored) => [new Float32Array(aligned(stored)), "f32"],
  // Devices keep f32; the reference device all digits.
  F64: (_, stored) => [new Float64Array(aligned(stored)), "f32"],
  F16: (_, stored) => [fromHalfBits(new Uint16Array(aligned(stored))), "f16"],
  BF16: (_, stored) => [fromBrainBits(new Uint16Array(aligned(stored))), "f32"],
  BOOL: truths,
  I8: (_, stored) => integers(new Int8Array(aligned(stored))),
  U8: (_, stored) => integers(stored.bytes),
  I16: (_, stored) => integers(new Int16Array(aligned(stored))),
  U16: (_, stored) => integers(new Uint16Array(aligned(stored))),
  I32: (_, stored) => integers(new Int32Array(aligned(stored))),
  U32: (name, stored) => wide(name, stored, new Uint32Array(aligned(stored))),
  I64: (name, stored) => wide(name, stored, new BigInt64Array(aligned(stored))),
  U64: (name, stored) => wide(name, stored, new BigUint64Array(aligned(stored))),
};

/**
 * The values of a stored tensor and the element type that holds them.
 * @throws CheckpointError for types that no element type holds, and integers beyond 32 bits.
 */
export function decode(name: string, stored: StoredTensor): Decoded {
  const decoder = DECODERS[stored.dtype];
  if (!decoder)
    throw new CheckpointError(
      `loadSafetensors: expected one of ${Object.keys(DECODERS).join(", ")} for "${name}", got ${stored.dtype}; convert the file, or read its bytes with readSafetensors`,
    );
  return decoder(name, stored);
}
