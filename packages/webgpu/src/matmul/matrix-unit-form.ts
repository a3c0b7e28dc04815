/** What a product on matrix units is made of: its tile, how operands lie in memory and in workgroup memory. */
import { FRAGMENT, type FragmentTexts } from "@seqmix/tensor/wgsl";
import { pitchOf, type OperandReading } from "./operand-texts.js";
import type { Packing } from "./packing.js";
import type { EpilogueCode } from "./text.js";

/** Threads of a subgroup. */
export const SUBGROUP = 32;

export interface MatrixUnitTile {
  readonly rows: 64 | 128 | 256;
  readonly columns: 64 | 128 | 256;
  /** Steps along k that are in workgroup memory at a time. */
  readonly depth: 16 | 32 | 64;
  /** What a subgroup computes. */
  readonly block: { readonly rows: 32 | 64; readonly columns: 32 | 64 };
}

/** How many products of f16 stand for one of f32: the high parts alone (10 bits of mantissa, as tf32), or also high with low. */
export type Terms = 1 | 3;

export interface MatrixUnitCode {
  readonly tile: MatrixUnitTile;
  readonly fragments: FragmentTexts;
  readonly a: OperandReading;
  readonly b: OperandReading;
  readonly terms: Terms;
  readonly batchAxes: number;
  /** Whether a slice may end within the tile's depth. */
  readonly ragged: boolean;
  /**
   * Whether fragments with one scale are stored at once, where n is a multiple of four: never, in tiles that do not reach
   * beyond the result, or always. The others go through workgroup memory, which is faster for those of f16 operands.
   */
  readonly direct: "never" | "inside" | "always";
  /** Whether four neighbours of the result are stored at once; only where none is stored directly. */
  readonly storesVectors: boolean;
  /** Depths after which sums are added to the result in memory and begun anew: those of matrix units are cut, not rounded. */
  readonly stretch?: number;
  readonly epilogue?: EpilogueCode;
  /** Whether scales of f32 operands are found on the way, else they are given. */
  readonly found?: boolean;
  /** Of packed operands. */
  readonly packed?: Readonly<Record<"a" | "b", Packing>>;
  /** How f32 operands lie in memory, of packed ones before that. */
  readonly sources?: Readonly<Record<"a" | "b", OperandReading>>;
  /** How the result is kept. */
  readonly result: "f32" | "f16";
}

/** Invocations of a workgroup. */
export const matrixUnitThreads = ({ rows, columns, block }: MatrixUnitTile): number =>
  SUBGROUP * (rows / block.rows) * (columns / block.columns);

/** Vectors of four words of a slice, or of a block of it. */
const sliceVectors = (lines: number, depth: number, alongDepth: boolean): number =>
  alongDepth ? lines * pitchOf(depth) : depth * pitchOf(lines);

/** Vectors between the rows of a strip of results in workgroup memory: one more than needed, against bank conflicts. */
export const stripPitch = ({ block }: MatrixUnitTile): number => block.columns / 4 + 1;
const stripVectors = (tile: MatrixUnitTile): number =>
  ((FRAGMENT * matrixUnitThreads(tile)) / SUBGROUP) * stripPitch(tile);

type LayoutForm = Pick<MatrixUnitCode, "tile" | "terms" | "a" | "b" | "found">;

interface Layout {
  /** Where slices begin, of high and, perhaps, of low parts; in blocks, the first of them. */
  readonly a: readonly number[];
  readonly b: readonly number[];
  /** Vectors; or blocks of so many. */
  readonly size: number;
  readonly blockLength?: number;
}

/** Where slices lie in workgroup memory: high parts of A and B, then low ones. Results take the place of the slices. */
export function layout(form: LayoutForm): Layout {
  const { tile, a, b, terms, found = false } = form;
  if (a.stored !== "f32" || found) return layoutInBlocks(form);
  const [aSize, bSize] = [
    sliceVectors(tile.rows, tile.depth, a.alongDepth),
    sliceVectors(tile.columns, tile.depth, b.alongDepth),
  ];
  const both = aSize + bSize;
  const slices = terms === 1 ? both : 2 * both;
  return {
    a: terms === 1 ? [0] : [0, both],
    b: terms === 1 ? [aSize] : [aSize, both + aSize],
    size: Math.max(slices, stripVectors(tile)),
  };
}

/** Blocks of A, one for each row of subgroups, then of B, then those of low parts; a strip of a subgroup's results takes a block. */
function layoutInBlocks({ tile, a, b, terms }: LayoutForm): Layout {
  const [down, across] = [tile.rows / tile.block.rows, tile.columns / tile.block.columns];
  const both = down + across;
  return {
    a: terms === 1 ? [0] : [0, both],
    b: terms === 1 ? [down] : [down, both + down],
    size: Math.max(terms === 1 ? both : 2 * both, down * across),
    blockLength: Math.max(
      sliceVectors(tile.block.rows, tile.depth, a.alongDepth),
      sliceVectors(tile.block.columns, tile.depth, b.alongDepth),
      FRAGMENT * stripPitch(tile),
    ),
  };
}

/** Bytes of workgroup memory. */
export function matrixUnitBytes(form: LayoutForm): number {
  const { size, blockLength = 1 } = layout(form);
  const sizes = form.found ? 8 * (form.tile.rows + form.tile.columns) + 16 : 0;
  return 16 * size * blockLength + sizes;
}

/** The fragments of a subgroup's block. */
export const blockFragments = ({ block }: MatrixUnitTile): { name: string; row: number; column: number }[] =>
  Array.from({ length: block.rows / FRAGMENT }, (_, i) =>
    Array.from({ length: block.columns / FRAGMENT }, (_, j) => ({
      name: `s${i}_${j}`,
      row: FRAGMENT * i,
      column: FRAGMENT * j,
    })),
  ).flat();
