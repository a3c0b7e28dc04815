/** Which tile a product on matrix units gets, into how many parts k is divided, and how f32 operands become f16. */
import { nodesOf, product, type Epilogue, type MatmulSpec } from "@seqmix/tensor/backend";
import type { GpuLimits } from "@seqmix/tensor/wgsl";
import { matrixUnitBytes, matrixUnitThreads, type MatrixUnitTile, type Terms } from "./matrix-unit-form.js";
import { PACKED, type OperandReading } from "./operand-texts.js";
import { packedBytes, packingOf } from "./packing.js";
import { chooseDivision, divisionsOf } from "./program.js";

/** A tile with what a large GPU (132 processors) does with it, as for the tiles in f32. */
export interface TunedTile {
  readonly tile: MatrixUnitTile;
  readonly resident: number;
  /** By the number of operands whose neighbours follow k, of which a slice has no more than its depth in a row: none, one, both. */
  readonly speeds: readonly [number, number, number];
}

const block = (rows: 32 | 64, columns: 32 | 64): MatrixUnitTile["block"] => ({ rows, columns });

/** f16 operands: after products of 4096 x 4096 x 4096 on an H200. */
const halfTiles: readonly TunedTile[] = [
  {
    tile: { rows: 128, columns: 256, depth: 32, block: block(64, 64) },
    resident: 1,
    speeds: [143000, 134000, 125000],
  },
  {
    tile: { rows: 128, columns: 128, depth: 32, block: block(64, 64) },
    resident: 2,
    speeds: [152000, 140000, 128000],
  },
  {
    tile: { rows: 64, columns: 128, depth: 32, block: block(32, 64) },
    resident: 3,
    speeds: [110000, 98500, 88500],
  },
  {
    tile: { rows: 64, columns: 64, depth: 64, block: block(32, 32) },
    resident: 4,
    speeds: [88000, 88000, 88000],
  },
];

/** f32 operands as one f16 each, and as two: after the products of the benchmark on an H200. */
export const singleTiles: Readonly<Record<Terms, readonly TunedTile[]>> = {
  1: [
    { tile: { rows: 128, columns: 256, depth: 32, block: block(64, 64) }, resident: 1, speeds: [75000, 75000, 77000] },
    { tile: { rows: 128, columns: 128, depth: 32, block: block(64, 64) }, resident: 2, speeds: [65000, 66000, 70000] },
    { tile: { rows: 64, columns: 64, depth: 32, block: block(32, 32) }, resident: 4, speeds: [60000, 56000, 55000] },
  ],
  3: [
    { tile: { rows: 128, columns: 128, depth: 16, block: block(64, 64) }, resident: 2, speeds: [51000, 49000, 46000] },
    { tile: { rows: 64, columns: 128, depth: 16, block: block(64, 32) }, resident: 3, speeds: [40000, 32000, 30000] },
    { tile: { rows: 64, columns: 64, depth: 32, block: block(32, 32) }, resident: 4, speeds: [32000, 31000, 30000] },
  ],
};

/** The same with scales found on the way: for few lines, where operands are read once or twice. */
const foundTiles: Readonly<Record<Terms, readonly TunedTile[]>> = {
  1: [
    { tile: { rows: 64, columns: 64, depth: 64, block: block(32, 32) }, resident: 2, speeds: [40000, 40000, 40000] },
    { tile: { rows: 64, columns: 64, depth: 32, block: block(32, 32) }, resident: 2, speeds: [32000, 32000, 32000] },
    { tile: { rows: 128, columns: 64, depth: 32, block: block(64, 32) }, resident: 2, speeds: [42000, 42000, 42000] },
  ],
  3: [{ tile: { rows: 64, columns: 64, depth: 32, block: block(32, 32) }, resident: 2, speeds: [26000, 26000, 26000] }],
};

