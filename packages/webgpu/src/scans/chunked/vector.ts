/**
 * What is different where every key has a decay of its own: decays between steps are vectors, and they stand inside the products
 * of keys. Blocks of four steps make one of three factors each, none of them above what the recurrence itself has: from a block's
 * beginning to a step, from a step to its block's end, and over the blocks between. Pairs within a block are taken one by one.
 */
import type { Operand } from "@seqmix/tensor/backend";
import { entryPoint, type GpuPass } from "@seqmix/tensor/wgsl";
import {
  baseText,
  declarations,
  isRagged,
  keyDecayVectors,
  passOf,
  readVector,
  splitHeads,
  strideOf,
  tableAt,
  vectorsOf,
  type Bound,
  type Chunks,
  type KeyDecays,
  type Place,
} from "./layout.js";
import { distinct } from "./states.js";

const FOUR = [0, 1, 2, 3] as const;
const THREADS = 64;
const ONES = "vec4<f32>(1.0)";

export const vectors = (place: Place): Pick<Bound, "buffer" | "type"> => ({
  buffer: place.buffer,
  type: vectorsOf(place),
});

/** A text that reads a chunk's own row of an operand. */
export function rowText(chunks: Chunks, operand: Operand, name: string): (step: string, column: string) => string {
  const place = chunks.operands.get(operand)!;
  return (step, column) =>
    readVector(place, `${name}[${baseText(chunks, place, 4)} + (${step}) * ${strideOf(chunks, place, 4)} + ${column}]`);
}

/** A thread for each head, chunk and four keys, which runs through the chunk's steps. */
export function keyDecaysPass(chunks: Chunks, to: KeyDecays): GpuPass {
  const { parts, Q, L, H, count, K4, operands } = chunks;
  const total = H * count * K4;
  const bound: Bound[] = [
    { name: "decay", buffer: operands.get(parts.decay)!.buffer, type: "vec4<f32>" },
    { name: "before", buffer: to.before, type: "vec4<f32>", access: "read_write" },
    { name: "toEnd", buffer: to.toEnd, type: "vec4<f32>", access: "read_write" },
    { name: "begin", buffer: to.begin, type: "vec4<f32>", access: "read_write" },
  ];
  const decay = rowText(chunks, parts.decay, "decay");
  const at = `h * ${keyDecayVectors(chunks)} + t * ${K4} + e`;
  const body = `let number = i32(group) * ${THREADS} + i32(thread);
if (number >= ${total}) { return; }
let e = number % ${K4};
let c = number / ${K4} % ${count};
let h = number / ${K4 * count};
${splitHeads(chunks, "h", parts.form.heads)}
var sum = ${ONES};
var rest = ${ONES};
for (var t = c * ${Q}; t < (c + 1) * ${Q}; t++) {
  let own = select(${ONES}, ${decay(`min(t, ${L - 1})`, "e")}, t < ${L});
  sum *= own;
  before[${at}] = sum;
  if (c == 0) {
    rest = select(rest * own, rest, t == 0);
    begin[(h * ${Q} + t) * ${K4} + e] = rest;
  }
}
sum = ${ONES};
for (var t = (c + 1) * ${Q} - 1; t >= c * ${Q}; t--) {
  toEnd[${at}] = sum;
  sum *= select(${ONES}, ${decay(`min(t, ${L - 1})`, "e")}, t < ${L});
}`;
  return passOf(chunks, bound, Math.ceil(total / THREADS), declarations(bound) + entryPoint(THREADS, body));
}

/** Four-key vectors of a workgroup. */
const ACROSS = 8;

/**
 * Adds to rows of keys what the pairs of a chunk's steps give: found_t += sum over j <= t of M(t, j) D(t, j) o z_j, or for the
 * adjoint over later steps; M are scores of values [heads of the score, chunks, row, column].
 */
