/**
 * What the pairs of a chunk's steps add to rows of keys where every key has a decay of its own, and the gradient of the decays, for
 * which the rows and their operands are at hand here:
 *
 *     dq_t += sum over j <= t of M(t, j) D(t, j) o k_j,    dk_t += sum over j >= t of M(j, t) D(j, t) o q_j.
 *
 * and the rows that the states give decay from the chunk's beginning and to its end. A thread has a block of four steps and four
 * keys. At each level of halves (see `key-decays.ts`) it is in one half, and sums over the rows of the other, which lie in workgroup
 * memory decayed to the boundary.
 */
import type { Operand } from "@seqmix/tensor/backend";
import { entryPoint, indent, type GpuPass } from "@seqmix/tensor/wgsl";
import {
  distinct,
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
import { columnOfChunk, decayTexts, halvesOf, othersOf, SINCE, UNTIL } from "./key-decays.js";
import { FOUR, NONE, ONES, vectors } from "./vector.js";

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
  /** Where the table has factors of steps, if there are any. */
  readonly factor: number | undefined;
  readonly to: Place | undefined;
}

/** Four-key vectors of a workgroup. */
const ACROSS = 8;

interface Pairs {
  readonly chunks: Chunks;
  readonly sides: readonly Side[];
  readonly blocks: number;
}

export function keyPairsPass(chunks: Chunks, given: KeyPairs): GpuPass {
  const { parts, Q, L, H, count, K4, operands, table: offsets, keyRows } = chunks;
  const { current, adjoint, gradient } = given;
  const blocks = Q / 4;
  const columns = Math.ceil(K4 / ACROSS);
  const groups = H * count * columns;
  const sides: readonly Side[] = [
    ...(current
      ? [
          {
            state: "current",
            z: parts.drive.keys,
            name: "k",
            factor: parts.drive.scale && offsets.drive,
            to: current,
          } as const,
        ]
      : []),
    ...(adjoint
      ? [
          {
            state: "adjoint",
            z: parts.seed!.keys,
            name: "q",
            factor: parts.seed!.scale && offsets.seed,
            to: adjoint,
          } as const,
        ]
      : []),
  ];
  const decays = decayTexts(chunks, keyRows!.source);
  const bound = distinct([
    ...sides.map(({ z, name }) => ({ name, ...vectors(operands.get(z)!) })),
    { name: "scores", buffer: given.scores, type: "vec4<f32>" },
    { name: "table", buffer: given.table, type: "f32" },
    ...sides.map(
      ({ state, to }) => ({ name: state, buffer: to!.buffer, type: "vec4<f32>", access: "read_write" }) as const,
    ),
    ...(gradient
      ? [{ name: "found", buffer: gradient.to.buffer, type: "vec4<f32>", access: "read_write" } as const]
      : []),
  ]);
  const list = [...bound.list, ...decays.bound];
  const read = (operand: Operand, r: number): string => {
    const place = operands.get(operand)!;
    const at = `${baseText(chunks, place, 4)} + ${isRagged(chunks) ? `min(t0 + 4 * i + ${r}, ${L - 1})` : `(t0 + 4 * i + ${r})`} * ${strideOf(chunks, place, 4)} + e`;
    return readVector(place, `${bound.nameOf(place.buffer)}[${at}]`);
  };
  const inside = (r: number): string => `t0 + 4 * i + ${r} < ${L}`;
  const rowOf = ({ z, factor }: Side, r: number): string => {
    const value = factor === undefined ? read(z, r) : `${read(z, r)} * table[base + ${factor + r}]`;
    return isRagged(chunks) ? `select(vec4<f32>(), ${value}, ${inside(r)})` : value;
  };
  const pairs: Pairs = { chunks, sides, blocks };
  const body = `${columnOfChunk(chunks, columns, ACROSS)}
let t0 = c * ${Q};
let e = min(column, ${K4 - 1});
let i = lane / ${ACROSS};
let x = lane % ${ACROSS};
let at = (${given.number} * ${count} + c) * ${(Q * Q) / 4};
let base = ${tableAt(chunks, "c", 1)} + 4 * i;
${FOUR.map((r) => `let a${r} = ${decays.at(`t0 + 4 * i + ${r}`)};`).join("\n")}
${sides.flatMap((side) => FOUR.map((r) => `let ${side.name}${r} = ${rowOf(side, r)};`)).join("\n")}
${sides.map(({ state, to }) => givenRows(chunks, state, to!)).join("\n")}
products[i * ${ACROSS} + x] = a0 * a1 * a2 * a3;
workgroupBarrier();
${sumsText(pairs)}
${sides.map(({ state, to }) => stored(chunks, state, to!)).join("\n")}
${gradient ? gradientText(chunks, gradient) : ""}`;
  const code = `${declarations(list)}var<workgroup> rows: array<vec4<f32>, ${Q * ACROSS}>;
var<workgroup> products: array<vec4<f32>, ${blocks * ACROSS}>;
${decays.module}${entryPoint(blocks * ACROSS, body)}`;
  return passOf(chunks, list, groups, code);
}

