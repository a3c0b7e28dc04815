/**
 * What operands and states of a head's chunk are at most. The passes that make the states find it out as they go; those behind
 * them need not look for scales that suit their products: they know them. Bounds may be too large by a factor of some thousand
 * before a digit is lost, so products of bounds will do.
 */
import type { Operand } from "@seqmix/tensor/backend";
import type { Chunks } from "./layout.js";

/** Numbers of a head's chunk, each [heads, chunks] in the buffer, for the states and for the adjoint states. */
const KINDS = ["contribution", "before", "keys", "values"] as const;
export type Kind = (typeof KINDS)[number];
/** Powers of two that bring what a chunk adds to the states, and the states before it, below 2^15; the largest of keys and values. */
export const magnitudeAt = (
  { H, count }: Chunks,
  state: "current" | "adjoint",
  kind: Kind,
  head: string,
  chunk: string,
): string =>
  `magnitudes[${((state === "adjoint" ? KINDS.length : 0) + KINDS.indexOf(kind)) * H * count} + ${head} * ${count} + ${chunk}]`;

/** Elements of the buffer. */
export const magnitudesSize = (H: number, count: number, adjoint: boolean): number =>
  (adjoint ? 2 : 1) * KINDS.length * H * count;

/** The largest number of an operand in a head's chunk, if a pass of states has found it out. */
export function magnitudeOf(chunks: Chunks, operand: Operand, head: string, chunk: string): string | undefined {
  if (chunks.magnitudes === undefined) return undefined;
  const { drive, seed } = chunks.parts;
  for (const [state, outer] of [
    ["current", drive],
    ["adjoint", seed],
  ] as const) {
    // with decays by key those are known that are weighted
    if (outer?.keys === operand && !chunks.keyRows) return magnitudeAt(chunks, state, "keys", head, chunk);
    if (outer?.values === operand) return magnitudeAt(chunks, state, "values", head, chunk);
  }
  return undefined;
}

/** WGSL of exponents as they stand in a number's bits: 127 is that of 1. */
export const MAGNITUDE_FUNCTIONS = `fn exponentOf(x: f32) -> i32 { return i32(bitcast<u32>(x) >> 23u); }
// of the power of two that brings a number of this exponent below 2^15
fn scaleFor(exponent: i32) -> i32 { return clamp(268 - exponent, 1, 253); }
`;
/** The exponent of a product, at most. */
export const productExponent = (...exponents: readonly string[]): string =>
  `${exponents.join(" + ")} - ${126 * (exponents.length - 1)}`;
