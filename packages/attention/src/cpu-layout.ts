/** How attention is cut up on the CPU device, and where its buffers stand. */
import type { KernelCase } from "@seqmix/tensor";
import { i32, type Code } from "@seqmix/tensor/wasm";
import type { AttentionOptions } from "./options.js";

/** Queries in a block. */
export const QUERIES = 16;
/** Keys in a block: its scores, 8 KB, stay in the first-level cache. */
export const KEYS = 64;
/** Bytes of a row of scores. */
export const SCORE_ROW = 4 * KEYS;

/** Extents and options of one call. */
export interface AttentionLayout extends AttentionOptions {
  readonly batch: number;
  readonly heads: number;
  readonly groups: number;
  readonly queries: number;
  readonly keys: number;
  /** Entries of a key and of a value. */
  readonly keyWidth: number;
  readonly valueWidth: number;
  readonly segments: boolean;
  readonly queryPositions: boolean;
  readonly keyPositions: boolean;
  /** Where a buffer's address stands among the arguments, in bytes. */
  readonly argument: (name: string) => number;
  /** Place behind the last argument: the shared block. */
  readonly sharedArgument: number;
}

/** `names` are the buffers behind the inputs, in order. */
export function layoutOf(
  { dims, options, present }: KernelCase<AttentionOptions>,
  names: readonly string[],
): AttentionLayout {
  const all = [...present, ...names];
  return {
    ...options,
    batch: dims["B"]!,
    heads: dims["H"]!,
    groups: dims["G"]!,
    queries: dims["L"]!,
    keys: dims["S"]!,
    keyWidth: dims["K"]!,
    valueWidth: dims["V"]!,
    segments: present.has("keySegments"),
    queryPositions: present.has("queryPositions"),
    keyPositions: present.has("keyPositions"),
    argument: (name) => 4 * all.indexOf(name),
    sharedArgument: 4 * all.length,
  };
}

/** Whether scores depend on more than the product even where all keys of a block are seen. */
export const needsPositions = ({ alibi, segments, queryPositions, keyPositions }: AttentionLayout): boolean =>
  alibi || segments || queryPositions || keyPositions;

// ---- address arithmetic ----

/** x * factor. */
export const times = (x: Code, factor: number): Code => (factor === 1 ? x : i32.mul(x, i32.const(factor)));
/** x + offset. */
export const plus = (x: Code, offset: Code | number): Code =>
  offset === 0 ? x : i32.add(x, typeof offset === "number" ? i32.const(offset) : offset);