/** Sums `current0` to `current3` and `adjoint0` to `adjoint3` of a block's steps; they begin as the rows that the states give. */
function sumsText(pairs: Pairs): string {
  const { sides, blocks } = pairs;
  const halves = halvesOf(blocks);
  const others = halves.flatMap((half, n) => [
    `let other${n} = ${othersOf(half, ACROSS, "i").join(" * ")};`,
    `let isLater${n} = (i & ${half}) != 0;`,
  ]);
  const all = (isLater: boolean): string =>
    halves.map((_, n) => `select(${isLater ? `${ONES}, other${n}` : `other${n}, ${ONES}`}, isLater${n})`).join(" * ");
  const begun = ({ state, name }: Side): string[] => {
    const { to, from, isLater } = edgeOf[state];
    return [
      `{\n  let whole = ${all(isLater)};\n${FOUR.map((r) => `  ${state}${r} *= whole * (${from[r]});`).join("\n")}\n}`,
      ...FOUR.map((r) => `let ${name}${r}Edge = ${name}${r} * (${to[r]});`),
    ];
  };
  return [
    ...others,
    ...sides.flatMap(begun),
    withinText(pairs),
    `var since = ${ONES};`,
    `var until = ${ONES};`,
    ...halves.flatMap((half, n) => [
      // rows of the level before are read until all threads are done with it
      ...(n > 0 ? [BARRIER] : []),
      levelRows(pairs, n),
      BARRIER,
      levelSums(pairs, half, n),
    ]),
  ].join("\n");
}

/** Rows of the other side on their way to a block's edge, sums from there to a step, and the decay between edge and chunk. */
const edgeOf = {
  current: { to: UNTIL, from: SINCE, isLater: true },
  adjoint: { to: SINCE, from: UNTIL, isLater: false },
} as const;
const BARRIER = "workgroupBarrier();";

/** A level's rows, and the decay between the block and the level's boundary. */
function levelRows({ sides }: Pairs, n: number): string {
  const edge = (state: Side["state"], r: number): string => {
    const side = sides.find((each) => each.state === state);
    return side ? `${side.name}${r}Edge` : NONE;
  };
  const written = FOUR.map(
    (r) =>
      `rows[(4 * i + ${r}) * ${ACROSS} + x] = select(${edge("current", r)}, ${edge("adjoint", r)}, isLater${n}) * by${n};`,
  );
  return `let by${n} = select(until, since, isLater${n});
${written.join("\n")}
if (isLater${n}) { since *= other${n}; } else { until *= other${n}; }`;
}

/** Sums over the other half's rows. */
function levelSums({ chunks, sides, blocks }: Pairs, half: number, n: number): string {
  const { L } = chunks;
  const side = (state: Side["state"]): string | undefined => {
    if (!sides.some((each) => each.state === state)) return undefined;
    const isCurrent = state === "current";
    const scores = FOUR.map((k) =>
      isCurrent
        ? `let n${k} = ${laterSteps(chunks, `scores[at + (4 * j + ${k}) * ${blocks} + i]`, "i")};`
        : `let n${k} = ${laterSteps(chunks, `scores[at + (4 * i + ${k}) * ${blocks} + j]`, "j")};`,
    );
    const sums = FOUR.map(
      (r) => `sum${r} += ${FOUR.map((k) => (isCurrent ? `n${k}[${r}] * z${k}` : `n${r}[${k}] * z${k}`)).join(" + ")};`,
    );
    const end = isCurrent || !isRagged(chunks) ? `first + ${half}` : `min(first + ${half}, (${L + 3} - t0) / 4)`;
    return `{
  ${FOUR.map((r) => `var sum${r} = ${NONE};`).join(" ")}
  let first = (i ^ ${half}) & ~${half - 1};
  for (var j = first; j < ${end}; j++) {
${indent(scores.join("\n"), 2)}
${FOUR.map((k) => `    let z${k} = rows[(4 * j + ${k}) * ${ACROSS} + x];`).join("\n")}
${indent(sums.join("\n"), 2)}
  }
${FOUR.map((r) => `  ${state}${r} += sum${r} * (by${n} * (${edgeOf[state].from[r]}));`).join("\n")}
}`;
  };
  const [current, adjoint] = [side("current"), side("adjoint")];
  if (current === undefined) return `if (!isLater${n}) ${adjoint}`;
  return adjoint === undefined ? `if (isLater${n}) ${current}` : `if (isLater${n}) ${current} else ${adjoint}`;
}

