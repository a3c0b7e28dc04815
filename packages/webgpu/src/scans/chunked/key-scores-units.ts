/**
 * Scores of keys with what decays between their steps, on matrix units. The chunk's steps are in parts of sixteen. Scores of two parts
 * are products of fragments: of later steps' vectors, decayed from the beginning of their part, and earlier ones', decayed to the
 * beginning of the later part. Within a part blocks of four steps are multiplied from edge to edge, and pairs within a block one by
 * one. No factor is larger than the recurrence's own.
 */
import { entryPoint, FRAGMENT, indent, type FragmentTexts, type GpuPass } from "@seqmix/tensor/wgsl";
import { PADDING, VECTOR } from "../../matmul/operand-texts.js";
import { splitFunctions } from "../../matmul/scaling.js";
import { SINCE, UNTIL } from "./key-decays.js";
import { stored, WITHIN } from "./key-scores.js";
import { declarations, passOf, splitHeads, type Chunks } from "./layout.js";
import type { Score } from "./scores.js";
import { distinct } from "./states.js";
import { rowText, vectors } from "./vector.js";

const FOUR = [0, 1, 2, 3] as const;
const ONES = "vec4<f32>(1.0)";
const NONE = "vec4<f32>()";
/** The same of sums. */
export const SUM_PITCH = FRAGMENT / 4 + 1,
  SUM_TILE = FRAGMENT * SUM_PITCH;
/** Steps of a chunk. */
export const UNITS_CHUNK = 64;
export const PARTS = UNITS_CHUNK / FRAGMENT,
  BLOCKS = UNITS_CHUNK / 4;

export const range = (n: number): number[] => Array.from({ length: n }, (_, k) => k);
/** Pairs of parts, the later one first; and pairs of blocks of one part. */
export const PAIRS = range(PARTS).flatMap((later) => range(later).map((earlier) => [later, earlier] as const));
const BLOCK_PAIRS = range(PARTS).flatMap((part) =>
  FOUR.flatMap((i) => range(i).map((j) => [4 * part + i, 4 * part + j] as const)),
);
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
const wordsOf = ({ ALL, COPIES }: Pick<Slices, "ALL" | "COPIES">, terms: 1 | 3): number =>
  Math.max((terms === 3 ? 2 : 1) * ALL, COPIES * PAIRS.length * SUM_TILE);

