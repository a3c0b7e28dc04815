/** Sizes of chunks and tiles, by what the adapter allows. */
import type { ChunkedParts } from "@seqmix/tensor/backend";
import type { GpuLimits } from "@seqmix/tensor/wgsl";
import type { Sizes } from "./layout.js";
import { matrixTileBytes } from "./matrix-tile.js";
import { decayBytes } from "./read.js";
import { bytesOfTile, isMatrixTile, threadsOf, type MatrixTile } from "./tile.js";

/** For any adapter; and for those with more workgroup memory. */
export const PORTABLE: Sizes = {
  chunk: 64,
  scores: { rows: 64, columns: 64, threadRows: 4, threadColumns: 4, depth: 16 },
  states: { rows: 64, columns: 64, threadRows: 4, threadColumns: 4, depth: 16 },
  narrow: { rows: 64, columns: 64, threadRows: 4, threadColumns: 4, depth: 16 },
  wide: { rows: 64, columns: 64, threadRows: 4, threadColumns: 4, depth: 16 },
};
const LARGE = {
  chunk: 128,
  scores: { rows: 64, columns: 64, threadRows: 8, threadColumns: 8, depth: 16 },
  states: { rows: 128, columns: 128, threadRows: 8, threadColumns: 8, depth: 16 },
  narrow: { rows: 128, columns: 64, threadRows: 8, threadColumns: 8, depth: 16 },
  wide: { rows: 128, columns: 128, threadRows: 8, threadColumns: 8, depth: 8 },
} satisfies Sizes;

const block = (rows: 16 | 32 | 64, columns: 16 | 32 | 64): MatrixTile["block"] => ({ rows, columns });

/** On matrix units: two numbers of f16 for each of f32, or one. */
const MATRIX = {
  3: {
    chunk: 128,
    scores: { rows: 64, columns: 64, depth: 32, block: block(32, 32), terms: 3 },
    groupedScores: { rows: 64, columns: 64, depth: 16, block: block(32, 32), terms: 3 },
    states: { rows: 128, columns: 128, depth: 16, block: block(64, 64), terms: 3 },
    narrow: { rows: 64, columns: 64, depth: 16, block: block(32, 32), terms: 3 },
    dotted: { rows: 64, columns: 64, depth: 16, block: block(32, 32), terms: 3 },
    apart: { rows: 64, columns: 64, depth: 16, block: block(32, 32), terms: 3 },
    wide: { rows: 64, columns: 128, depth: 16, block: block(64, 32), terms: 3 },
    grouped: { rows: 128, columns: 128, depth: 16, block: block(64, 64), terms: 3 },
  },
  1: {
    chunk: 128,
    scores: { rows: 64, columns: 64, depth: 32, block: block(32, 32), terms: 1, inBlocks: true },
    groupedScores: { rows: 64, columns: 64, depth: 32, block: block(32, 16), terms: 1 },
    states: { rows: 128, columns: 128, depth: 32, block: block(64, 64), terms: 1 },
    narrow: { rows: 64, columns: 64, depth: 32, block: block(32, 16), terms: 1 },
    dotted: { rows: 32, columns: 64, depth: 32, block: block(16, 32), terms: 1 },
    apart: { rows: 64, columns: 64, depth: 32, block: block(32, 32), terms: 1, inBlocks: true },
    wide: { rows: 64, columns: 128, depth: 32, block: block(32, 32), terms: 1, inBlocks: true },
    grouped: { rows: 128, columns: 128, depth: 32, block: block(64, 64), terms: 1, inBlocks: true },
  },
} as const satisfies Record<1 | 3, Sizes>;

/** Sizes for what the adapter has and the recurrence is. */
export function sizesFor(parts: ChunkedParts, limits: GpuLimits): Sizes {
  const { form } = parts;
  const { extents } = form.kernel;
  const [K, V] = [extents[form.keys]!, extents[form.values]!];
  const vector = form.decay.kind === "vector";
  const half = isHalf(parts);
  const terms = limits.products === "tf32" || half ? 1 : 3;
  const matrix = limits.matrixUnits ? matrixSizes(K, V, terms, half, limits) : undefined;
  if (matrix) return vector ? { ...matrix, chunk: 64, grouped: matrix.wide } : matrix;
  return vector ? keySizesOf(limits) : sizesOf(limits);
}

/** Whether what is multiplied is f16 to begin with. */
const isHalf = ({ drive, seed, results, form: { kernel } }: ChunkedParts): boolean =>
  [
    ...[drive, seed].flatMap((outer) => (outer ? [outer.keys, outer.values] : [])),
    ...results.flatMap(({ of }) => (of.kind === "read" ? [of.operand] : [])),
  ].every(({ from }) => "input" in from && kernel.inputs[from.input]!.dtype === "f16");

/** On matrix units, where keys and values are in whole fragments and the adapter has room. */
function matrixSizes(
  K: number,
  V: number,
  terms: 1 | 3,
  /** Operands are copied, which is faster in blocks. */
  half: boolean,
  { threads, workgroupBytes }: GpuLimits,
): (Sizes & { readonly wide: MatrixTile }) | undefined {
  if (K % 16 > 0 || V % 16 > 0) return undefined;
  const { chunk, scores, groupedScores, states, narrow, dotted, apart, wide, grouped } = MATRIX[terms];
  /** Slices end where keys and values do. */
  const own = (tile: MatrixTile): MatrixTile => ({
    ...tile,
    depth: ([64, 32] as const).find((depth) => depth <= tile.depth && K % depth === 0 && V % depth === 0) ?? 16,
  });
  const tiles = {
    scores: own(scores),
    groupedScores: own(groupedScores),
    states: { ...own(states), ...(half && { inBlocks: true }) },
    narrow: own(narrow),
    dotted: own(dotted),
    apart: own(apart),
    wide: own(wide),
    grouped: own(grouped),
  };
  const fits = Object.values(tiles).every(
    (tile) =>
      threadsOf(tile) <= threads && matrixTileBytes(tile) + decayBytes(chunk) + 16 * tile.rows <= workgroupBytes,
  );
  return fits ? { chunk, ...tiles } : undefined;
}

export function sizesOf({ threads, workgroupBytes }: Pick<GpuLimits, "threads" | "workgroupBytes">): Sizes {
  const fits = ({ chunk, narrow, wide, states }: Sizes): boolean =>
    [narrow, wide, states].every(
      (tile) =>
        threadsOf(tile) <= threads &&
        // the sums of rows, beside tile and decays
        !isMatrixTile(tile) &&
        bytesOfTile(tile) + decayBytes(chunk) + (4 * tile.rows * tile.columns) / tile.threadColumns <= workgroupBytes,
    );
  return fits(LARGE) ? LARGE : PORTABLE;
}

/** With decays by key. */
export const keySizesOf = (limits: Pick<GpuLimits, "threads" | "workgroupBytes">): Sizes =>
  sizesOf(limits) === LARGE
    ? {
        chunk: 64,
        scores: LARGE.scores,
        states: LARGE.states,
        narrow: { rows: 64, columns: 64, threadRows: 8, threadColumns: 8, depth: 16 },
        wide: { rows: 64, columns: 128, threadRows: 8, threadColumns: 8, depth: 16 },
      }
    : PORTABLE;
