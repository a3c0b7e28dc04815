/**
 * Rows of keys with decays by key, of a head's chunk: later steps' decayed from before the chunk and earlier ones' to its end, for
 * products with states; and scores, the products of both with what decays between them.
 *
 * A thread brings blocks of four steps and four keys into workgroup memory, for each level of halves decayed to the boundary
 * that the block is at (see `key-decays.ts`); pairs within its block it takes one by one. Then a thread has a pair of blocks.
 */
import type { ChunkedParts, Operand } from "@seqmix/tensor/backend";
import { entryPoint, indent, type GpuPass } from "@seqmix/tensor/wgsl";
import type { Build } from "./build.js";
import { decaySource, decayTexts, halvesOf, othersOf, SINCE, UNTIL, type DecaySource } from "./key-decays.js";
import {
  distinct,
  baseText,
  declarations,
  isRagged,
  passOf,
  splitHeads,
  strideOf,
  type Bound,
  type Chunks,
  type Place,
} from "./layout.js";
import type { Score } from "./scores.js";
import { FOUR, NONE, ONES, rowText, vectors } from "./vector.js";

/** Pairs of steps of a block, the later one first. */
const WITHIN = FOUR.flatMap((r) => FOUR.filter((k) => k <= r).map((k) => [r, k] as const));

/** Buffers of what these passes make, [heads, steps of all chunks, keys] if nothing else is said. */
export interface KeyRows {
  /** What decays are computed from, if they are no array. */
  readonly source: DecaySource | undefined;
  /** Rows decayed from before their chunk, and to its end. */
  readonly later: ReadonlyMap<Operand, number>;
  readonly earlier: ReadonlyMap<Operand, number>;
  /** Those of the seed in the first chunk, decayed from its first step: [heads, steps, keys]. */
  readonly begin: number | undefined;
  /** Decays of whole chunks [heads, chunks, keys]; behind them with `begin` those of the first from behind its first step. */
  readonly whole: number;
  /** What these are at most [heads, chunks], for states in f16. */
  readonly mosts: number | undefined;
  readonly passes: readonly KeyRowsPass[];
}

/** What one pass makes. */
export interface KeyRowsPass {
  readonly later?: Operand | undefined;
  readonly earlier?: Operand | undefined;
  readonly score?: Score | undefined;
  /** Whether the rows are kept. */
  readonly keeps: { readonly later: boolean; readonly earlier: boolean };
}

/** The rows and scores that a program needs, by pass: whoever reads rows of keys with states, and the states themselves. */
export function keyRowsOf({ parts, block, limits }: Build, chunks: Chunks): KeyRows {
  const { drive, seed, results } = parts;
  const { H, Q, K4, count, halfStates } = chunks;
  const later = new Map<Operand, number>();
  const earlier = new Map<Operand, number>();
  const passes: KeyRowsPass[] = [];
  const rows = (of: Map<Operand, number>, operand: Operand | undefined): boolean => {
    if (!operand || of.has(operand)) return false;
    of.set(operand, block(4 * H * keyRowVectors(chunks)));
    return true;
  };
  const reads = results.flatMap(({ of }) => (of.kind === "read" && of.over === "keys" ? [of] : []));
  const scores = reads.map(({ state, operand }) => keyScore(parts, state, operand));
  const first = scores.find((score) => score.later === (seed?.keys ?? score.later) && score.earlier === drive.keys);
  const pass = (score: Score | undefined, [q, k]: readonly [Operand | undefined, Operand | undefined]): void => {
    passes.push({ later: q, earlier: k, score, keeps: { later: rows(later, q), earlier: rows(earlier, k) } });
  };
  // the first has the rows that the states are made of
  pass(first, [seed?.keys ?? first?.later, drive.keys]);
  for (const score of scores) if (score !== first) pass(score, [score.later, score.earlier]);
  const begins = results.some(({ of }) => of.kind === "first");
  return {
    source: decaySource(parts, limits.buffers),
    later,
    earlier,
    begin: begins ? block(4 * H * Q * K4) : undefined,
    whole: block(4 * H * (count + (begins ? 1 : 0)) * K4),
    mosts: halfStates ? block(H * count) : undefined,
    passes,
  };
}