/** [heads, chunks, Q, Q]. @param terms Products of f16 for one of f32. @param workgroupBytes Workgroup memory that there is. */
export function keyScoresOnUnits(
  chunks: Chunks,
  score: Score,
  to: number,
  terms: 1 | 3,
  workgroupBytes: number,
): GpuPass {
  const sizes = ([32, 16] as const)
    .map((depth) => slicesOf(depth, terms, chunks.fragments))
    .find(({ bytes }, k) => k === 1 || bytes <= workgroupBytes)!;
  const { ACROSS, PITCH, ALL, TILE, THREADS, SHARE, COPIES } = sizes;
  const { parts, L, H, count, K4, operands, fragments } = chunks;
  const bound = distinct([
    { name: "later", ...vectors(operands.get(score.later)!) },
    { name: "earlier", ...vectors(operands.get(score.earlier)!) },
    { name: "decay", buffer: operands.get(parts.decay)!.buffer, type: "vec4<f32>" },
    { name: "scores", buffer: to, type: "vec4<f32>", access: "read_write" },
  ]);
  const read = (operand: Score["later"]): ((step: string, column: string) => string) =>
    rowText(chunks, operand, bound.nameOf(operands.get(operand)!.buffer));
  const [later, earlier, decay] = [read(score.later), read(score.earlier), read(parts.decay)];
  const slices = Math.ceil(K4 / ACROSS);
  const step = (r: number): string => `min(t0 + 4 * b + ${r}, ${L - 1})`;
  const inside = K4 % ACROSS === 0 ? "" : ` * here`;
  const body = `let number = i32(group);
if (number >= ${H * count}) { return; }
let lane = i32(thread);
let own = i32(${fragments.subgroup});
let h = number / ${count};
let c = number % ${count};
${splitHeads(chunks, "h", parts.form.heads)}
let t0 = c * ${UNITS_CHUNK};
let b = lane / ${ACROSS};
let x = lane % ${ACROSS};
let part = b / 4;
${range(PAIRS.length / 2)
  .map((k) => `var m${k} = ${fragments.zero};`)
  .join("\n")}
${FOUR.flatMap((r) => FOUR.map((k) => `var s${r}_${k} = 0.0;`)).join(" ")}
${WITHIN.map(([r, k]) => `var own${r}_${k} = 0.0;`).join(" ")}
var scales = vec2<i32>(253);
var pairsOf = blockPairs;
let pair = pairsOf[min(lane / ${SHARE}, ${BLOCK_PAIRS.length - 1})];
for (var slice = 0; slice < ${slices}; slice++) {
  let e = min(slice * ${ACROSS} + x, ${K4 - 1});
${inside === "" ? "" : `  let here = select(0.0, 1.0, slice * ${ACROSS} + x < ${K4});\n`}${FOUR.map((r) => `  let a${r} = ${decay(step(r), "e")};\n  let q${r} = ${later(step(r), "e")}${inside};\n  let k${r} = ${earlier(step(r), "e")}${inside};`).join("\n")}
  whole[lane] = a0 * a1 * a2 * a3;
${WITHIN.map(([r, k]) => `  own${r}_${k} += dot(q${r}, ${[`k${k}`, ...FOUR.filter((n) => n > k && n <= r).map((n) => `a${n}`)].reduce((y, z) => `(${y} * ${z})`)});`).join("\n")}
${FOUR.map((r) => `  sinceBlock[(4 * b + ${r}) * ${ACROSS} + x] = q${r} * (${SINCE[r]});\n  untilBlock[${r} * ${BLOCKS * ACROSS + 1} + lane] = k${r} * (${UNTIL[r]});`).join("\n")}
  workgroupBarrier();
  // from the part's beginning to the block, from the block to the part's end, and over the parts between
  var since = ${ONES};
  for (var n = 4 * part; n < b; n++) { since *= whole[n * ${ACROSS} + x]; }
  var until = ${ONES};
  for (var n = b + 1; n < 4 * part + 4; n++) { until *= whole[n * ${ACROSS} + x]; }
${FOUR.map((r) => `  let y${r} = sinceBlock[(4 * b + ${r}) * ${ACROSS} + x] * since;\n  var z${r} = untilBlock[${r} * ${BLOCKS * ACROSS + 1} + lane] * until;`).join("\n")}
${range(PARTS)
  .slice(1, -1)
  .map(
    (n) =>
      `  var over${n} = ${ONES};\n  for (var n = ${4 * n}; n < ${4 * n + 4}; n++) { over${n} *= whole[n * ${ACROSS} + x]; }`,
  )
  .join("\n")}
  var grown = ${ONES};
${range(PARTS)
  .slice(1, -1)
  .map((n) => `  if (part < ${n}) { grown = max(grown, grown * abs(over${n})); }`)
  .join("\n")}
  let yLargest = select(0.0, ${largest(FOUR.map((r) => `y${r}`))}, part > 0);
  let zLargest = select(0.0, ${largest(FOUR.map((r) => `z${r} * grown`))}, part < ${PARTS - 1});
  let yMost = ${fragments.largest("yLargest")};
  let zMost = ${fragments.largest("zLargest")};
  ${fragments.reporters === 1 ? `if (lane % 32 == 0) { mosts[lane / 32] = vec2<f32>(yMost, zMost); }` : `mosts[lane] = vec2<f32>(yMost, zMost);`}
  workgroupBarrier();
  var most = mosts[0];
  for (var n = 1; n < ${(THREADS / 32) * fragments.reporters}; n++) { most = max(most, mosts[n]); }
  // powers of two that bring the largest below 2^15; sums so far follow
  let wanted = min(scales, clamp(vec2<i32>(268) - vec2<i32>(bitcast<vec2<u32>>(most) >> vec2<u32>(23u)), vec2<i32>(1), vec2<i32>(253)));
  let less = wanted.x + wanted.y - scales.x - scales.y;
  if (less < 0) {
    let by = bitcast<f32>(u32(max(127 + less, 0)) << 23u);
${range(PAIRS.length / 2)
  .map((k) => `    m${k} = ${fragments.scale(`m${k}`, "by")};`)
  .join("\n")}
  }
  scales = wanted;
  let yScale = bitcast<f32>(scales.x << 23u);
  let zScale = bitcast<f32>(scales.y << 23u);
  let row = b % 4 * ${4 * PITCH} + x / 2;
  if (part > 0) {
    let at = (part - 1) * ${TILE} + row;
${indent(FOUR.map((r) => packed(`y${r} * yScale`, `at + ${r * PITCH}`, terms, ALL)).join("\n"), 2)}
  }
  for (var other = part + 1; other < ${PARTS}; other++) {
    let at = (${PARTS - 1} + other * (other - 1) / 2 + part) * ${TILE} + row;
${indent(FOUR.map((r) => packed(`z${r} * zScale`, `at + ${r * PITCH}`, terms, ALL)).join("\n"), 2)}
    let over = select(${NONE}, ${range(PARTS)
      .slice(1, -1)
      .reduceRight(
        (rest, n) => (n === PARTS - 2 ? `over${n}` : `select(${rest}, over${n}, other == ${n})`),
        "",
      )}, other < ${PARTS - 1});
${FOUR.map((r) => `    z${r} *= over;`).join("\n")}
  }
  workgroupBarrier();
${indent(fragmentProducts(fragments, sizes, terms))}
  if (lane < ${SHARE * BLOCK_PAIRS.length}) {
    for (var v = lane % ${SHARE}; v < ${ACROSS}; v += ${SHARE}) {
      var over = ${ONES};
      for (var n = pair.y + 1; n < pair.x; n++) { over *= whole[n * ${ACROSS} + v]; }
${FOUR.map((k) => `      let u${k} = untilBlock[${k} * ${BLOCKS * ACROSS + 1} + pair.y * ${ACROSS} + v] * over;`).join("\n")}
${FOUR.map((r) => `      let w${r} = sinceBlock[(4 * pair.x + ${r}) * ${ACROSS} + v];`).join("\n")}
${FOUR.flatMap((r) => FOUR.map((k) => `      s${r}_${k} += dot(w${r}, u${k});`)).join("\n")}
    }
  }
  workgroupBarrier();
}
${together(fragments, sizes)}
let undo = 254 - scales.x - scales.y;
let undoHalf = bitcast<f32>((127 + undo / 2) << 23u);
let undoRest = bitcast<f32>((127 + undo - undo / 2) << 23u);
let at = (h * ${count} + c) * ${(UNITS_CHUNK * UNITS_CHUNK) / 4};
for (var n = lane; n < ${BLOCKS * BLOCKS}; n += ${THREADS}) {
  let i = n / ${BLOCKS};
  let j = n % ${BLOCKS};
  if (i < j) { continue; }
  let mine = i / 4;
  let other = j / 4;
${FOUR.map((r) => `  var f${r} = ${NONE};`).join("\n")}
  if (mine > other) {
    let first = (mine * (mine - 1) / 2 + other) * ${SUM_TILE} + i % 4 * ${4 * SUM_PITCH} + j % 4;
${FOUR.map(
  (r) =>
    `    f${r} = (${range(COPIES)
      .map((n) => `bitcast<vec4<f32>>(tiles[first + ${r * SUM_PITCH + n * PAIRS.length * SUM_TILE}])`)
      .join(" + ")}) * undoHalf * undoRest;`,
).join("\n")}
  } else if (i > j) {
    let first = (6 * mine + (i % 4) * (i % 4 - 1) / 2 + j % 4) * ${4 * SHARE};
${FOUR.map(
  (r) =>
    `    f${r} = ${range(SHARE)
      .map((m) => `sinceBlock[first + ${4 * m + r}]`)
      .join(" + ")};`,
).join("\n")}
  } else {
    for (var m = 0; m < ${ACROSS}; m++) {
      let first = (i * ${ACROSS} + m) * 3;
      f0 += vec4<f32>(untilBlock[first].x, 0.0, 0.0, 0.0);
      f1 += vec4<f32>(untilBlock[first].yz, 0.0, 0.0);
      f2 += vec4<f32>(untilBlock[first].w, untilBlock[first + 1].xy, 0.0);
      f3 += vec4<f32>(untilBlock[first + 1].zw, untilBlock[first + 2].xy);
    }
  }
${indent(stored(UNITS_CHUNK, score, (r, k) => `f${r}[${k}]`))}
}`;
  const code = `${fragments.directives}${declarations(bound.list)}var<workgroup> tiles: array<vec4<u32>, ${wordsOf(sizes, terms)}>;
var<workgroup> sinceBlock: array<vec4<f32>, ${UNITS_CHUNK * ACROSS}>;
var<workgroup> untilBlock: array<vec4<f32>, ${UNITS_CHUNK * ACROSS + 4}>;
var<workgroup> whole: array<vec4<f32>, ${BLOCKS * ACROSS}>;
var<workgroup> mosts: array<vec2<f32>, ${(THREADS / 32) * fragments.reporters}>;
const blockPairs = array<vec2<i32>, ${BLOCK_PAIRS.length}>(${BLOCK_PAIRS.map(([i, j]) => `vec2<i32>(${i}, ${j})`).join(", ")});
${fragments.declare("tiles")}${splitFunctions}${entryPoint(THREADS, body, fragments.builtin)}`;
  return passOf(chunks, bound.list, H * count, code);
}

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

