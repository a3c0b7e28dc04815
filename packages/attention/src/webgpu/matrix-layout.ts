/** How a tile on matrix units is shared by subgroups, and where its parts lie in workgroup memory. */
import { FRAGMENT, indent, type FragmentTexts } from "@seqmix/tensor/wgsl";
import type { Operand, Products, SumProduct } from "./engine.js";
import { range } from "./text.js";

/** How subgroups share a tile. */
export interface Grid {
  readonly down: number;
  readonly across: number;
}

/** How many products of f16 stand for one of f32. */
export type Terms = 1 | 3;

export interface MatrixTile {
  readonly rows: number;
  readonly columns: number;
  readonly scores: Grid;
  readonly sums: Grid;
  /** Whether weights have memory of their own, so that threads need not wait until all scores are read. */
  readonly apart?: boolean;
}

export const SUBGROUP = 32;
/** f16 numbers of a vector of workgroup memory, and those that a row of an operand has more, against bank conflicts. */
export const VECTOR = 8;
const PADDING = 8;

const subgroupsOf = ({ scores }: MatrixTile): number => scores.down * scores.across;
export const threadsOf = (tile: MatrixTile): number => SUBGROUP * subgroupsOf(tile);
/** Vectors from one row of an operand of this width to the next, and from one row of scores. */
export const pitchOf = (width: number): number => (width + PADDING) / VECTOR;
export const scorePitch = ({ columns }: MatrixTile): number => columns / 4 + 1;
/** Vectors from one row of weights to the next, and where the high and low parts of 16 neighbours begin in it. */
export const weightPitch = (tile: MatrixTile, terms: Terms): number =>
  tile.apart ? (tile.columns / VECTOR) * (terms === 3 ? 2 : 1) + 1 : scorePitch(tile);
export const weightStride = (tile: MatrixTile, terms: Terms): number => (tile.apart && terms === 1 ? 2 : 4);
export const partsOf = (terms: Terms): number[] => range(terms === 3 ? 2 : 1);

/** Vectors between rows of a strip of sums of so many fragments. */
export const stripPitch = (wide: number): number => (wide === 1 ? 4 : 4 * wide + 1);
export const stripSize = (tile: MatrixTile, wide: number): number => subgroupsOf(tile) * FRAGMENT * stripPitch(wide);

export interface Layout {
  /** First vectors of the blocks by operand, of high and low parts. */
  readonly places: ReadonlyMap<string, readonly number[]>;
  readonly regions: readonly number[];
  /** First vectors of the weights that take the place of a region's scores. */
  readonly weights: readonly number[];
  /** Vectors of the first block, through which sums leave in the loop. */
  readonly first: number;
  readonly size: number;
}

export const othersOf = ({ scores, sums }: Products): Operand[] => [
  ...new Map([...scores, ...sums].map(({ other }) => [other.name, other])).values(),
];
export const ownsOf = ({ scores }: Products): Operand[] => [
  ...new Map(scores.map(({ own }) => [own.name, own])).values(),
];

export function layoutOf(tile: MatrixTile, terms: Terms, products: Products): Layout {
  let size = 0;
  let first = 0;
  const places = new Map<string, readonly number[]>();
  for (const { name, width } of othersOf(products)) {
    const block = tile.columns * pitchOf(width);
    places.set(
      name,
      partsOf(terms).map((part) => size + part * block),
    );
    size += partsOf(terms).length * block;
    if (places.size === 1) size = first = Math.max(size, stripSize(tile, 1));
  }
  const count = new Set(products.scores.map(({ region }) => region)).size;
  const regions = range(count).map((n) => size + n * tile.rows * scorePitch(tile));
  size += count * tile.rows * scorePitch(tile);
  const weights = tile.apart ? range(count).map((n) => size + n * tile.rows * weightPitch(tile, terms)) : regions;
  if (tile.apart) size += count * tile.rows * weightPitch(tile, terms);
  const owns = ownsOf(products).map(({ width }) => tile.rows * pitchOf(width));
  return { places, regions, weights, first, size: Math.max(size, ...owns) };
}

/** Bytes of workgroup memory. */
export const matrixBytes = (tile: MatrixTile, terms: Terms, products: Products): number =>
  16 * layoutOf(tile, terms, products).size + 4 * (tile.rows + threadsOf(tile)) + 16;

/** A tile with what its texts are made from. */
export interface Unit {
  readonly tile: MatrixTile;
  readonly terms: Terms;
  readonly fragments: FragmentTexts;
  readonly products: Products;
  readonly layout: Layout;
}

/** Fragments of a subgroup's block of scores, and of sums of so many entries. */
export const scoreBlock = ({ rows, columns, scores }: MatrixTile): Grid => blockOf(rows, columns, scores);
export const sumBlock = ({ rows, sums }: MatrixTile, width: number): Grid => blockOf(rows, width, sums);
const blockOf = (rows: number, width: number, grid: Grid): Grid => ({
  down: rows / grid.down / FRAGMENT,
  across: width / grid.across / FRAGMENT,
});

/** Where a subgroup's block begins in the tile. */
export const corner = (
  grid: Grid,
  { down, across }: Grid,
  subgroup: number,
): readonly [row: number, column: number] => [
  Math.floor(subgroup / grid.across) * down * FRAGMENT,
  (subgroup % grid.across) * across * FRAGMENT,
];

/** Names of a block's fragments. */
export const fragmentNames = (name: string, { down, across }: Grid): string[] =>
  range(down).flatMap((i) => range(across).map((j) => `${name}${i}_${j}`));
export const sumNames = (tile: MatrixTile, { name, other }: SumProduct): string[] =>
  fragmentNames(name, sumBlock(tile, other.width));
export const keptName = ({ name }: Operand, part: number, i: number, step: number): string =>
  `kept_${name}${part}_${i}_${step}`;

/** A statement list for every subgroup, so that fragments have constant places. */
export function eachSubgroup(tile: MatrixTile, body: (subgroup: number) => string): string {
  const cases = range(subgroupsOf(tile)).map(
    (q) => `  ${q === 0 ? "default" : `case ${q}`} {\n${indent(body(q), 2)}\n  }`,
  );
  return `switch own {\n${cases.join("\n")}\n}`;
}

/** A fragment of what lies in workgroup memory. */
export const loadFragment = (
  { fragments }: Unit,
  side: "left" | "right",
  major: "row_major" | "col_major",
  at: number,
  pitch: number,
): string => fragments.load(side, major, "tiles", at, pitch);

/** One product of fragments, as one or three of f16. */
export function multiplied(
  { terms, fragments }: Unit,
  sum: string,
  left: (part: number) => string,
  right: (part: number) => string,
): string[] {
  const add = (a: number, b: number): string => `${sum} = ${fragments.multiply(left(a), right(b), sum)};`;
  return terms === 3 ? [add(1, 0), add(0, 1), add(0, 0)] : [add(0, 0)];
}
