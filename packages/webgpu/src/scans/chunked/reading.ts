/** Products with the states of every step: what they are made of, and how their columns fall into tiles. */
import type { Operand } from "@seqmix/tensor/backend";
import { stateType, type Bound, type Chunks, type Place } from "./layout.js";
import type { Score } from "./scores.js";
import { isMatrixTile, type MatrixTile, type TileShape } from "./tile.js";

/** The states before or the adjoint states behind all chunks; what those in f16 were multiplied with, [heads, chunks]. */
export interface StateArray {
  readonly buffer: number;
  readonly scales: number | undefined;
}

/** Bindings of states, and of their scales. */
export const boundStates = (chunks: Chunks, { buffer, scales }: StateArray): readonly Bound[] => [
  { name: "states", buffer, type: stateType(chunks) },
  ...(scales === undefined ? [] : [{ name: "stateScales", buffer: scales, type: "f32" } as const]),
];

export interface ReadPass {
  readonly state: "current" | "adjoint";
  readonly over: "keys" | "values";
  readonly x: Operand;
  /** The other side of the outer product. */
  readonly z: Operand;
  readonly score: Score;
  readonly buffers: { readonly states: StateArray; readonly table: number; readonly scores: number };
  /** Where the result is stored, if it is. */
  readonly to?: Place | undefined;
  /** The sums of the result's rows times another operand's, [heads, steps], by tile of columns. */
  readonly dots?: { readonly with: Operand; readonly to: number } | undefined;
}

/** The tile of a read, and how many of its columns there are. */
export function columnsOf(
  { sizes, K, V }: Chunks,
  over: "keys" | "values",
): { readonly shape: TileShape | MatrixTile; readonly tiles: number } {
  const width = over === "keys" ? V : K;
  const shape = width > 64 ? sizes.wide : sizes.narrow;
  return { shape, tiles: Math.ceil(width / shape.columns) };
}

/**
 * Whether sums of rows come apart: of the pairs of steps, then of the products with the adjoint states. Where products are of
 * rounded numbers the latter are summed from the chunk's beginning to a step. The sum of all of them would have to be
 * taken from states that were rounded otherwise, and where decays are strong the little that is left would be lost.
 */
export const separatesDots = (shape: TileShape | MatrixTile, state: "current" | "adjoint"): boolean =>
  isMatrixTile(shape) && shape.terms === 1 && state === "adjoint";
