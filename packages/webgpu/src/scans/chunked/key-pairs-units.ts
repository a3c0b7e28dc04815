/**
 * Pairs of steps with decays by key on matrix units. The chunk's steps are in parts of sixteen: what a part has of the others is
 * a product of fragments, of scores and of the others' rows decayed to the part's edge; pairs within a part are taken by
 * multiply-adds, block by block.
 */
import { FRAGMENT, indent, type FragmentTexts } from "@seqmix/tensor/wgsl";
import { splitFunctions } from "../../matmul/scaling.js";
import { SINCE, UNTIL } from "./key-decays.js";
import { edgesText, laterSteps, ofSide, type PairForm, type Side } from "./key-pairs.js";
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
  type Slices,
} from "./key-parts.js";
import type { Chunks } from "./layout.js";

const FOUR = [0, 1, 2, 3] as const;
const ONES = "vec4<f32>(1.0)";
/** Vectors between the rows of a tile of scores, and of the tile. */
const SCORE_PITCH = 3,
  SCORE_TILE = FRAGMENT * SCORE_PITCH;
/** Sums of a side by subgroup: those of one part with three others, or of two parts with one and two. */
const HALVES = {
  current: [
    [[3, 0, 1, 2]],
    [
      [1, 0],
      [2, 0, 1],
    ],
  ],
  adjoint: [
    [[0, 1, 2, 3]],
    [
      [2, 3],
      [1, 2, 3],
    ],
  ],
} as const;

const pairNumber = (later: number, earlier: number): number => (later * (later - 1)) / 2 + earlier;

/** Vectors of workgroup memory: scores, then rows. */
const words = ({ TILE }: Slices, parts: number): number => parts * PAIRS.length * (SCORE_TILE + TILE);
const bytesOf = (chunks: Chunks, slices: Slices, terms: 1 | 3): number =>
  16 *
  (words(slices, terms === 3 ? 2 : 1) +
    chunks.Q * slices.ACROSS +
    (chunks.Q / 4) * slices.ACROSS +
    slices.THREADS / (chunks.fragments.reporters === 1 ? 32 : 1));

/** @param terms Products of f16 for one of f32. @param workgroupBytes Workgroup memory that there is. */
export function pairsOnUnits(chunks: Chunks, terms: 1 | 3, workgroupBytes: number): PairForm {
  const { fragments } = chunks;
  const slices = ([32, 16] as const)
    .map((depth) => slicesOf(depth, terms, fragments))
    .find((each, k) => k === 1 || bytesOf(chunks, each, terms) <= workgroupBytes)!;
  const { ACROSS, THREADS } = slices;
  const reported = (THREADS / 32) * fragments.reporters;
  return {
    across: ACROSS,
    directives: fragments.directives,
    builtin: fragments.builtin,
    module: `var<workgroup> tiles: array<vec4<u32>, ${words(slices, terms === 3 ? 2 : 1)}>;
var<workgroup> mosts: array<vec4<f32>, ${reported}>;
${fragments.declare("tiles")}${splitFunctions}`,
    before: (sides) => preparation(chunks, slices, sides, terms),
    side: (side) => sideText(chunks, slices, side, terms),
  };
}

