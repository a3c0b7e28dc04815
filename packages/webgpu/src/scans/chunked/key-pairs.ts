/**
 * What the pairs of a chunk's steps add to rows of keys where every key has a decay of its own, and the gradient of the decays, for
 * which the rows and their operands are at hand here:
 *
 *     dq_t += sum over j <= t of M(t, j) D(t, j) o k_j,    dk_t += sum over j >= t of M(j, t) D(j, t) o q_j.
 *
 * A thread has a block of four steps and four keys. Blocks tell each other their rows by way of the blocks' edges.
 */
import type { Operand } from "@seqmix/tensor/backend";
import { entryPoint, indent, type GpuPass } from "@seqmix/tensor/wgsl";
import {
  baseText,
  declarations,
  isRagged,
  passOf,
  readVector,
  strideOf,
  tableAt,
  type Chunks,
  type Place,
} from "./layout.js";
import { distinct } from "./states.js";
import { columnOfChunk, SINCE, UNTIL } from "./key-decays.js";
import { vectors } from "./vector.js";

const FOUR = [0, 1, 2, 3] as const;
const ONES = "vec4<f32>(1.0)";

export interface KeyPairs {
  /** Scores of values [heads of the score, chunks, earlier step, later step], and the text of the score's head. */
  readonly scores: number;
  readonly number: string;
  readonly table: number;
  /** Rows that the states and the adjoint states give, to which pairs are added. */
  readonly current?: Place | undefined;
  readonly adjoint?: Place | undefined;
  /** The gradient of the decays, where both are given; the adjoint states times the states at the chunks' ends begin at `ends` of the table. */
  readonly gradient?: { readonly ends: number; readonly to: Place } | undefined;
}

interface Side {
  readonly state: "current" | "adjoint";
  /** The other side's rows: of k for dq, of q for dk. */
  readonly z: Operand;
  readonly name: "k" | "q";
  /** Of a step of this block. */
  readonly factor: number;
  readonly to: Place | undefined;
}

/** Four-key vectors of a workgroup. */
const ACROSS = 8;

export function keyPairsPass(chunks: Chunks, given: KeyPairs): GpuPass {
  const { parts, Q, L, H, count, K4, operands, table: offsets } = chunks;
  const { current, adjoint, gradient } = given;
  const blocks = Q / 4;
  const columns = Math.ceil(K4 / ACROSS);
  const groups = H * count * columns;
  const sides: readonly Side[] = [
    ...(current
      ? [{ state: "current", z: parts.drive.keys, name: "k", factor: offsets.drive, to: current } as const]
      : []),
    ...(adjoint
      ? [{ state: "adjoint", z: parts.seed!.keys, name: "q", factor: offsets.seed, to: adjoint } as const]
      : []),
  ];
  const bound = distinct([
    ...sides.map(({ z, name }) => ({ name, ...vectors(operands.get(z)!) })),
    { name: "decay", buffer: operands.get(parts.decay)!.buffer, type: "vec4<f32>" },
    { name: "scores", buffer: given.scores, type: "vec4<f32>" },
    { name: "table", buffer: given.table, type: "f32" },
    ...sides.map(
      ({ state, to }) => ({ name: state, buffer: to!.buffer, type: "vec4<f32>", access: "read_write" }) as const,
    ),
    ...(gradient
      ? [{ name: "found", buffer: gradient.to.buffer, type: "vec4<f32>", access: "read_write" } as const]
      : []),
  ]);
  const read = (operand: Operand, r: number): string => {
    const place = operands.get(operand)!;
    const at = `${baseText(chunks, place, 4)} + min(t0 + 4 * i + ${r}, ${L - 1}) * ${strideOf(chunks, place, 4)} + e`;
    return readVector(place, `${bound.nameOf(place.buffer)}[${at}]`);
  };
  const inside = (r: number): string => `t0 + 4 * i + ${r} < ${L}`;
  const body = `${columnOfChunk(chunks, columns, ACROSS)}
let t0 = c * ${Q};
let e = min(column, ${K4 - 1});
let i = lane / ${ACROSS};
let x = lane % ${ACROSS};
let at = (${given.number} * ${count} + c) * ${(Q * Q) / 4};
let base = ${tableAt(chunks, "c", 1)} + 4 * i;
${FOUR.map((r) => `let a${r} = select(${ONES}, ${read(parts.decay, r)}, ${inside(r)});`).join("\n")}
${sides
  .flatMap(({ z, name, factor }) =>
    FOUR.map(
      (r) => `let ${name}${r} = select(vec4<f32>(), ${read(z, r)} * table[base + ${factor + r}], ${inside(r)});`,
    ),
  )
  .join("\n")}
whole[i * ${ACROSS} + x] = a0 * a1 * a2 * a3;
${sides.map((side) => ofSide(chunks, side)).join("\nworkgroupBarrier();\n")}
${sides.map(({ state, to }) => stored(chunks, state, to!)).join("\n")}
${gradient ? gradientText(chunks, gradient) : ""}`;
  const code = `${declarations(bound.list)}var<workgroup> edge: array<vec4<f32>, ${Q * ACROSS}>;
var<workgroup> whole: array<vec4<f32>, ${blocks * ACROSS}>;
${entryPoint(blocks * ACROSS, body)}`;
  return passOf(chunks, bound.list, groups, code);
}