/** The scores of a read that sums over keys. */
export const keyScore = ({ drive, seed }: ChunkedParts, state: "current" | "adjoint", x: Operand): Score =>
  state === "current"
    ? { earlier: drive.keys, later: x, rows: "earlier", over: "keys" }
    : { earlier: x, later: seed!.keys, rows: "later", over: "keys" };

/** Vectors of a chunk's rows of a head. */
export const keyRowVectors = ({ count, Q, K4 }: Chunks): number => count * Q * K4;

/** The first vector of an operand at a step of the sequence, or of its rows in a buffer of their own. */
export const placeOfRows = (chunks: Chunks, rows: number | undefined, place: Place, step: string): string =>
  rows === undefined
    ? `${baseText(chunks, place, 4)} + (${step}) * ${strideOf(chunks, place, 4)}`
    : `h * ${keyRowVectors(chunks)} + (${step}) * ${chunks.K4}`;

/** Four-key vectors of a slice, where workgroup memory has room; two have it on any adapter. */
const SLICES = [4, 2] as const;

interface Slice {
  readonly across: number;
  readonly blocks: number;
  readonly threads: number;
  /** Vectors from a vector of keys to the next in a level's rows, and of a level. */
  readonly pitch: number;
  readonly level: number;
  /** Vectors in workgroup memory. */
  readonly rows: number;
}

function sliceOf({ Q }: Chunks, workgroupBytes: number): Slice {
  const blocks = Q / 4;
  const pitch = 4 * blocks + 1;
  const pairs = (blocks * (blocks - 1)) / 2;
  const all = SLICES.map((across): Slice => {
    const level = across * pitch;
    const threads = Math.max(across * blocks, 32 * Math.ceil(pairs / 32), 4 * blocks);
    return {
      across,
      blocks,
      threads,
      pitch,
      level,
      rows: Math.max(halvesOf(blocks).length * level, 4 * across * blocks),
    };
  });
  return all.find(({ across, rows }) => 16 * (rows + blocks * across) <= workgroupBytes) ?? all.at(-1)!;
}

/** For the threads that have a block of the slice. */
const onBlocks = ({ across, blocks, threads }: Slice, text: string): string =>
  threads === across * blocks ? text : `if (lane < ${across * blocks}) {\n${indent(text)}\n}`;