export function keyPairsPass(
  chunks: Chunks,
  {
    state,
    z,
    scores,
    number,
    factors,
    table,
    to,
  }: {
    readonly state: "current" | "adjoint";
    readonly z: Operand;
    /** Rows count earlier steps for the states, later ones for the adjoint. */
    readonly scores: number;
    /** Text of the score's head. */
    readonly number: string;
    readonly factors: number;
    readonly table: number;
    readonly to: Place;
  },
): GpuPass {
  const { parts, Q, L, H, count, K4, operands } = chunks;
  const behind = state === "adjoint";
  const blocks = Q / 4;
  const columns = Math.ceil(K4 / ACROSS);
  const threads = blocks * ACROSS;
  const groups = H * count * columns;
  const bound = distinct([
    { name: "z", ...vectors(operands.get(z)!) },
    { name: "decay", buffer: operands.get(parts.decay)!.buffer, type: "vec4<f32>" },
    { name: "scores", buffer: scores, type: "vec4<f32>" },
    { name: "table", buffer: table, type: "f32" },
    { name: "found", buffer: to.buffer, type: "vec4<f32>", access: "read_write" },
  ]);
  const read = (operand: Operand): ((step: string, column: string) => string) =>
    rowText(chunks, operand, bound.nameOf(operands.get(operand)!.buffer));
  const [row, decay] = [read(z), read(parts.decay)];
  const step = (at: string): string => `min(t0 + ${at}, ${L - 1})`;
  const own = (r: number): string => `own${r}`;
  // a step's own block, pair by pair: the decay between two of its steps
  const inner = FOUR.flatMap((r) =>
    FOUR.filter((k) => (behind ? k >= r : k <= r)).map((k) => {
      const [low, high] = behind ? [r, k] : [k, r];
      const between = FOUR.filter((n) => n > low && n <= high).map((n) => `a${n}`);
      return `s${r} += ${["m" + r + "[" + k + "]", ...between, own(k)].reduceRight((x, y) => `(${y} * ${x})`)};`;
    }),
  );
  const inside = (value: string, at: string): string =>
    isRagged(chunks) ? `select(vec4<f32>(), ${value}, t0 + ${at} < ${L})` : value;
  const scoreAt = (at: string): string => `scores[at + ${at}]`;
  // scores of the block's four steps with four others, a vector for each of the block's steps
  const scoreLines = (other: string): string =>
    `let at = (${number} * ${count} + c) * ${(Q * Q) / 4};
${FOUR.map((k) => `let n${k} = ${inside(scoreAt(`(4 * ${other} + ${k}) * ${Q / 4} + i`), `4 * ${other} + ${k}`)};`).join("\n")}
${FOUR.map((r) => `let m${r} = vec4<f32>(${FOUR.map((k) => `n${k}[${r}]`).join(", ")});`).join("\n")}`;
  // what leads from another block to this one's edge, and from there to each of its steps
  const toEdge = behind
    ? ["a0", "a0 * a1", "a0 * a1 * a2", "a0 * a1 * a2 * a3"]
    : ["a1 * a2 * a3", "a2 * a3", "a3", ONES];
  const fromEdge = behind
    ? ["a1 * a2 * a3", "a2 * a3", "a3", ONES]
    : ["a0", "a0 * a1", "a0 * a1 * a2", "a0 * a1 * a2 * a3"];
  const body = `let number = i32(group);
if (number >= ${groups}) { return; }
let lane = i32(thread);
let column = number % ${columns} * ${ACROSS} + lane % ${ACROSS};
let c = number / ${columns} % ${count};
let h = number / ${columns * count};
${splitHeads(chunks, "h", parts.form.heads)}
let t0 = c * ${Q};
let e = min(column, ${K4 - 1});
let i = lane / ${ACROSS};
let x = lane % ${ACROSS};
${FOUR.map((r) => `let a${r} = select(${ONES}, ${decay(step(`4 * i + ${r}`), "e")}, t0 + 4 * i + ${r} < ${L});`).join("\n")}
${FOUR.map(
  (r) =>
    `let own${r} = select(vec4<f32>(), ${row(step(`4 * i + ${r}`), "e")} * table[${tableAt(chunks, "c", 1)} + ${factors} + 4 * i + ${r}], t0 + 4 * i + ${r} < ${L});`,
).join("\n")}
${FOUR.map((r) => `edge[(4 * i + ${r}) * ${ACROSS} + x] = own${r} * (${toEdge[r]});`).join("\n")}
whole[i * ${ACROSS} + x] = a0 * a1 * a2 * a3;
workgroupBarrier();
${FOUR.map((r) => `var s${r} = vec4<f32>();`).join("\n")}
var between = ${ONES};
for (var j = ${behind ? `i + 1; j < ${blocks}; j++` : "i - 1; j >= 0; j--"}) {
  ${scoreLines("j").replaceAll("\n", "\n  ")}
${FOUR.map((k) => `  let z${k} = edge[(4 * j + ${k}) * ${ACROSS} + x] * between;`).join("\n")}
${FOUR.map((r) => `  s${r} += ${FOUR.map((k) => `m${r}[${k}] * z${k}`).join(" + ")};`).join("\n")}
  between *= whole[j * ${ACROSS} + x];
}
${FOUR.map((r) => `s${r} *= ${fromEdge[r]};`).join("\n")}
{
  ${scoreLines("i").replaceAll("\n", "\n  ")}
${inner.map((line) => `  ${line}`).join("\n")}
}
let foundAt = ${baseText(chunks, to, 4)} + (t0 + 4 * i) * ${strideOf(chunks, to, 4)} + column;
if (column < ${K4}) {
${FOUR.map((r) => `  if (t0 + 4 * i + ${r} < ${L}) { found[foundAt + ${r * strideOf(chunks, to, 4)}] += s${r}; }`).join("\n")}
}`;
  const code = `${declarations(bound.list)}var<workgroup> edge: array<vec4<f32>, ${Q * ACROSS}>;
var<workgroup> whole: array<vec4<f32>, ${blocks * ACROSS}>;
${entryPoint(threads, body)}`;
  return passOf(chunks, bound.list, groups, code);
}