/** The same of packed operands. */
const packedTiles: Readonly<Record<Terms, readonly TunedTile[]>> = {
  1: [
    {
      tile: { rows: 128, columns: 128, depth: 32, block: block(64, 64) },
      resident: 2,
      speeds: [146000, 146000, 146000],
    },
  ],
  3: [
    { tile: { rows: 128, columns: 64, depth: 16, block: block(64, 32) }, resident: 2, speeds: [70000, 70000, 70000] },
  ],
};

/**
 * Depths over which matrix units sum f32 products as exactly as f32: they cut sums instead of rounding them, so errors grow
 * with the depth (4e-6 of the largest element after 1,024 on an H200, 2e-5 after 4,096).
 */
export const LONGEST_SUM = 1024;

/**
 * Bytes a nanosecond that largest sizes are found at and results are stored at, that operands are copied at, that results are
 * stored at through workgroup memory, and by tiles that scale whole fragments.
 */
export const COPYING = 2700;
const READING = 3000,
  STORING = 1000,
  STORING_SCALED = 1500;
/** Nanoseconds that finding scales takes a tile before and after its product, on an H200. */
const FINDING = 9500;
/**
 * Nanoseconds of the dispatches that find the largest sizes, each of which takes 3 us on the GPU and 7 on the host, which
 * steps of small products wait for; and of those that find them and pack, which large ones do not.
 */
export const DISPATCHES = 20000,
  PACKINGS = 12000;
/**
 * How f32 operands become f16: by every tile, with largest sizes of lines from a pass before or found on the way; or once,
 * by a pass that packs them.
 */
export type Scaling = "given" | "found" | "packed";

export interface Choice {
  readonly how: Scaling;
  readonly tile: MatrixUnitTile;
  readonly slice: number;
  readonly parts: number;
  readonly time: number;
}

/** What tests and measurements choose themselves. */
export interface TileOptions {
  /** The tiles to choose from, also where plain ones are faster, by default with sizes that are found before. */
  readonly tiles?: readonly TunedTile[] | undefined;
  /** How f32 operands become f16 there: by default as is fastest. */
  readonly how?: Scaling | undefined;
}

/** Bytes an element that packing reads and writes, the largest sizes among them. */
const PACKING: Readonly<Record<Terms, number>> = { 1: 10, 3: 12 };
/** Depth and elements of products whose results take the time. */
const SHORT_SUM = 128,
  LARGE_RESULT = 2 ** 25;
/** Elements that fill a large GPU with small tiles several times over, and readings of an epilogue that take longer than storing. */
const MANY_RESULTS = 2 ** 22,
  MANY_READINGS = 3;
/** Bytes that packed operands may take. */
const MOST_PACKED = 2 ** 28 + 2 ** 26;

/** The tile and parts of k with which the product is done first, unless plain tiles are faster. */
export function chooseTile(
  shape: MatmulSpec,
  terms: Terms,
  a: OperandReading,
  b: OperandReading,
  limits: GpuLimits,
  epilogue: Epilogue | undefined,
  { tiles, how }: TileOptions,
): Choice | undefined {
  const size = product(shape.batch) * shape.m * shape.n;
  const stores = a.stored === "f16" ? 0 : (4 * size) / COPYING;
  const small = waitsForEpilogue(shape, epilogue);
  const plain = tiles || small ? Infinity : chooseDivision(shape, limits.workgroupBytes).time + stores;
  const candidates: (readonly [Scaling, readonly TunedTile[]])[] = tiles
    ? [[how ?? "given", tiles]]
    : small
      ? [["given", (a.stored === "f16" ? halfTiles : singleTiles[terms]).filter(isSmall)]]
      : a.stored === "f16"
        ? [["given", halfTiles]]
        : [
            ["given", singleTiles[terms]],
            ["found", foundTiles[terms]],
            ["packed", fitsPacked(shape, terms, limits, epilogue) ? packedTiles[terms] : []],
          ];
  const choices = candidates.flatMap(([scaling, some]) =>
    some.flatMap((tuned) => choicesOf(shape, terms, { a, b }, limits, epilogue, scaling, tuned)),
  );
  const best = choices.reduce<Choice | undefined>((x, y) => (x && x.time <= y.time ? x : y), undefined);
  return best && best.time < plain ? best : undefined;
}

