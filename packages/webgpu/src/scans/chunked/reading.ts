/** Products with the states of every step: what they are made of, and how their columns fall into tiles. */
import type { Operand } from "@seqmix/tensor/backend";
import { slicedAxis, type Chunks, type Place } from "./layout.js";
import type { Score } from "./scores.js";
import { isMatrixTile, type MatrixTile, type TileShape } from "./tile.js";

export interface ReadPass {
  readonly state: "current" | "adjoint";
  readonly over: "keys" | "values";
  readonly x: Operand;
  /** The other side of the outer product. */
  readonly z: Operand;
  readonly score: Score;
  readonly buffers: { readonly states: number; readonly table: number; readonly scores: number };
  /** Where the result is stored, if it is. */
  readonly to?: Place | undefined;
  /** The sums of the result's rows times another operand's, [heads, steps], by tile of columns. */
  readonly dots?: { readonly with: Operand; readonly to: number } | undefined;
}

/** What a read multiplies, and the operand that scores multiply it with. */
export interface Reading {
  readonly over: "keys" | "values";
  readonly x: Operand;
  readonly partner: Operand;
}

interface Columns {
  readonly shape: TileShape | MatrixTile;
  /** Tiles of columns, of a head or of those together. */
  readonly tiles: number;
  /** On matrix units: an axis of heads along the columns, where they share all but states and values, and heads in a tile. */
  readonly shared: number | undefined;
  readonly inTile: number;
}

/** How the columns of a result fall into tiles. */
export function columnsOf(chunks: Chunks, { over, x, partner }: Reading): Columns {
  const { sizes, K, V, parts, keyDecays } = chunks;
  const { heads } = parts.form;
  const width = over === "keys" ? V : K;
  const { wide } = sizes;
  if (over === "keys" && isMatrixTile(wide) && !keyDecays) {
    const inTile = wide.columns / V;
    const shared = heads.find(
      (axis) => !x.axes.includes(axis) && !partner.axes.includes(axis) && chunks.extents[axis]! % inTile === 0 && axis !== slicedAxis(chunks),
    );
    if (shared !== undefined && inTile > 1 && Number.isInteger(inTile) && V % wide.block.columns === 0)
      return { shape: wide, tiles: chunks.extents[shared]! / inTile, shared, inTile };
  }
  const shape = width > 64 ? wide : sizes.narrow;
  return { shape, tiles: Math.ceil(width / shape.columns), shared: undefined, inTile: 1 };
}

/** The operand that scores multiply a read's with. */
export const partnerOf = ({ x, score }: Pick<ReadPass, "x" | "score">): Operand =>
  score.earlier === x ? score.later : score.earlier;