/** A subgroup has half of the pairs of parts, at half of the slice's keys. */
function fragmentProducts(fragments: FragmentTexts, { PITCH, TILE, ALL, COPIES }: Slices, terms: 1 | 3): string {
  const half = PAIRS.length / 2;
  const cases = range(2 * COPIES).map((q) => {
    const [at, first] = [q % COPIES, Math.floor(q / COPIES) * half];
    const load = (side: "left" | "right", tile: number, part: number): string =>
      fragments.load(
        side,
        side === "left" ? "row_major" : "col_major",
        "tiles",
        part * ALL + tile * TILE + (at * FRAGMENT) / VECTOR,
        PITCH,
      );
    const texts = PAIRS.slice(first, first + half).map(([later, earlier], k) => {
      const [y, z] = [later - 1, PARTS - 1 + (later * (later - 1)) / 2 + earlier];
      const names = terms === 3 ? ["yHigh", "zHigh", "yLow", "zLow"] : ["yHigh", "zHigh"];
      const loads = [load("left", y, 0), load("right", z, 0), load("left", y, 1), load("right", z, 1)];
      const add = (a: string, b: string): string => `m${k} = ${fragments.multiply(a, b, `m${k}`)};`;
      return `{\n${indent(
        [
          ...names.map((name, n) => `let ${name} = ${loads[n]};`),
          ...(terms === 3 ? [add("yLow", "zHigh"), add("yHigh", "zLow")] : []),
          add("yHigh", "zHigh"),
        ].join("\n"),
      )}\n}`;
    });
    return `  ${q === 0 ? "default" : `case ${q}`} {\n${indent(texts.join("\n"), 2)}\n  }`;
  });
  return `switch own {\n${cases.join("\n")}\n}`;
}

/** All sums in workgroup memory: of parts twice, of pairs of blocks and within blocks by thread. */
function together(fragments: FragmentTexts, { SHARE, COPIES }: Slices): string {
  const half = PAIRS.length / 2;
  const stores = range(half).map((k) =>
    fragments.store(
      "tiles",
      `u32((own % ${COPIES} * ${PAIRS.length} + own / ${COPIES} * ${half} + ${k}) * ${SUM_TILE})`,
      `m${k}`,
      `${SUM_PITCH}u`,
    ),
  );
  return `${stores.join("\n")}
if (lane < ${SHARE * BLOCK_PAIRS.length}) {
${FOUR.map((r) => `  sinceBlock[lane * 4 + ${r}] = vec4<f32>(${FOUR.map((k) => `s${r}_${k}`).join(", ")});`).join("\n")}
}
untilBlock[lane * 3] = vec4<f32>(own0_0, own1_0, own1_1, own2_0);
untilBlock[lane * 3 + 1] = vec4<f32>(own2_1, own2_2, own3_0, own3_1);
untilBlock[lane * 3 + 2] = vec4<f32>(own3_2, own3_3, 0.0, 0.0);
workgroupBarrier();`;
}
