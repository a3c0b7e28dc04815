/**
 * What products of keys with their own decays have in common on matrix units: a chunk of 64 steps in parts of sixteen, whose vectors are
 * decayed to the parts' edges, so that pairs of different parts are products of fragments.
 */
import { FRAGMENT, indent, type FragmentTexts } from "@seqmix/tensor/wgsl";
import { PADDING, VECTOR } from "../../matmul/operand-texts.js";

const ONES = "vec4<f32>(1.0)";
/** Vectors between the rows of a tile of sums, and of the tile. */
export const SUM_PITCH = FRAGMENT / 4 + 1,
  SUM_TILE = FRAGMENT * SUM_PITCH;
/** Steps of a chunk. */
export const UNITS_CHUNK = 64;
export const PARTS = UNITS_CHUNK / FRAGMENT,
  BLOCKS = UNITS_CHUNK / 4;

export const range = (n: number): number[] => Array.from({ length: n }, (_, k) => k);
/** Pairs of parts, the later one first. */
export const PAIRS = range(PARTS).flatMap((later) => range(later).map((earlier) => [later, earlier] as const));
/** Sizes for slices of so many keys. */
export interface Slices {
  /** Vectors of four of them. */
  readonly ACROSS: number;
  /** Vectors between rows of f16 in workgroup memory, and of a part's rows; of all of them. */
  readonly PITCH: number;
  readonly TILE: number;
  readonly ALL: number;
  readonly THREADS: number;
  /** Threads of a pair of blocks. */
  readonly SHARE: number;
  /** Subgroups with the same pairs of parts. */
  readonly COPIES: number;
  readonly bytes: number;
}

export function slicesOf(depth: 16 | 32, terms: 1 | 3, { reporters }: FragmentTexts): Slices {
  const ACROSS = depth / 4;
  const PITCH = (depth + PADDING) / VECTOR;
  const TILE = FRAGMENT * PITCH;
  const ALL = (PARTS - 1 + PAIRS.length) * TILE;
  const THREADS = BLOCKS * ACROSS;
  const COPIES = depth / FRAGMENT;
  const words = wordsOf({ ALL, COPIES }, terms);
  const bytes = 16 * (words + 2 * UNITS_CHUNK * ACROSS + 4 + BLOCKS * ACROSS) + 8 * (THREADS / 32) * reporters;
  return { ACROSS, PITCH, TILE, ALL, THREADS, SHARE: ACROSS / 2, COPIES, bytes };
}

/** Vectors of workgroup memory for fragments, of operands and then of sums. */
export const wordsOf = ({ ALL, COPIES }: Pick<Slices, "ALL" | "COPIES">, terms: 1 | 3): number =>
  Math.max((terms === 3 ? 2 : 1) * ALL, COPIES * PAIRS.length * SUM_TILE);

/** Whole parts that can lie between two others. */
export const BETWEEN = range(PARTS).slice(1, -1);

/** Decays from the part's beginning to block `b`, from the block to the part's end, and over the parts between others. */
export const partDecays = (across: number, b: string): string => `var since = ${ONES};
for (var n = 4 * part; n < ${b}; n++) { since *= whole[n * ${across} + x]; }
var until = ${ONES};
for (var n = ${b} + 1; n < 4 * part + 4; n++) { until *= whole[n * ${across} + x]; }
${BETWEEN.map((n) => `var over${n} = ${ONES};\nfor (var n = ${4 * n}; n < ${4 * n + 4}; n++) { over${n} *= whole[n * ${across} + x]; }`).join("\n")}`;

/** The decay over a part of this number. */
export const overPart = (number: string): string =>
  BETWEEN.reduceRight((rest, n) => (rest === "" ? `over${n}` : `select(${rest}, over${n}, ${number} == ${n})`), "");

/** How much a part's vectors can grow on their way to any part that they are read from. */
export const grownText = (name: string, direction: "later" | "earlier"): string =>
  `var ${name} = ${ONES};
${(direction === "later" ? BETWEEN : BETWEEN.toReversed()).map((n) => `if (part ${direction === "later" ? "<" : ">"} ${n}) { ${name} = max(${name}, ${name} * abs(over${n})); }`).join("\n")}`;

/** The largest number of some vectors. */
export const largest = (texts: readonly string[]): string => {
  const all = texts.map((text) => `abs(${text})`).reduce((a, b) => `max(${a}, ${b})`);
  return `max(max((${all}).x, (${all}).y), max((${all}).z, (${all}).w))`;
};

/** Four halves of a vector of eight; with three terms their low parts too. */
export function packed(value: string, at: string, terms: 1 | 3, low: number, odd = "x % 2"): string {
  const words = (name: string, where: string): string =>
    `if (${odd} == 0) { tiles[${where}].x = pack2x16float(${name}.xy); tiles[${where}].y = pack2x16float(${name}.zw); }
else { tiles[${where}].z = pack2x16float(${name}.xy); tiles[${where}].w = pack2x16float(${name}.zw); }`;
  return terms === 1
    ? `{\n  let v = ${value};\n${indent(words("v", at))}\n}`
    : `{\n  let v = ${value};\n  let high = highPart(v);\n  let low = v - high;\n${indent(words("high", at))}\n${indent(words("low", `${at} + ${low}`))}\n}`;
}