/** Decays to the parts' edges, the scales of all operands, and the scores as f16. */
function preparation(chunks: Chunks, { ACROSS, THREADS }: Slices, sides: readonly Side[], terms: 1 | 3): string {
  const { fragments, Q } = chunks;
  const total = PAIRS.length * FRAGMENT * 4;
  const some = range(total / THREADS);
  const tell =
    fragments.reporters === 1 ? "if (lane % 32 == 0) { mosts[lane / 32] = toldMost; }" : "mosts[lane] = toldMost;";
  return `let own = i32(${fragments.subgroup});
let part = i / 4;
workgroupBarrier();
${partDecays(ACROSS, "i")}
const laters = array<i32, ${PAIRS.length}>(${PAIRS.map(([later]) => later).join(", ")});
const earliers = array<i32, ${PAIRS.length}>(${PAIRS.map(([, earlier]) => earlier).join(", ")});
var latersOf = laters;
var earliersOf = earliers;
${some
  .map((n) => {
    const f = `(lane + ${n * THREADS})`;
    return `let later${n} = 4 * latersOf[${f} / ${4 * FRAGMENT}] + ${f} % 4;
let score${n} = ${laterSteps(chunks, `scores[at + (${FRAGMENT} * earliersOf[${f} / ${4 * FRAGMENT}] + ${f} / 4 % ${FRAGMENT}) * ${Q / 4} + later${n}]`, `later${n}`)};`;
  })
  .join("\n")}
${grownText("grownLater", "later")}
${grownText("grownEarlier", "earlier")}
let scoreMost = ${largest(some.map((n) => `score${n}`))};
${(["current", "adjoint"] as const)
  .map((state) => {
    const side = sides.find((each) => each.state === state);
    const rows =
      side &&
      `select(0.0, ${largest(FOUR.map((r) => `${atPart(side, r)} * ${state === "current" ? "grownLater" : "grownEarlier"}`))}, ${given(state)})`;
    return `let ${state}Most = ${rows ?? "0.0"};`;
  })
  .join("\n")}
let toldMost = vec4<f32>(${fragments.largest("scoreMost")}, ${fragments.largest("currentMost")}, ${fragments.largest("adjointMost")}, 0.0);
${tell}
workgroupBarrier();
var most = mosts[0];
for (var n = 1; n < ${(THREADS / 32) * fragments.reporters}; n++) { most = max(most, mosts[n]); }
// powers of two that bring the largest below 2^15
let scales = clamp(vec4<i32>(268) - vec4<i32>(bitcast<vec4<u32>>(most) >> vec4<u32>(23u)), vec4<i32>(1), vec4<i32>(253));
{
  let scale = bitcast<f32>(scales.x << 23u);
${indent(
  some
    .map((n) => {
      const f = `(lane + ${n * THREADS})`;
      const at = `${f} / 4 * ${SCORE_PITCH} + ${f} % 4 / 2`;
      return packed(`score${n} * scale`, at, terms, PAIRS.length * SCORE_TILE, `${f} % 2`);
    })
    .join("\n"),
)}
}`;
}

/** A side's rows at the part's edge, and whether another part reads them; whether a part has others to read. */
const atPart = ({ state, name }: Side, r: number): string =>
  state === "current" ? `${name}${r} * (${UNTIL[r]}) * until` : `${name}${r} * (${SINCE[r]}) * since`;
const given = (state: Side["state"]): string => (state === "current" ? `part < ${PARTS - 1}` : "part > 0");
const takes = (state: Side["state"]): string => (state === "current" ? "part > 0" : `part < ${PARTS - 1}`);

