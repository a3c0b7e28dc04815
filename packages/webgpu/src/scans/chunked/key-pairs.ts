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
  splitHeads,
  strideOf,
  tableAt,
  type Chunks,
  type Place,
} from "./layout.js";
import { distinct } from "./states.js";
import { SINCE, UNTIL } from "./key-decays.js";
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

export interface Side {
  readonly state: "current" | "adjoint";
  /** The other side's rows: of k for dq, of q for dk. */
  readonly z: Operand;
  readonly name: "k" | "q";
  /** Of a step of this block. */
  readonly factor: number;
  readonly to: Place | undefined;
}

/** How the pairs of different blocks are taken. */
export interface PairForm {
  /** Four-key vectors of a workgroup. */
  readonly across: number;
  /** Declarations at module scope, and directives before them. */
  readonly module: string;
  readonly directives: string;
  /** Builtins of the entry point. */
  readonly builtin: readonly string[];
  /** Statements between the reading of a thread's rows and the sums. */
  before(sides: readonly Side[]): string;
  /** The sums of a side. */
  side(side: Side): string;
}

/** Four-key vectors of a workgroup by multiply-adds. */
const ACROSS = 8;

/** A thread goes through all blocks of the chunk, for any adapter. */
const plainForm = (chunks: Chunks): PairForm => ({
  across: ACROSS,
  module: "",
  directives: "",
  builtin: [],
  before: () => "",
  side: (side) =>
    edgesText(side, ACROSS) +
    ofSide(chunks, side, ACROSS, side.state === "current" ? "0" : `min(${chunks.Q / 4}, (${chunks.L + 3} - t0) / 4)`),
});

export function keyPairsPass(chunks: Chunks, given: KeyPairs, form: PairForm = plainForm(chunks)): GpuPass {
  const { parts, Q, L, H, count, K4, operands, table: offsets } = chunks;
  const { current, adjoint, gradient } = given;
  const { across } = form;
  const blocks = Q / 4;
  const columns = Math.ceil(K4 / across);
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
  const body = `let number = i32(group);
if (number >= ${groups}) { return; }
let lane = i32(thread);
let column = number % ${columns} * ${across} + lane % ${across};
let c = number / ${columns} % ${count};
let h = number / ${columns * count};
${splitHeads(chunks, "h", parts.form.heads)}
let t0 = c * ${Q};
let e = min(column, ${K4 - 1});
let i = lane / ${across};
let x = lane % ${across};
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
whole[i * ${across} + x] = a0 * a1 * a2 * a3;
${form.before(sides)}
${sides.map((side) => form.side(side)).join("\nworkgroupBarrier();\n")}
${sides.map(({ state, to }) => stored(chunks, state, to!)).join("\n")}
${gradient ? gradientText(chunks, gradient, across) : ""}`;
  const code = `${form.directives}${declarations(bound.list)}${form.module}var<workgroup> edge: array<vec4<f32>, ${Q * across}>;
var<workgroup> whole: array<vec4<f32>, ${blocks * across}>;
${entryPoint(blocks * across, body, form.builtin)}`;
  return passOf(chunks, bound.list, groups, code);
}

/** Rows as they are at the edge of their block that is nearer to those that read them. */
export const edgesText = ({ state, name }: Side, across: number): string =>
  `${FOUR.map((r) => `edge[(4 * i + ${r}) * ${across} + x] = ${name}${r} * (${(state === "adjoint" ? SINCE : UNTIL)[r]});`).join("\n")}
workgroupBarrier();
`;

/** Sums `current0` to `current3` or `adjoint0` to `adjoint3` of a block's steps, with other blocks down or up to a last one. */
export function ofSide(chunks: Chunks, { state, name }: Side, across: number, last: string): string {
  const { Q } = chunks;
  const behind = state === "adjoint";
  const fromEdge = behind ? UNTIL : SINCE;
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
  return `${FOUR.map((r) => `var ${own(r)} = vec4<f32>();`).join("\n")}
{
  var between = ${ONES};
  for (var j = ${behind ? `i + 1; j < ${last}; j++` : `i - 1; j >= ${last}; j--`}) {
${indent(behind ? scores("i", "j") : scores("j", "i"), 2)}
${FOUR.map((k) => `    let z${k} = edge[(4 * j + ${k}) * ${across} + x] * between;`).join("\n")}
${indent(others, 2)}
    between *= whole[j * ${across} + x];
  }
${FOUR.map((r) => `  ${own(r)} *= ${fromEdge[r]};`).join("\n")}
${indent(scores("i", "i"))}
${indent(within)}
}`;
}

/** Behind the last step there are none. */
export const laterSteps = (chunks: Chunks, scores: string, block: string): string =>
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
function gradientText(chunks: Chunks, { ends, to }: NonNullable<KeyPairs["gradient"]>, across: number): string {
  const { Q, K, K4, L, count } = chunks;
  const stride = strideOf(chunks, to, 4);
  const [none, own] = ["vec4<f32>()", (r: number): string => `q${r} * current${r} - k${r} * adjoint${r}`];
  const later = (r: number): string => (r === 3 ? none : `d${r + 1}`);
  return `${[3, 2, 1, 0].map((r) => `let d${r} = select(${later(r)} + ${own(r)}, ${none}, a${r} == ${none});`).join("\n")}
${[3, 2, 1, 0].map((r) => `let passes${r} = ${r === 3 ? "" : `passes${r + 1} & `}(a${r} != ${none});`).join("\n")}
workgroupBarrier();
edge[i * ${across} + x] = d0;
whole[i * ${across} + x] = select(${none}, ${ONES}, passes0);
workgroupBarrier();
let endAt = ${ends} + (h * ${count} + c) * ${K};
var behind = vec4<f32>(${FOUR.map((r) => `select(0.0, table[endAt + min(4 * e + ${r}, ${K - 1})], 4 * e + ${r} < ${K})`).join(", ")});
for (var j = ${Q / 4 - 1}; j > i; j--) {
  behind = select(${none}, behind, whole[j * ${across} + x] != ${none}) + edge[j * ${across} + x];
}
if (column < ${K4}) {
  let first = ${baseText(chunks, to, 4)} + (t0 + 4 * i) * ${stride} + column;
${FOUR.map((r) => `  if (t0 + 4 * i + ${r} < ${L}) { found[first + ${r * stride}] = select((d${r} + select(${none}, behind, passes${r})) / a${r}, ${none}, a${r} == ${none}); }`).join("\n")}
}`;
}