/** The gradient of the decays by key, as in `gradient.ts`; `dq` and `dk` are results of reads over values. */
export function keyDecayGradientPass(
  chunks: Chunks,
  {
    ends,
    dq,
    dk,
    table,
    to,
  }: {
    /** Adjoint behind a chunk times the states at its end. */
    readonly ends: number;
    readonly dq: Place;
    readonly dk: Place;
    readonly table: number;
    readonly to: Place;
  },
): GpuPass {
  const { parts, Q, L, H, count, K, K4, operands, table: offsets } = chunks;
  const keys = { q: parts.seed!.keys, k: parts.drive.keys };
  const bound = distinct([
    { name: "q", ...vectors(operands.get(keys.q)!) },
    { name: "k", ...vectors(operands.get(keys.k)!) },
    { name: "dq", buffer: dq.buffer, type: "vec4<f32>" },
    { name: "dk", buffer: dk.buffer, type: "vec4<f32>" },
    { name: "decay", buffer: operands.get(parts.decay)!.buffer, type: "vec4<f32>" },
    { name: "table", buffer: table, type: "f32" },
    { name: "ends", buffer: ends, type: "f32" },
    { name: "found", buffer: to.buffer, type: "vec4<f32>", access: "read_write" },
  ]);
  const read = (operand: Operand): ((step: string, column: string) => string) =>
    rowText(chunks, operand, bound.nameOf(operands.get(operand)!.buffer));
  const [q, k, decay] = [read(keys.q), read(keys.k), read(parts.decay)];
  const placed = (place: Place, name: string): string =>
    `${name}[${baseText(chunks, place, 4)} + t * ${strideOf(chunks, place, 4)} + e]`;
  const total = H * count * K4;
  const factor = (offset: number): string => `table[${tableAt(chunks, "c", 1)} + ${offset} + t - c * ${Q}]`;
  const body = `let number = i32(group) * ${THREADS} + i32(thread);
if (number >= ${total}) { return; }
let e = number % ${K4};
let c = number / ${K4} % ${count};
let h = number / ${K4 * count};
${splitHeads(chunks, "h", parts.form.heads)}
let endAt = (h * ${count} + c) * ${K};
var sum = vec4<f32>(${FOUR.map((r) => `select(0.0, ends[endAt + min(4 * e + ${r}, ${K - 1})], 4 * e + ${r} < ${K})`).join(", ")});
for (var t = min(${L}, (c + 1) * ${Q}) - 1; t >= c * ${Q}; t--) {
  let own = ${decay("t", "e")};
  sum += ${q("t", "e")} * ${placed(dq, bound.nameOf(dq.buffer))} * ${factor(offsets.seed)} - ${k("t", "e")} * ${placed(dk, bound.nameOf(dk.buffer))} * ${factor(offsets.drive)};
  sum = select(sum, vec4<f32>(), own == vec4<f32>());
  ${placed(to, "found")} = select(sum / own, vec4<f32>(), own == vec4<f32>());
}`;
  return passOf(chunks, bound.list, Math.ceil(total / THREADS), declarations(bound.list) + entryPoint(THREADS, body));
}

