/**
 * The safetensors format (https://huggingface.co/docs/safetensors): 8 bytes of header length (u64, little-endian), a header
 * of JSON, padded with spaces, then the values, little-endian and row-major, without gaps.
 */
import { CheckpointError } from "@seqmix/tensor";
import { repeatedKey } from "./repeated-keys.js";

/** An element type of the format that takes whole bytes. */
export type StoredDType =
  | ("BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0")
  | ("I16" | "U16" | "F16" | "BF16")
  | ("I32" | "U32" | "F32")
  | ("C64" | "F64" | "I64" | "U64");

/** Bytes of an element. */
export const STORED_BYTES: Readonly<Record<StoredDType, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  F8_E8M0: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  C64: 8,
  F64: 8,
  I64: 8,
  U64: 8,
};

/** One tensor of a file. */
export interface StoredTensor {
  /** Element type. */
  readonly dtype: StoredDType;
  /** Extents. */
  readonly shape: readonly number[];
  /** Its values as they lie in the file: little-endian, row-major, at any alignment. A view, not a copy. */
  readonly bytes: Uint8Array;
}

/** What a file holds. */
export interface SafetensorsFile {
  /** By name, in the order of the header. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Texts by name that came with the tensors. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** The name in the header that is no tensor's. */
export const METADATA = "__metadata__";
/** Bytes a header may take: the format's bound. */
const LONGEST_HEADER = 100_000_000;
const LENGTH_BYTES = 8;

const fail = (what: string, got: string): never => {
  throw new CheckpointError(
    `safetensors: expected ${what}, got ${got}; the file is damaged, cut short or of another format`,
  );
};

/**
 * Takes a file apart and checks it as the format demands: every byte belongs to exactly one tensor, in whole elements.
 * @throws CheckpointError if it is no such file; TypeError for anything but bytes.
 */
export function readSafetensors(file: Uint8Array | ArrayBuffer): SafetensorsFile {
  const bytes = plainBytes(file);
  const header = headerOf(bytes);
  const values = bytes.subarray(LENGTH_BYTES + header.length);
  const entries = entriesOf(header.text);
  const tensors = new Map<string, StoredTensor>();
  let metadata: Record<string, string> = {};
  const ranges: { readonly name: string; readonly begin: number; readonly end: number }[] = [];
  for (const [name, entry] of entries) {
    if (name === METADATA) {
      metadata = metadataOf(entry);
      continue;
    }
    const { dtype, shape, begin, end } = infoOf(name, entry);
    ranges.push({ name, begin, end });
    tensors.set(name, { dtype, shape, bytes: values.subarray(begin, end) });
  }
  assertCovered(ranges, values.length);
  return { tensors, metadata };
}

/** The same memory; the `slice` of Node's Buffer, which is a view, does not copy. */
function plainBytes(file: Uint8Array | ArrayBuffer): Uint8Array {
  if (ArrayBuffer.isView(file)) return new Uint8Array(file.buffer, file.byteOffset, file.byteLength);
  // by its tag: a buffer of another window or context is no instance of this one's class
  const tag = Object.prototype.toString.call(file).slice(8, -1);
  if (tag === "ArrayBuffer" || tag === "SharedArrayBuffer") return new Uint8Array(file);
  throw new TypeError(
    `safetensors: expected the bytes of a file, got ${tag}; read it first: await readFile(path), or await (await fetch(url)).arrayBuffer()`,
  );
}

function headerOf(bytes: Uint8Array): { readonly text: string; readonly length: number } {
  if (bytes.length < LENGTH_BYTES) return fail("8 bytes of header length", `a file of ${bytes.length} bytes`);
  const length = new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (length > LONGEST_HEADER) return fail(`a header of at most ${LONGEST_HEADER} bytes`, `a length of ${length}`);
  if (length > bytes.length - LENGTH_BYTES)
    return fail(`a header within ${bytes.length} bytes`, `a header length of ${length}`);
  const header = bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + Number(length));
  if (header[0] !== 0x7b) return fail('a header that begins with "{"', header.length ? `byte ${header[0]}` : "nothing");
  try {
    return { text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header), length: header.length };
  } catch {
    return fail("a header of UTF-8 text", "other bytes");
  }
}

