/**
 * The forward pass: a workgroup has some queries of a head and goes through the keys in blocks, with the maximum and the sum of
 * each row so far (Dao, FlashAttention-2, 2023). Weights are powers of two above a reference that is raised only where a
 * score exceeds it by 2^8: then, and after long sums, the sums so far go to the result, which is rescaled there, and begin anew.
 */
import { declare, declareParameters, entryPoint, indent, type GpuParameters } from "@seqmix/tensor/wgsl";
import { UNSEEN } from "../options.js";
import type { Binding, Engine, Operand, Products, Take } from "./engine.js";
import { isLabelled, isOrdered, otherLabels, ownLabel, seenText, type Seeing } from "./seen.js";
import { ALIBI_SLOPE, CHUNK, leastOfAll, lines, range } from "./text.js";

/** Powers of two by which a score may exceed the reference. */
const SLACK = 8;
/** What no score is below. */
const NOTHING = "-5e29";

export interface ForwardCode {
  readonly seeing: Seeing;
  /** Entries of values in the result. */
  readonly width: number;
  /** Keys after which sums go to the result and begin anew, a multiple of the block. */
  readonly stretch?: number;
}

const query = (width: number): Operand => ({ name: "q", head: "bh", length: "p.L", width });
const key = (width: number): Operand => ({ name: "k", head: "bg", length: "p.S", width });
const value = (width: number): Operand => ({ name: "v", head: "bg", length: "p.S", width });

/** What the pass multiplies; widths as stored. */
export const forwardProducts = (keyWidth: number, valueWidth: number): Products => ({
  scores: [{ own: query(keyWidth), other: key(keyWidth), region: 0 }],
  sums: [{ name: "o", region: 0, other: value(valueWidth), width: valueWidth }],
});

export function forwardBindings({ seeing, width }: ForwardCode, engine: Engine, products: Products): Binding[] {
  const [{ own, other }] = products.scores as [Products["scores"][number]];
  return [
    ...[own, other, products.sums[0]!.other].map((operand): Binding => ({
      name: operand.name,
      access: "read",
      type: engine.operandType(operand),
    })),
    ...(engine.scaled ? ["qe", "ke", "ve"] : []).map((name): Binding => ({ name, access: "read", type: "f32" })),
    ...(isLabelled(seeing) ? [{ name: "labels", access: "read", type: "vec2<i32>" } as const] : []),
    { name: "out", access: "read_write", type: width % 4 === 0 ? "vec4<f32>" : "f32" },
    { name: "logSumExp", access: "read_write", type: "f32" },
  ];
}

/**
 * Bindings as listed by {@link forwardBindings}. Parameters: groups, tiles, near (heads that run together), B, H, G, share (heads a group), L,
 * S, chunksL, chunksS (numbers of chunks of rows with one exponent).
 */