/** Threads of a row of states. */
const SHARE = 8;

/** [heads, chunks, keys]: adjoint behind a chunk times the states at its end, summed over values. */
export function stateRowDotsPass(
  chunks: Chunks,
  {
    states,
    adjoints,
    final,
    to,
  }: {
    readonly states: number;
    readonly adjoints: number;
    /** The last states, if their cotangent is not 0. */
    readonly final: number | undefined;
    readonly to: number;
  },
): GpuPass {
  const { count, H, K, V4 } = chunks;
  const total = H * count * K;
  const bound: Bound[] = [
    { name: "states", buffer: states, type: "vec4<f32>" },
    { name: "adjoints", buffer: adjoints, type: "vec4<f32>" },
    ...(final === undefined ? [] : [{ name: "last", buffer: final, type: "vec4<f32>" } as const]),
    { name: "dots", buffer: to, type: "f32", access: "read_write" },
  ];
  const rows = THREADS / SHARE;
  const body = `if (i32(group) * ${rows} >= ${total}) { return; }
let lane = i32(thread);
let at = min(i32(group) * ${rows} + lane / ${SHARE}, ${total - 1});
let c = at / ${K} % ${count};
var sum = vec4<f32>();
if (c == ${count - 1}) {
${
  final === undefined
    ? ""
    : `  let end = ((at / ${K * count}${chunks.slices > 1 ? " + p.firstHead" : ""}) * ${K} + at % ${K}) * ${V4};
  for (var e = lane % ${SHARE}; e < ${V4}; e += ${SHARE}) { sum += adjoints[at * ${V4} + e] * last[end + e]; }`
}
} else {
  for (var e = lane % ${SHARE}; e < ${V4}; e += ${SHARE}) { sum += adjoints[at * ${V4} + e] * states[(at + ${K}) * ${V4} + e]; }
}
partial[lane] = dot(sum, ${ONES});
workgroupBarrier();
if (lane % ${SHARE} == 0) {
  var total = 0.0;
  for (var k = 0; k < ${SHARE}; k++) { total += partial[lane + k]; }
  if (i32(group) * ${rows} + lane / ${SHARE} < ${total}) { dots[at] = total; }
}`;
  return passOf(
    chunks,
    bound,
    Math.ceil(total / rows),
    `${declarations(bound)}var<workgroup> partial: array<f32, ${THREADS}>;\n${entryPoint(THREADS, body)}`,
  );
}
