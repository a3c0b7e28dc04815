/** Products with the states of every step: what they are made of, and how their columns fall into tiles. */
import type { Operand } from "@seqmix/tensor/backend";
import { stateType, type Bound, type Chunks, type Place } from "./layout.js";
import type { Score } from "./scores.js";
import { isMatrixTile, type MatrixTile, type TileShape } from "./tile.js";

/** Bindings of the states before or the adjoint states behind all chunks, and of what they are at most. */
export const boundStates = (chunks: Chunks, buffer: number): readonly Bound[] => [
  { name: "states", buffer, type: stateType(chunks) },
  ...(chunks.magnitudes === undefined ? [] : [{ name: "magnitudes", buffer: chunks.magnitudes, type: "f32" } as const]),
];

/** A buffer of what a pass of scores found out, [heads of the score, chunks, tiles down, tiles across]: the largest of an operand, and the power of two that scores in f16 were multiplied with. */
export interface Told {
  readonly buffer: number;
  readonly of: Operand;
}

/** Sums of a step's products with the states before its chunk, then of those behind it, [heads, tiles, steps] each. */
export interface StateSums {
  /** What reads the states before the chunk, these, and what that is multiplied with. */
  readonly x: Operand;
  readonly states: number;
  readonly with: Operand;
  /** What the read itself is multiplied with. */
  readonly own: Operand;
  readonly to: number;
}

export interface ReadPass {
  readonly state: "current" | "adjoint";
  readonly over: "keys" | "values";
  readonly x: Operand;
  /** The other side of the outer product. */
  readonly z: Operand;
  readonly score: Score;
  readonly buffers: { readonly states: number; readonly table: number; readonly scores: number };
  /** What the pass of scores tells, if it does, and whether the largest of `x` is among it. */
  readonly told?: Told | undefined;
  /** Where the result is stored, if it is. */
  readonly to?: Place | undefined;
  /** The sums of what rows have of the states behind, and of the other states' read, where pairs of steps are summed elsewhere. */
  readonly apart?: StateSums | undefined;
  /** The sums of the result's rows times another operand's, [heads, steps], by tile of columns. */
  readonly dots?: { readonly with: Operand; readonly to: number } | undefined;
}

/** The buffer of a read's rows where keys have decays of their own and are summed. */
export const rowsOf = (
  { keyRows }: Chunks,
  { over, state, x }: Pick<ReadPass, "over" | "state" | "x">,
): number | undefined =>
  over === "keys" ? (state === "current" ? keyRows?.later : keyRows?.earlier)?.get(x) : undefined;

/** The tile of a read (perhaps one whose rows are summed, or what they have of the states), and how many of its columns there are. */
export function columnsOf(
  { sizes, K, V }: Chunks,
  over: "keys" | "values",
  sums: "plain" | "dotted" | "apart" = "plain",
): { readonly shape: TileShape | MatrixTile; readonly tiles: number } {
  const width = over === "keys" ? V : K;
  const shape = width > 64 ? sizes.wide : ((sums === "plain" ? undefined : sizes[sums]) ?? sizes.narrow);
  return { shape, tiles: Math.ceil(width / shape.columns) };
}

/**
 * Whether sums of rows come apart: of the pairs of steps, then of the products with the adjoint states. Where products are of
 * rounded numbers the latter are summed from the chunk's beginning to a step. The sum of all of them would have to be
 * taken from states that were rounded otherwise, and where decays are strong the little that is left would be lost.
 */
export const separatesDots = (shape: TileShape | MatrixTile, state: "current" | "adjoint"): boolean =>
  isMatrixTile(shape) && shape.terms === 1 && state === "adjoint";