/** A side's sums: of other parts by way of fragments, of its own part block by block. */
function sideText(chunks: Chunks, slices: Slices, side: Side, terms: 1 | 3): string {
  const { fragments } = chunks;
  const { ACROSS, PITCH, TILE, COPIES } = slices;
  const { state } = side;
  const isCurrent = state === "current";
  const rowsAt = (terms === 3 ? 2 : 1) * PAIRS.length * SCORE_TILE;
  // tiles of the parts that read these rows, the nearest first
  const loop = isCurrent
    ? `for (var other = part + 1; other < ${PARTS}; other++)`
    : "for (var other = part - 1; other >= 0; other--)";
  const number = isCurrent ? "other * (other - 1) / 2 + part" : "part * (part - 1) / 2 + other";
  const written = FOUR.map((r) => packed(`row${r} * scale`, `to + ${r * PITCH}`, terms, PAIRS.length * TILE)).join(
    "\n",
  );
  const sumsAt = (target: string): string =>
    `${rowsAt} + (${target} * ${COPIES} + x / 4) * ${SUM_TILE} + i % 4 * ${4 * SUM_PITCH} + x % 4`;
  const factors = isCurrent ? FOUR.map((r) => `since * (${SINCE[r]})`) : FOUR.map((r) => `(${UNTIL[r]}) * until`);
  return `{
  let scale = bitcast<f32>(scales.${isCurrent ? "y" : "z"} << 23u);
${FOUR.map((r) => `  var row${r} = ${atPart(side, r)};`).join("\n")}
  ${loop} {
    let to = ${rowsAt} + (${number}) * ${TILE} + i % 4 * ${4 * PITCH} + x / 2;
${indent(written, 2)}
    let by = select(${ONES}, ${overPart("other")}, (other > 0) & (other < ${PARTS - 1}));
${FOUR.map((r) => `    row${r} *= by;`).join("\n")}
  }
}
${edgesText(side, ACROSS)}${range(2)
    .map((k) => `var ${state}Sum${k} = ${fragments.zero};`)
    .join("\n")}
${partProducts(fragments, slices, side, terms, rowsAt)}
${ofSide(chunks, side, ACROSS, isCurrent ? "4 * part" : `min(4 * part + 4, (${chunks.L + 3} - t0) / 4)`)}
workgroupBarrier();
${partSums(fragments, slices, side, rowsAt)}
workgroupBarrier();
if (${takes(state)}) {
  let undo = 254 - scales.x - scales.${isCurrent ? "y" : "z"};
  let undoHalf = bitcast<f32>((127 + undo / 2) << 23u);
  let undoRest = bitcast<f32>((127 + undo - undo / 2) << 23u);
  let first = ${sumsAt(isCurrent ? "(part - 1)" : "part")};
${FOUR.map((r) => `  ${state}${r} += bitcast<vec4<f32>>(tiles[first + ${r * SUM_PITCH}]) * undoHalf * undoRest * (${factors[r]});`).join("\n")}
}`;
}

/** By subgroup: a fragment's columns, and half of the pairs. */
const cases = ({ COPIES }: Slices, text: (column: number, half: 0 | 1) => string): string =>
  `switch own {\n${range(2 * COPIES)
    .map(
      (q) =>
        `  ${q === 0 ? "default" : `case ${q}`} {\n${indent(text(q % COPIES, Math.floor(q / COPIES) as 0 | 1), 2)}\n  }`,
    )
    .join("\n")}\n}`;

function partProducts(fragments: FragmentTexts, slices: Slices, { state }: Side, terms: 1 | 3, rowsAt: number): string {
  const { PITCH, TILE } = slices;
  const isCurrent = state === "current";
  return cases(slices, (column, half) =>
    HALVES[state][half]
      .flatMap(([target, ...others], k) =>
        others.map((other) => {
          const n = isCurrent ? pairNumber(target, other) : pairNumber(other, target);
          const left = (low: number): string =>
            fragments.load(
              "left",
              isCurrent ? "col_major" : "row_major",
              "tiles",
              (low * PAIRS.length + n) * SCORE_TILE,
              SCORE_PITCH,
            );
          const right = (low: number): string =>
            fragments.load("right", "row_major", "tiles", rowsAt + (low * PAIRS.length + n) * TILE + 2 * column, PITCH);
          const sum = `${state}Sum${k}`;
          const add = (a: string, b: string): string => `${sum} = ${fragments.multiply(a, b, sum)};`;
          return `{\n${indent(
            [
              `let scoreHigh = ${left(0)};`,
              `let rowHigh = ${right(0)};`,
              ...(terms === 3
                ? [
                    `let scoreLow = ${left(1)};`,
                    `let rowLow = ${right(1)};`,
                    add("scoreLow", "rowHigh"),
                    add("scoreHigh", "rowLow"),
                  ]
                : []),
              add("scoreHigh", "rowHigh"),
            ].join("\n"),
          )}\n}`;
        }),
      )
      .join("\n"),
  );
}

/** Stores the sums where the rows were: [parts that take any, columns]. */
function partSums(fragments: FragmentTexts, slices: Slices, { state }: Side, rowsAt: number): string {
  return cases(slices, (column, half) =>
    HALVES[state][half]
      .map(([target], k) => {
        const place = state === "current" ? target - 1 : target;
        return fragments.store(
          "tiles",
          `${rowsAt + (place * slices.COPIES + column) * SUM_TILE}u`,
          `${state}Sum${k}`,
          `${SUM_PITCH}u`,
        );
      })
      .join("\n"),
  );
}
