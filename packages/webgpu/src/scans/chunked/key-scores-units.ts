/**
 * Scores of keys with what decays between their steps, on matrix units. The chunk's steps are in parts of sixteen. Scores of two parts
 * are products of fragments: of later steps' vectors, decayed from the beginning of their part, and earlier ones', decayed to the
 * beginning of the later part. Within a part blocks of four steps are multiplied from edge to edge, and pairs within a block one by
 * one. No factor is larger than the recurrence's own.
 */
import { entryPoint, FRAGMENT, indent, type FragmentTexts, type GpuPass } from "@seqmix/tensor/wgsl";
import { VECTOR } from "../../matmul/operand-texts.js";
import { splitFunctions } from "../../matmul/scaling.js";
import { SINCE, UNTIL } from "./key-decays.js";
import {
  grownText,
  largest,
  overPart,
  packed,
  PAIRS,
  partDecays,
  PARTS,
  range,
  slicesOf,
  SUM_PITCH,
  SUM_TILE,
  UNITS_CHUNK,
  wordsOf,
  BLOCKS,
  type Slices,
} from "./key-parts.js";
import { stored, WITHIN } from "./key-scores.js";
import { declarations, passOf, splitHeads, type Chunks } from "./layout.js";
import type { Score } from "./scores.js";
import { distinct } from "./states.js";
import { rowText, vectors } from "./vector.js";

const FOUR = [0, 1, 2, 3] as const;
const ONES = "vec4<f32>(1.0)";
const NONE = "vec4<f32>()";
/** Pairs of blocks of one part. */
const BLOCK_PAIRS = range(PARTS).flatMap((part) =>
  FOUR.flatMap((i) => range(i).map((j) => [4 * part + i, 4 * part + j] as const)),
);

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
  const { ACROSS, THREADS, SHARE } = sizes;
  const { parts, H, count, K4, operands, fragments } = chunks;
  const bound = distinct([
    { name: "later", ...vectors(operands.get(score.later)!) },
    { name: "earlier", ...vectors(operands.get(score.earlier)!) },
    { name: "decay", buffer: operands.get(parts.decay)!.buffer, type: "vec4<f32>" },
    { name: "scores", buffer: to, type: "vec4<f32>", access: "read_write" },
  ]);
  const read = (operand: Score["later"]): Read => rowText(chunks, operand, bound.nameOf(operands.get(operand)!.buffer));
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
for (var slice = 0; slice < ${Math.ceil(K4 / ACROSS)}; slice++) {
${indent(
  [
    rowsOfSlice(chunks, sizes, { later: read(score.later), earlier: read(score.earlier), decay: read(parts.decay) }),
    partDecays(ACROSS, "b"),
    scaledRows(fragments, sizes),
    tilesOfSlice(sizes, terms),
    fragmentProducts(fragments, sizes, terms),
    blockProducts(sizes),
  ].join("\n"),
)}
}
${together(fragments, sizes)}
let at = (h * ${count} + c) * ${(UNITS_CHUNK * UNITS_CHUNK) / 4};
${finished(sizes, score)}`;
  const code = `${fragments.directives}${declarations(bound.list)}var<workgroup> tiles: array<vec4<u32>, ${wordsOf(sizes, terms)}>;
var<workgroup> sinceBlock: array<vec4<f32>, ${UNITS_CHUNK * ACROSS}>;
var<workgroup> untilBlock: array<vec4<f32>, ${UNITS_CHUNK * ACROSS + 4}>;
var<workgroup> whole: array<vec4<f32>, ${BLOCKS * ACROSS}>;
var<workgroup> mosts: array<vec2<f32>, ${(THREADS / 32) * fragments.reporters}>;
const blockPairs = array<vec2<i32>, ${BLOCK_PAIRS.length}>(${BLOCK_PAIRS.map(([i, j]) => `vec2<i32>(${i}, ${j})`).join(", ")});
${fragments.declare("tiles")}${splitFunctions}${entryPoint(THREADS, body, fragments.builtin)}`;
  return passOf(chunks, bound.list, H * count, code);
}

type Read = (step: string, column: string) => string;

/** Reads four steps and keys of a thread, takes the pairs within its block, and lays its rows at the block's edges. */
function rowsOfSlice(
  { L, K4 }: Chunks,
  { ACROSS }: Slices,
  { later, earlier, decay }: Readonly<Record<"later" | "earlier" | "decay", Read>>,
): string {
  const step = (r: number): string => `min(t0 + 4 * b + ${r}, ${L - 1})`;
  const isWhole = K4 % ACROSS === 0;
  const inside = isWhole ? "" : " * here";
  const within = WITHIN.map(([r, k]) => {
    const between = FOUR.filter((n) => n > k && n <= r).map((n) => `a${n}`);
    return `own${r}_${k} += dot(q${r}, ${[`k${k}`, ...between].reduce((y, z) => `(${y} * ${z})`)});`;
  });
  return `let e = min(slice * ${ACROSS} + x, ${K4 - 1});