/** @param first The pass that leaves the decays of whole chunks, and rows from the first step on. @param to Where scores go. */
export function keyRowsPass(
  chunks: Chunks,
  rows: KeyRows,
  own: KeyRowsPass,
  {
    first,
    to,
    workgroupBytes,
  }: { readonly first: boolean; readonly to?: number | undefined; readonly workgroupBytes: number },
): GpuPass {
  const { Q, H, count, K4, parts, operands } = chunks;
  const { later, earlier, score, keeps } = own;
  const slice = sliceOf(chunks, workgroupBytes);
  const { across, blocks, threads } = slice;
  const decays = decayTexts(chunks, rows.source);
  const begin = first && keeps.later && later === parts.seed?.keys ? rows.begin : undefined;
  const mosts = first ? rows.mosts : undefined;
  const given = distinct([
    ...(later ? [{ name: "later", ...vectors(operands.get(later)!) }] : []),
    ...(earlier ? [{ name: "earlier", ...vectors(operands.get(earlier)!) }] : []),
  ]);
  const bound = [...given.list, ...decays.bound, ...boundResults(rows, own, { first, to, begin, mosts })];
  const read = (operand: Operand): ReturnType<typeof rowText> =>
    rowText(chunks, operand, given.nameOf(operands.get(operand)!.buffer));
  const work: Work = { chunks, slice, own, begin: begin !== undefined, mosts: mosts !== undefined, first };
  const load = loadText(work, decays.at, { later: later && read(later), earlier: earlier && read(earlier) });
  const stages = (text: string): string => (text === "" ? text : onBlocks(slice, text));
  const body = `let number = i32(group);
if (number >= ${H * count}) { return; }
let lane = i32(thread);
let h = number / ${count};
let c = number % ${count};
${splitHeads(chunks, "h", parts.form.heads)}
let t0 = c * ${Q};
let b = lane / ${across} % ${blocks};
let x = lane % ${across};
${score ? pairText(slice) : ""}
${FOUR.map((r) => `var a${r} = ${ONES}; var q${r} = ${NONE}; var k${r} = ${NONE};`).join("\n")}
${score ? `${FOUR.flatMap((r) => FOUR.map((k) => `var s${r}_${k} = 0.0;`)).join(" ")}\n${WITHIN.map(([r, k]) => `var own${r}_${k} = 0.0;`).join(" ")}` : ""}
${mosts === undefined ? "" : "var most = 0.0;"}
var whole = ${ONES};
var next = 0;
${stages(load)}
for (var first = 0; first < ${K4}; first += ${across}) {
${indent(stages(`whole = a0 * a1 * a2 * a3;\nproducts[lane] = whole;${begin === undefined ? "" : "\nif (b == 0) { rest[x] = a1 * a2 * a3; }"}${score ? `\n${withinText()}` : ""}`))}
  workgroupBarrier();
${indent(stages(levelsText(work)))}
  workgroupBarrier();
  next = first + ${across};
  if (next < ${K4}) {
${indent(stages(load), 2)}
  }
${score ? indent(productsText(slice)) : ""}
}
${score ? scoresText(work, score) : ""}
${mosts === undefined ? "" : mostText(slice)}`;
  const code = `${declarations(bound)}${score ? `var<workgroup> rows: array<vec4<f32>, ${slice.rows}>;\n` : ""}var<workgroup> products: array<vec4<f32>, ${blocks * across}>;
${begin === undefined ? "" : `var<workgroup> rest: array<vec4<f32>, ${across}>;\n`}${decays.module}${entryPoint(threads, body)}`;
  return passOf(chunks, bound, H * count, code);
}

/** What a pass makes. */
function boundResults(
  rows: KeyRows,
  { later, earlier, score, keeps }: KeyRowsPass,
  made: Readonly<Record<"to" | "begin" | "mosts", number | undefined>> & { readonly first: boolean },
): readonly Bound[] {
  const kept = (name: string, buffer: number | undefined, type: "f32" | "vec4<f32>" = "vec4<f32>"): readonly Bound[] =>
    buffer === undefined ? [] : [{ name, buffer, type, access: "read_write" }];
  return [
    ...kept("scores", score && made.to),
    ...kept("laterRows", keeps.later && later ? rows.later.get(later) : undefined),
    ...kept("earlierRows", keeps.earlier && earlier ? rows.earlier.get(earlier) : undefined),
    ...kept("firstRows", made.begin),
    ...kept("chunkDecays", made.first ? rows.whole : undefined),
    ...kept("mosts", made.mosts, "f32"),
  ];
}

interface Work {
  readonly chunks: Chunks;
  readonly slice: Slice;
  readonly own: KeyRowsPass;
  readonly first: boolean;
  readonly begin: boolean;
  readonly mosts: boolean;
}

type Read = ReturnType<typeof rowText> | undefined;