/** Pairs of steps of the block. */
function withinText({ chunks, sides }: Pairs): string {
  const { Q } = chunks;
  const scores = FOUR.map(
    (k) => `let n${k} = ${laterSteps(chunks, `scores[at + (4 * i + ${k}) * ${Q / 4} + i]`, "i")};`,
  );
  const sums = sides.flatMap(({ state, name }) =>
    FOUR.flatMap((later) =>
      FOUR.filter((earlier) => earlier <= later).map((earlier) => {
        const between = FOUR.filter((n) => n > earlier && n <= later).map((n) => `a${n}`);
        const [to, of] = state === "adjoint" ? [earlier, later] : [later, earlier];
        return `${state}${to} += ${[`n${earlier}[${later}]`, ...between, `${name}${of}`].reduceRight((x, y) => `(${y} * ${x})`)};`;
      }),
    ),
  );
  return `{\n${indent([...scores, ...sums].join("\n"))}\n}`;
}

/** Behind the last step there are none. */
const laterSteps = (chunks: Chunks, scores: string, block: string): string =>
  isRagged(chunks)
    ? `select(vec4<f32>(), ${scores}, vec4<i32>(t0 + 4 * ${block}) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(${chunks.L}))`
    : scores;

/** The rows that the states give. */
function givenRows(chunks: Chunks, state: Side["state"], to: Place): string {
  const row = (r: number): string => {
    const step = `t0 + 4 * i + ${r}`;
    const at = `${baseText(chunks, to, 4)} + (${isRagged(chunks) ? `min(${step}, ${chunks.L - 1})` : step}) * ${strideOf(chunks, to, 4)} + e`;
    const given = `${state}[${at}]`;
    return isRagged(chunks) ? `select(${NONE}, ${given}, ${step} < ${chunks.L})` : given;
  };
  return FOUR.map((r) => `var ${state}${r} = ${row(r)};`).join("\n");
}

/** Stores what has become of them. */
function stored(chunks: Chunks, state: Side["state"], to: Place): string {
  const { K4, L } = chunks;
  const stride = strideOf(chunks, to, 4);
  const store = (r: number): string => `${state}[first + ${r * stride}] = ${state}${r};`;
  return `if (column < ${K4}) {
  let first = ${baseText(chunks, to, 4)} + (t0 + 4 * i) * ${stride} + column;
${FOUR.map((r) => (isRagged(chunks) ? `  if (t0 + 4 * i + ${r} < ${L}) { ${store(r)} }` : `  ${store(r)}`)).join("\n")}
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
rows[i * ${ACROSS} + x] = d0;
products[i * ${ACROSS} + x] = select(${none}, ${ONES}, passes0);
workgroupBarrier();
let endAt = ${ends} + (h * ${count} + c) * ${K};
var behind = vec4<f32>(${FOUR.map((r) => `select(0.0, table[endAt + min(4 * e + ${r}, ${K - 1})], 4 * e + ${r} < ${K})`).join(", ")});
for (var j = ${Q / 4 - 1}; j > i; j--) {
  behind = select(${none}, behind, products[j * ${ACROSS} + x] != ${none}) + rows[j * ${ACROSS} + x];
}
if (column < ${K4}) {
  let first = ${baseText(chunks, to, 4)} + (t0 + 4 * i) * ${stride} + column;
${FOUR.map((r) => `  if (t0 + 4 * i + ${r} < ${L}) { found[first + ${r * stride}] = select((d${r} + select(${none}, behind, passes${r})) / a${r}, ${none}, a${r} == ${none}); }`).join("\n")}
}`;
}