/** Sums `current0` to `current3` or `adjoint0` to `adjoint3` of a block's steps. */
function ofSide(chunks: Chunks, { state, name }: Side): string {
  const { Q, L } = chunks;
  const behind = state === "adjoint";
  const [toEdge, fromEdge] = behind ? [SINCE, UNTIL] : [UNTIL, SINCE];
  const own = (r: number): string => `${state}${r}`;
  // scores of four earlier steps, four later ones to a vector
  const scores = (earlier: string, later: string): string =>
    FOUR.map(
      (k) => `let n${k} = ${laterSteps(chunks, `scores[at + (4 * ${earlier} + ${k}) * ${Q / 4} + ${later}]`, later)};`,
    ).join("\n");
  const others = FOUR.map((r) =>
    behind
      ? `${own(r)} += ${FOUR.map((k) => `n${r}[${k}] * z${k}`).join(" + ")};`
      : `${own(r)} += ${FOUR.map((k) => `n${k}[${r}] * z${k}`).join(" + ")};`,
  ).join("\n");
  const within = FOUR.flatMap((later) =>
    FOUR.filter((earlier) => earlier <= later).map((earlier) => {
      const between = FOUR.filter((n) => n > earlier && n <= later).map((n) => `a${n}`);
      const [to, of] = behind ? [earlier, later] : [later, earlier];
      return `${own(to)} += ${[`n${earlier}[${later}]`, ...between, `${name}${of}`].reduceRight((x, y) => `(${y} * ${x})`)};`;
    }),
  ).join("\n");
  return `${FOUR.map((r) => `var ${own(r)} = vec4<f32>();\nedge[(4 * i + ${r}) * ${ACROSS} + x] = ${name}${r} * (${toEdge[r]});`).join("\n")}
workgroupBarrier();
{
  var between = ${ONES};
  for (var j = ${behind ? `i + 1; j < min(${Q / 4}, (${L + 3} - t0) / 4); j++` : "i - 1; j >= 0; j--"}) {
${indent(behind ? scores("i", "j") : scores("j", "i"), 2)}
${FOUR.map((k) => `    let z${k} = edge[(4 * j + ${k}) * ${ACROSS} + x] * between;`).join("\n")}
${indent(others, 2)}
    between *= whole[j * ${ACROSS} + x];
  }
${FOUR.map((r) => `  ${own(r)} *= ${fromEdge[r]};`).join("\n")}
${indent(scores("i", "i"))}
${indent(within)}
}`;
}

/** Behind the last step there are none. */
const laterSteps = (chunks: Chunks, scores: string, block: string): string =>
  isRagged(chunks)
    ? `select(vec4<f32>(), ${scores}, vec4<i32>(t0 + 4 * ${block}) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(${chunks.L}))`
    : scores;

/** Adds to the rows, and keeps what they are then. */
function stored(chunks: Chunks, state: "current" | "adjoint", to: Place): string {
  const { K4, L } = chunks;
  const stride = strideOf(chunks, to, 4);
  return `if (column < ${K4}) {
  let first = ${baseText(chunks, to, 4)} + (t0 + 4 * i) * ${stride} + column;
${FOUR.map(
  (r) => `  if (t0 + 4 * i + ${r} < ${L}) {
    ${state}${r} += ${state}[first + ${r * stride}];
    ${state}[first + ${r * stride}] = ${state}${r};
  }`,
).join("\n")}
}`;
}

/** As in `gradient.ts`, for each key: the sum from a step to the chunk's end, of which nothing passes a decay of 0. */
function gradientText(chunks: Chunks, { ends, to }: NonNullable<KeyPairs["gradient"]>): string {
  const { Q, K, K4, L, count } = chunks;
  const stride = strideOf(chunks, to, 4);
  const [none, own] = ["vec4<f32>()", (r: number): string => `q${r} * current${r} - k${r} * adjoint${r}`];
  const later = (r: number): string => (r === 3 ? none : `d${r + 1}`);
  return `${[3, 2, 1, 0].map((r) => `let d${r} = select(${later(r)} + ${own(r)}, ${none}, a${r} == ${none});`).join("\n")}
${[3, 2, 1, 0].map((r) => `let passes${r} = ${r === 3 ? "" : `passes${r + 1} & `}(a${r} != ${none});`).join("\n")}
workgroupBarrier();
edge[i * ${ACROSS} + x] = d0;
whole[i * ${ACROSS} + x] = select(${none}, ${ONES}, passes0);
workgroupBarrier();
let endAt = ${ends} + (h * ${count} + c) * ${K};
var behind = vec4<f32>(${FOUR.map((r) => `select(0.0, table[endAt + min(4 * e + ${r}, ${K - 1})], 4 * e + ${r} < ${K})`).join(", ")});
for (var j = ${Q / 4 - 1}; j > i; j--) {
  behind = select(${none}, behind, whole[j * ${ACROSS} + x] != ${none}) + edge[j * ${ACROSS} + x];
}
if (column < ${K4}) {
  let first = ${baseText(chunks, to, 4)} + (t0 + 4 * i) * ${stride} + column;
${FOUR.map((r) => `  if (t0 + 4 * i + ${r} < ${L}) { found[first + ${r * stride}] = select((d${r} + select(${none}, behind, passes${r})) / a${r}, ${none}, a${r} == ${none}); }`).join("\n")}
}`;
}