/** Reads four steps and keys of a thread. */
function loadText(
  { chunks, slice: { across } }: Work,
  decaysAt: (step: string) => string,
  { later, earlier }: { readonly later: Read; readonly earlier: Read },
): string {
  const { K4, L } = chunks;
  const step = (r: number): string => `t0 + 4 * b + ${r}`;
  const row = (read: Read, r: number): string => {
    const value = read!(isRagged(chunks) ? `min(${step(r)}, ${L - 1})` : step(r), "e");
    const conditions = [
      ...(isRagged(chunks) ? [`(${step(r)} < ${L})`] : []),
      ...(K4 % across === 0 ? [] : [`(next + x < ${K4})`]),
    ];
    return conditions.length === 0 ? value : `select(${NONE}, ${value}, ${conditions.join(" & ")})`;
  };
  return `let e = min(next + x, ${K4 - 1});
${FOUR.map((r) => [`a${r} = ${decaysAt(step(r))};`, ...(later ? [`q${r} = ${row(later, r)};`] : []), ...(earlier ? [`k${r} = ${row(earlier, r)};`] : [])].join("\n")).join("\n")}`;
}

/** Four keys' share of the pairs of steps of a block. */
const withinText = (): string =>
  WITHIN.map(([r, k]) => {
    const between = FOUR.filter((n) => n > k && n <= r).map((n) => `a${n}`);
    return `own${r}_${k} += dot(q${r}, ${[`k${k}`, ...between].reduce((y, z) => `(${y} * ${z})`)});`;
  }).join("\n");

/** A block's rows at each level, and at the chunk's edges. */
function levelsText({ chunks, slice, own, first, begin, mosts }: Work): string {
  const { across, blocks, pitch, level } = slice;
  const { later, earlier, score, keeps } = own;
  const { K4, count } = chunks;
  const levels = halvesOf(blocks).map((half, n) => {
    const written = FOUR.map(
      (r) => `rows[at + ${n * level + r * blocks}] = select(k${r}End, q${r}Since, isLater) * by;`,
    );
    return `{
  let isLater = (b & ${half}) != 0;
${score ? `  let by = select(until, since, isLater);\n${indent(written.join("\n"))}\n` : ""}  let other = ${othersOf(half, across, "b").join(" * ")};
  if (isLater) { since *= other; } else { until *= other; }
}`;
  });
  const stored = [
    ...(keeps.later ? FOUR.map((r) => `laterRows[to + ${r * K4}] = q${r}Since * since;`) : []),
    ...(keeps.earlier ? FOUR.map((r) => `earlierRows[to + ${r * K4}] = k${r}End * until;`) : []),
    ...(first ? [`if (b == 0) { chunkDecays[(h * ${count} + c) * ${K4} + e] = whole * until; }`] : []),
    ...(begin ? [beginText(chunks, slice)] : []),
  ];
  return [
    "let e = first + x;",
    ...(later ? FOUR.map((r) => `let q${r}Since = q${r} * (${SINCE[r]});`) : []),
    ...(earlier ? FOUR.map((r) => `let k${r}End = k${r} * (${UNTIL[r]});`) : []),
    `let at = x * ${pitch} + b;`,
    `var since = ${ONES};`,
    `var until = ${ONES};`,
    ...levels,
    `if (e < ${K4}) {
  let to = h * ${keyRowVectors(chunks)} + (t0 + 4 * b) * ${K4} + e;
${indent(stored.join("\n"))}
}`,
    ...(mosts
      ? [
          "let size = abs(whole * until);",
          `most = max(most, select(0.0, max(max(size.x, size.y), max(size.z, size.w)), (b == 0) & (e < ${K4})));`,
        ]
      : []),
  ].join("\n");
}

/** Rows of the first chunk, from behind the first step on. */
const beginText = ({ Q, K4, H, count }: Chunks, { across, blocks }: Slice): string => `if (c == 0) {
  var sinceFirst = select(rest[x], ${ONES}, b == 0);
  for (var n = 1; n < b; n++) { sinceFirst *= products[n * ${across} + x]; }
  let own = select(a0, ${ONES}, b == 0);
  let at = h * ${Q * K4} + 4 * b * ${K4} + e;
  firstRows[at] = q0 * (own * sinceFirst);
  firstRows[at + ${K4}] = q1 * (own * a1 * sinceFirst);
  firstRows[at + ${2 * K4}] = q2 * (own * a1 * a2 * sinceFirst);
  firstRows[at + ${3 * K4}] = q3 * (own * a1 * a2 * a3 * sinceFirst);
  if (b == ${blocks - 1}) { chunkDecays[${H * count * K4} + h * ${K4} + e] = own * a1 * a2 * a3 * sinceFirst; }
}`;