export function forwardCode(code: ForwardCode, engine: Engine, products: Products, parameters: GpuParameters): string {
  const { seeing, width, stretch } = code;
  const { rows, columns, threads, scaled, lift } = engine;
  const parts = threads / rows;
  const each = columns / parts;
  const quads = range(each / 4);
  const bindings = forwardBindings(code, engine, products);
  const labelled = isLabelled(seeing);

  const readScores = scoresOfRow(engine, seeing);
  const largest = lines(
    `let four_ = ${quads.map((e) => `s${e}`).reduce((a, b) => `max(${a}, ${b})`)};`,
    "let largest = max(max(four_.x, four_.y), max(four_.z, four_.w));",
  );
  const weigh = lines(
    `let base = m - ${scaled ? "lift" : `${lift}.0`};`,
    quads.map((e) => `let w${e} = exp2(s${e} - base);`),
    `let four = ${quads.map((e) => `w${e}`).join(" + ")};`,
    "added = (four.x + four.y) + (four.z + four.w);",
    each < engine.narrowest ? "workgroupBarrier();" : "",
    range(each / 8).map((h) =>
      engine.putWeights(0, "row", `(part * ${each / 8} + ${h})`, `w${2 * h}`, `w${2 * h + 1}`),
    ),
  );
  const take: Take = (row, column, sum) => bringText("out", width, row, column, sum);
  const raise = lines(
    largest,
    // parts of a row meet in workgroup memory
    "mostOf[lane] = largest;",
    "workgroupBarrier();",
    `let top = ${range(parts)
      .map((q) => `mostOf[row + ${q * rows}]`)
      .reduce((a, b) => `max(${a}, ${b})`)};`,
    "let before = m;",
    `if (top > m + ${SLACK}.0) { m = top; }`,
    "let lower = select(exp2(before - m), 1.0, before == m);",
    "l *= lower;",
    "if (part == 0) { factors[row] = lower; }",
    "workgroupBarrier();",
    "if (begun) {",
    indent(lines(engine.bring("o", "loop", take), engine.clear())),
    "  flushed = true;",
    "}",
    weigh,
    "workgroupBarrier();",
  );
  const block = lines(
    scaled ? factorsText(lift) : "",
    engine.enter("next", "end"),
    "if (lane == 0) { grown = 0u; }",
    engine.scores(),
    "workgroupBarrier();",
    labelled ? "" : raggedText(engine, seeing),
    "var added = 0.0;",
    readScores,
    "{",
    indent(lines(largest, `if (largest > m + ${SLACK}.0) { grown = 1u; }`, weigh)),
    "}",
    `let raises = workgroupUniformLoad(&grown) != 0u;`,
    `if (${stretch === undefined ? "raises" : `raises | ((first - begin) % ${stretch} == ${stretch - columns})`}) {`,
    indent(raise),
    "}",
    `l += added * ${scaled ? "lowered" : 2 ** -lift};`,
    "begun = true;",
    engine.sums(),
    engine.leave(),
  );
  const body = lines(
    placeText("bh", "longest last"),
    "let batch = bh / p.H;",
    "let head = bh % p.H;",
    "let bg = batch * p.G + head / p.share;",
    "let ownHead = bh;",
    "let ownLength = p.L;",
    `let firstRow = tile * ${rows};`,
    `let row = lane % ${rows};`,
    `let part = lane / ${rows};`,
    "let ownRow = min(firstRow + row, p.L - 1);",
    "let behind = p.S - p.L;",
    ownLabel(seeing, "query", "ownRow"),
    rangeOfKeys(engine, seeing),
    scaled
      ? lines(
          `let rowFactor = ${seeing.scale * Math.LOG2E} * exp2(-qe[bh * p.chunksL + ownRow / ${CHUNK}]);`,
          "// the exponent of what is largest among the values that are seen",
          "var ownLeast = vec4<f32>(200.0);",
          `for (var c = begin / ${CHUNK} + lane; c * ${CHUNK} < end; c += ${threads}) {`,
          "  ownLeast.x = min(ownLeast.x, ve[bg * p.chunksS + c]);",
          "}",
          leastOfAll("ownLeast", threads),
          `var exponents = exponentsOf(bg * p.chunksS + min(begin / ${CHUNK}, p.chunksS - 1));`,
        )
      : `let factor = f32(${seeing.scale * Math.LOG2E});`,
    scaled ? "var factor = 0.0;\nvar lift = 0.0;\nvar lowered = 0.0;" : "",
    seeing.alibi ? ALIBI_SLOPE : "",
    `var m = f32(${NOTHING});`,
    "var l = 0.0;",
    "var begun = false;",
    "var flushed = false;",
    engine.begin(),
    "if (begin < end) {",
    indent(engine.ask("begin")),
    "}",
    `for (var first = begin; first < end; first += ${columns}) {`,
    `  let next = first + ${columns};`,
    indent(block),
    "}",
    "mostOf[lane] = l;",
    "workgroupBarrier();",
    `let total = ${range(parts)
      .map((q) => `mostOf[row + ${q * rows}]`)
      .join(" + ")};`,
    "if (part == 0) {",
    `  factors[row] = select(1.0 / total, 0.0, total == 0.0) * ${scaled ? `exp2(-${lift}.0 - least.x)` : 2 ** -lift};`,
    "  if (firstRow + row < p.L) {",
    `    logSumExp[bh * p.L + firstRow + row] = select((m + log2(total)) * ${Math.LN2}, ${UNSEEN}, total == 0.0);`,
    "  }",
    "}",
    "workgroupBarrier();",
    // what left in the loop may have been another thread's
    "storageBarrier();",
    engine.bring("o", "end", take),
  );
  return [
    ...bindings.map(({ name, access, type }, k) => declare(k, name, access, type)),
    declareParameters(bindings.length, parameters),
    `var<workgroup> factors: array<f32, ${rows}>;\nvar<workgroup> mostOf: array<f32, ${threads}>;\nvar<workgroup> grown: u32;\n`,
    engine.declarations(),
    scaled ? "fn exponentsOf(chunk: i32) -> vec2<f32> { return vec2<f32>(ke[chunk], ve[chunk]); }\n" : "",
    entryPoint(threads, body, engine.builtin),
  ].join("");
}