${isWhole ? "" : `let here = select(0.0, 1.0, slice * ${ACROSS} + x < ${K4});\n`}${FOUR.map((r) => `let a${r} = ${decay(step(r), "e")};\nlet q${r} = ${later(step(r), "e")}${inside};\nlet k${r} = ${earlier(step(r), "e")}${inside};`).join("\n")}
whole[lane] = a0 * a1 * a2 * a3;
${within.join("\n")}
${FOUR.map((r) => `sinceBlock[(4 * b + ${r}) * ${ACROSS} + x] = q${r} * (${SINCE[r]});\nuntilBlock[${r} * ${BLOCKS * ACROSS + 1} + lane] = k${r} * (${UNTIL[r]});`).join("\n")}
workgroupBarrier();`;
}

/** Rows at the edges of their part, and powers of two that bring the largest of all below 2^15; sums so far follow. */
const scaledRows = (fragments: FragmentTexts, { ACROSS, THREADS }: Slices): string => `${FOUR.map(
  (r) =>
    `let y${r} = sinceBlock[(4 * b + ${r}) * ${ACROSS} + x] * since;\nvar z${r} = untilBlock[${r} * ${BLOCKS * ACROSS + 1} + lane] * until;`,
).join("\n")}
${grownText("grown", "later")}
let yLargest = select(0.0, ${largest(FOUR.map((r) => `y${r}`))}, part > 0);
let zLargest = select(0.0, ${largest(FOUR.map((r) => `z${r} * grown`))}, part < ${PARTS - 1});
let toldMost = vec2<f32>(${fragments.largest("yLargest")}, ${fragments.largest("zLargest")});
${fragments.reporters === 1 ? "if (lane % 32 == 0) { mosts[lane / 32] = toldMost; }" : "mosts[lane] = toldMost;"}
workgroupBarrier();
var most = mosts[0];
for (var n = 1; n < ${(THREADS / 32) * fragments.reporters}; n++) { most = max(most, mosts[n]); }
let wanted = min(scales, clamp(vec2<i32>(268) - vec2<i32>(bitcast<vec2<u32>>(most) >> vec2<u32>(23u)), vec2<i32>(1), vec2<i32>(253)));
let less = wanted.x + wanted.y - scales.x - scales.y;
if (less < 0) {
  let by = bitcast<f32>(u32(max(127 + less, 0)) << 23u);
${range(PAIRS.length / 2)
  .map((k) => `  m${k} = ${fragments.scale(`m${k}`, "by")};`)
  .join("\n")}
}
scales = wanted;`;

/** Tiles of f16: of each part but the first, and of each for every later one. */
const tilesOfSlice = ({ PITCH, TILE, ALL }: Slices, terms: 1 | 3): string => {
  const rows = (name: string): string =>
    indent(FOUR.map((r) => packed(`${name}${r} * ${name}Scale`, `to + ${r * PITCH}`, terms, ALL)).join("\n"));
  return `let yScale = bitcast<f32>(scales.x << 23u);
let zScale = bitcast<f32>(scales.y << 23u);
let row = b % 4 * ${4 * PITCH} + x / 2;
if (part > 0) {
  let to = (part - 1) * ${TILE} + row;
${rows("y")}
}
for (var other = part + 1; other < ${PARTS}; other++) {
  let to = (${PARTS - 1} + other * (other - 1) / 2 + part) * ${TILE} + row;
${rows("z")}
  let over = ${overPart("other")};
${FOUR.map((r) => `  z${r} *= over;`).join("\n")}
}
workgroupBarrier();`;
};

/** Pairs of different blocks of one part, by multiply-adds. */
const blockProducts = ({ ACROSS, SHARE }: Slices): string => `if (lane < ${SHARE * BLOCK_PAIRS.length}) {
  for (var v = lane % ${SHARE}; v < ${ACROSS}; v += ${SHARE}) {
    var over = ${ONES};
    for (var n = pair.y + 1; n < pair.x; n++) { over *= whole[n * ${ACROSS} + v]; }
${FOUR.map((k) => `    let u${k} = untilBlock[${k} * ${BLOCKS * ACROSS + 1} + pair.y * ${ACROSS} + v] * over;`).join("\n")}
${FOUR.map((r) => `    let w${r} = sinceBlock[(4 * pair.x + ${r}) * ${ACROSS} + v];`).join("\n")}
${FOUR.flatMap((r) => FOUR.map((k) => `    s${r}_${k} += dot(w${r}, u${k});`)).join("\n")}
  }
}
workgroupBarrier();`;

/** Puts the scores of each pair of blocks together from where they were summed. */
function finished({ ACROSS, THREADS, SHARE, COPIES }: Slices, score: Score): string {
  const ofParts = FOUR.map(
    (r) =>
      `f${r} = (${range(COPIES)
        .map((n) => `bitcast<vec4<f32>>(tiles[first + ${r * SUM_PITCH + n * PAIRS.length * SUM_TILE}])`)
        .join(" + ")}) * undoHalf * undoRest;`,
  );
  const ofBlocks = FOUR.map(
    (r) =>
      `f${r} = ${range(SHARE)
        .map((m) => `sinceBlock[first + ${4 * m + r}]`)
        .join(" + ")};`,
  );
  return `let undo = 254 - scales.x - scales.y;
let undoHalf = bitcast<f32>((127 + undo / 2) << 23u);
let undoRest = bitcast<f32>((127 + undo - undo / 2) << 23u);
for (var n = lane; n < ${BLOCKS * BLOCKS}; n += ${THREADS}) {
  let i = n / ${BLOCKS};
  let j = n % ${BLOCKS};
  if (i < j) { continue; }
  let mine = i / 4;
  let other = j / 4;
${FOUR.map((r) => `  var f${r} = ${NONE};`).join("\n")}
  if (mine > other) {
    let first = (mine * (mine - 1) / 2 + other) * ${SUM_TILE} + i % 4 * ${4 * SUM_PITCH} + j % 4;
${indent(ofParts.join("\n"), 2)}
  } else if (i > j) {
    let first = (6 * mine + (i % 4) * (i % 4 - 1) / 2 + j % 4) * ${4 * SHARE};
${indent(ofBlocks.join("\n"), 2)}
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