const isSmall = ({ tile }: TunedTile): boolean => tile.rows === 64 && tile.columns === 64;

/**
 * Whether most of the time is that of reading what an epilogue computes with: small tiles, of which a processor has many, read
 * while others wait. 8192 x 1536 x 80 with five readings an element took 198 us in plain tiles on an H200, and in these 0.42 of
 * what those took side by side, while other work had the card too.
 */
function waitsForEpilogue({ batch, m, n, k }: MatmulSpec, epilogue: Epilogue | undefined): boolean {
  if (!epilogue || k > SHORT_SUM || product(batch) * m * n < MANY_RESULTS) return false;
  return [...nodesOf([epilogue.value])].filter(({ op }) => op === "load").length >= MANY_READINGS;
}

/** Whether packed operands, and what else tiles read beside them, fit in bindings, and in the memory that may be taken. */
function fitsPacked(shape: MatmulSpec, terms: Terms, limits: GpuLimits, epilogue: Epilogue | undefined): boolean {
  // In two parts, tiles are as fast where they convert operands themselves, unless results take the time.
  const size = product(shape.batch) * shape.m * shape.n;
  if (terms === 3 && (shape.k > SHORT_SUM || size < LARGE_RESULT)) return false;
  const bytes = (["a", "b"] as const).map((name) => packedBytes(packingOf(shape, name, terms, 32)));
  return (
    bytes.every((each) => each <= limits.bytes) &&
    bytes[0]! + bytes[1]! <= MOST_PACKED &&
    (epilogue?.inputs.length ?? 0) + 7 <= limits.buffers
  );
}

function choicesOf(
  shape: MatmulSpec,
  terms: Terms,
  { a, b }: Readonly<Record<"a" | "b", OperandReading>>,
  { workgroupBytes, threads }: GpuLimits,
  epilogue: Epilogue | undefined,
  how: Scaling,
  tuned: TunedTile,
): Choice[] {
  const { batch, m, n, k } = shape;
  const { tile, speeds } = tuned;
  const form = { tile, terms, found: how === "found", ...(how === "packed" ? { a: PACKED, b: PACKED } : { a, b }) };
  if (matrixUnitBytes(form) > workgroupBytes || matrixUnitThreads(tile) > threads) return [];
  const batches = product(batch);
  const size = batches * m * n;
  const divisions = divisionsOf(
    { ...tuned, speed: speeds[Number(a.alongDepth) + Number(b.alongDepth)]! },
    batches,
    m,
    n,
    k,
    size,
    // An epilogue is computed once, from the whole sum.
    terms === 3
      ? { least: epilogue ? Math.ceil(k / LONGEST_SUM) : 1, longest: LONGEST_SUM }
      : { rounds: how === "packed" ? 2 : 1 },
  );
  const elements = batches * (m + n) * k;
  const before = {
    given: a.stored === "f16" ? 0 : DISPATCHES + (4 * elements) / READING,
    found: FINDING,
    packed: PACKINGS + (PACKING[terms] * elements) / COPYING,
  }[how];
  return divisions.map(({ slice, parts, time }) => {
    const strips = how === "given" || (epilogue !== undefined && parts === 1);
    const bandwidth = strips ? STORING : STORING_SCALED;
    // What a sum is cut into beyond the first piece is added to memory.
    const pieces = terms === 3 ? Math.ceil(slice / LONGEST_SUM) : 1;
    const storing = a.stored === "f16" ? 0 : (4 * size) / bandwidth + (8 * size * (pieces - 1)) / STORING;
    return { how, tile, slice, parts, time: time + before + storing };
  });
}