/** The largest decay of the chunk, of the threads that have its first block. */
const mostText = ({ across }: Slice): string => `if (lane < ${across}) { products[x].x = most; }
workgroupBarrier();
if (lane == 0) {
  var all = products[0].x;
  for (var n = 1; n < ${across}; n++) { all = max(all, products[n].x); }
  mosts[number] = all;
}`;

/** A thread's pair of blocks, the later one i and the earlier one j, and where their rows begin. */
function pairText({ blocks, level }: Slice): string {
  let begin = 0;
  const ranges = halvesOf(blocks)
    .map((half, n) => ({ half, n }))
    .reverse()
    .map(({ half, n }) => {
      const from = begin;
      begin += (blocks / 2) * half;
      return `${from === 0 ? "" : "else "}if (lane < ${begin}) {
  let pair = lane - ${from};
  let group = pair / ${half * half} * ${2 * half};
  i = group + ${half} + pair % ${half * half} / ${half};
  j = group + pair % ${half};
  atLevel = ${n * level};
}`;
    });
  return `var i = 1;
var j = 0;
var atLevel = 0;
${ranges.join(" ")}
let isPair = lane < ${begin};`;
}

const productsText = ({ across, pitch, blocks }: Slice): string => `if (isPair) {
  for (var v = 0; v < ${across}; v++) {
    let at = atLevel + v * ${pitch};
${FOUR.map((r) => `    let later${r} = rows[at + ${r * blocks} + i];`).join("\n")}
${FOUR.map((k) => `    let earlier${k} = rows[at + ${k * blocks} + j];`).join("\n")}
${FOUR.flatMap((n) => FOUR.flatMap((r) => FOUR.map((k) => `    s${r}_${k} = fma(later${r}[${n}], earlier${k}[${n}], s${r}_${k});`))).join("\n")}
  }
}`;

/** Stores the scores of a thread's pair, and of pairs within blocks what the threads that have a block found together. */
function scoresText({ chunks, slice }: Work, score: Score): string {
  const { Q, count } = chunks;
  const { across, blocks } = slice;
  const ofPair = FOUR.map((n) =>
    score.rows === "earlier"
      ? `  scores[at + (4 * j + ${n}) * ${blocks} + i] = vec4<f32>(${FOUR.map((r) => `s${r}_${n}`).join(", ")});`
      : `  scores[at + (4 * i + ${n}) * ${blocks} + j] = vec4<f32>(${FOUR.map((k) => `s${n}_${k}`).join(", ")});`,
  );
  // beyond the diagonal they are 0
  const own = (r: number, k: number): string => (k <= r ? `own${r}_${k}` : "0.0");
  const ofBlock = FOUR.map(
    (n) =>
      `rows[${n * across * blocks} + lane] = vec4<f32>(${FOUR.map((m) => (score.rows === "earlier" ? own(m, n) : own(n, m))).join(", ")});`,
  );
  return `let at = (h * ${count} + c) * ${(Q * Q) / 4};
workgroupBarrier();
if (isPair) {
${ofPair.join("\n")}
}
${onBlocks(slice, ofBlock.join("\n"))}
workgroupBarrier();
if (lane < ${4 * blocks}) {
  let block = lane % ${blocks};
  let n = lane / ${blocks};
  var sum = ${NONE};
  for (var v = 0; v < ${across}; v++) { sum += rows[n * ${across * blocks} + block * ${across} + v]; }
  scores[at + (4 * block + n) * ${blocks} + block] = sum;
}`;
}