function entriesOf(text: string): [string, unknown][] {
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (error) {
    return fail("a header of JSON", (error as Error).message);
  }
  const repeated = repeatedKey(text);
  if (repeated !== undefined) return fail("every name once", `${said(repeated)} twice`);
  return Object.entries(header as Record<string, unknown>);
}

function metadataOf(entry: unknown): Record<string, string> {
  if (!isObject(entry) || !Object.values(entry).every((value) => typeof value === "string"))
    return fail(`texts by name in ${METADATA}`, said(entry));
  return entry as Record<string, string>;
}

/** A value in an error's words, however large or deep it is. */
function said(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 200 ? `${value.slice(0, 200)}...` : value);
  if (Array.isArray(value))
    return value.length <= 8 && value.every((each) => typeof each === "number") ? `[${value.join(",")}]` : "an array";
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

interface Info {
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

function infoOf(name: string, entry: unknown): Info {
  const quoted = said(name);
  if (!isObject(entry)) return fail(`dtype, shape and data_offsets for ${quoted}`, said(entry));
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !Object.hasOwn(STORED_BYTES, dtype))
    return fail(`one of ${Object.keys(STORED_BYTES).join(", ")} for ${quoted}`, said(dtype));
  if (!isSizes(shape)) return fail(`extents for ${quoted}`, said(shape));
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!)
    return fail(`two data_offsets in order for ${quoted}`, said(offsets));
  const [begin, end] = offsets as [number, number];
  let size = STORED_BYTES[dtype as StoredDType];
  for (const extent of shape) {
    size *= extent;
    // A zero behind it would hide that the product has no meaning.
    if (!Number.isSafeInteger(size)) return fail(`a size below 2^53 bytes for ${quoted}`, said(shape));
  }
  if (end - begin !== size) return fail(`${size} bytes for ${quoted} ${dtype} ${said(shape)}`, `${end - begin}`);
  return { dtype: dtype as StoredDType, shape, begin, end };
}

/** Tensors follow each other from the first byte to the last. */
function assertCovered(
  ranges: readonly { readonly name: string; readonly begin: number; readonly end: number }[],
  length: number,
): void {
  let next = 0;
  for (const { name, begin, end } of [...ranges].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== next) fail(`the values of ${said(name)} at offset ${next}, behind those before`, `offset ${begin}`);
    next = end;
  }
  if (next !== length) fail(`${next} bytes of values`, `${length}`);
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isSizes = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.every((each) => Number.isSafeInteger(each) && (each as number) >= 0);

/** A tensor to be written. */
export interface Written {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/**
 * A file of tensors. Those of wide elements come first, so that all are aligned, then by name: as the format's own
 * implementation orders them.
 */
export function writeSafetensors(
  tensors: readonly Written[],
  metadata: Readonly<Record<string, string>> | undefined,
): Uint8Array<ArrayBuffer> {
  const order = [...tensors].sort(
    (a, b) => STORED_BYTES[b.dtype] - STORED_BYTES[a.dtype] || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  );
  let end = 0;
  const entries = order.map(({ name, dtype, shape, bytes }) => {
    const begin = end;
    end += bytes.length;
    return [name, { dtype, shape, data_offsets: [begin, end] }] as const;
  });
  // Written by hand, since keys that are numbers would come first in an object.
  const parts = [...(metadata ? [[METADATA, metadata] as const] : []), ...entries];
  const json = `{${parts.map(([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`).join(",")}}`;
  const text = new TextEncoder().encode(json);
  const length = 8 * Math.ceil(text.length / 8);
  if (length > LONGEST_HEADER)
    throw new CheckpointError(
      `saveSafetensors: expected names and shapes within ${LONGEST_HEADER} bytes, got ${length}; write several files`,
    );
  const file = new Uint8Array(LENGTH_BYTES + length + end).fill(0x20, LENGTH_BYTES, LENGTH_BYTES + length);
  new DataView(file.buffer).setBigUint64(0, BigInt(length), true);
  file.set(text, LENGTH_BYTES);
  let offset = LENGTH_BYTES + length;
  for (const { bytes } of order) {
    file.set(bytes, offset);
    offset += bytes.length;
  }
  return file;
}