/**
 * Statements that open a pass: which head a workgroup has, and which of its tiles, those with most to do first. Heads run `near` at a time, so
 * that what they read of the other side is still in the cache when the next tile reads it.
 */
export const placeText = (head: string, tiles: "longest first" | "longest last"): string =>
  lines(
    "let at = i32(group);",
    "if (at >= p.groups) { return; }",
    "let lane = i32(thread);",
    "let together = p.near * p.tiles;",
    "let turn = at % together / p.near;",
    `let ${head} = at / together * p.near + at % p.near;`,
    `let tile = ${tiles === "longest last" ? "p.tiles - 1 - turn" : "turn"};`,
  );

/** Blocks of one chunk have the same exponents, which are read while the chunk before is worked on. */
const factorsText = (lift: number): string =>
  lines(
    `if ((first % ${CHUNK} == 0) | !begun) {`,
    "  factor = rowFactor * exp2(-exponents.x);",
    `  lift = ${lift}.0 + least.x - exponents.y;`,
    "  lowered = exp2(-lift);",
    `  exponents = exponentsOf(bg * p.chunksS + min(first / ${CHUNK} + 1, p.chunksS - 1));`,
    "}",
  );

/** The scores of four keys a vector, biased, and {@link UNSEEN} where a key is not seen. */
function scoresOfRow(engine: Engine, seeing: Seeing): string {
  const each = (engine.columns * engine.rows) / engine.threads;
  const quads = range(each / 4);
  return lines(
    `let otherFirst = first + part * ${each};`,
    `let scoresAt = ${engine.scoreAt(0, "row")} + part * ${each / 4};`,
    quads.flatMap((e) => [
      `var s${e} = bitcast<vec4<f32>>(tiles[scoresAt + ${e}]) * factor;`,
      otherLabels(seeing, "key", e),
      seeing.alibi ? `s${e} -= slope * vec4<f32>(abs(vec4<i32>(place) - place${e}));` : "",
    ]),
    isLabelled(seeing) ? "{" : "if (ragged) {",
    quads.map((e) => `  s${e} = select(vec4<f32>(${UNSEEN}), s${e}, ${seenText(seeing, "key", e)});`),
    "}",
  );
}

/** Four neighbours of a sum times the row's factor to a result [heads, length, width], on what is there if `flushed`. */
export function bringText(
  name: string,
  width: number,
  row: string,
  column: string,
  sum: string,
  factor: (row: string) => string = (r) => `factors[${r}]`,
): string {
  const vectors = width % 4 === 0;
  return lines(
    `let target_ = firstRow + ${row};`,
    `if ((target_ < ownLength) & (${column} < ${width})) {`,
    `  let by = ${factor(row)};`,
    `  let to = ${vectors ? `((ownHead * ownLength + target_) * ${width} + ${column}) / 4` : `(ownHead * ownLength + target_) * ${width} + ${column}`};`,
    `  var sum = ${sum};`,
    vectors
      ? `  if (flushed) { sum += ${name}[to]; }\n  ${name}[to] = sum * by;`
      : range(4).map(
          (e) =>
            `  if (${column} + ${e} < ${width}) { if (flushed) { sum[${e}] += ${name}[to + ${e}]; } ${name}[to + ${e}] = sum[${e}] * by; }`,
        ),
    "}",
  );
}

/** Keys [begin, end) that a query of the tile may see, from a multiple of the block on. */
function rangeOfKeys({ rows, columns }: Engine, seeing: Seeing): string {
  const { causal, window } = seeing;
  if (!isOrdered(seeing)) return "let begin = 0;\nlet end = p.S;";
  const end = causal
    ? `min(p.S, firstRow + ${rows} + behind)`
    : window > 0
      ? `min(p.S, firstRow + ${rows} + behind + ${window - 1})`
      : "p.S";
  const begin = window > 0 ? `max(0, firstRow + behind - ${window - 1}) / ${columns} * ${columns}` : "0";
  return `let begin = ${begin};\nlet end = ${end};`;
}

/** Whether some pair of a block is not seen. */
function raggedText({ rows, columns }: Engine, { causal, window }: Seeing): string {
  const conditions = [
    `(first + ${columns} > p.S)`,
    causal ? `(first + ${columns - 1} > firstRow + behind)` : "",
    window > 0 ? `(first <= firstRow + ${rows - 1} + behind - ${window})` : "",
    window > 0 && !causal ? `(first + ${columns - 1} >= firstRow + behind + ${window})` : "",
  ];
  return `let ragged = ${conditions.filter(Boolean).join(" | ")};`;
}
