/**
 * The gradients. A workgroup keeps some rows of one side (queries for dq, keys for dk and dv) and goes through the other side
 * in blocks: scores, and the products of cotangents with values, are computed again; weights P = 2^(score - logSumExp) and
 * dS = P (dO V^T - delta) become operands of the sums (Dao, FlashAttention-2, 2023). No sum is shared between workgroups, so
 * the result is the same in every run.
 */
import { declare, declareParameters, entryPoint, indent, type GpuParameters } from "@seqmix/tensor/wgsl";
import type { Binding, Engine, Operand, Products } from "./engine.js";
import { bringText, placeText } from "./forward.js";
import { isLabelled, isOrdered, otherLabels, ownLabel, seenText, type Seeing } from "./seen.js";
import { ALIBI_SLOPE, CHUNK, leastOfAll, lines, range } from "./text.js";

/** Whose gradients a pass computes: those of queries, or of keys and values. */
export type Side = "query" | "key";

export interface BackwardCode {
  readonly side: Side;
  readonly seeing: Seeing;
  /** Entries of keys and values in the results. */
  readonly K: number;
  readonly V: number;
  /** Those of values as stored. */
  readonly valueWidth: number;
  /** Rows of the other side after which sums go to the results and begin anew. */
  readonly stretch?: number;
  /** Whether the number of queries is even, so that facts of two neighbours are read at once. */
  readonly pairs: boolean;
  /** Whether the pass over keys keeps dS for the gradients of queries; see `query-products.ts`. */
  readonly keeps?: boolean;
}

/** What a pass multiplies; widths as stored. Region 0 has scores, region 1 what becomes dS. */
export function backwardProducts(side: Side, keyWidth: number, valueWidth: number): Products {
  const own = (name: string, width: number): Operand => ({
    name,
    head: "ownHead",
    length: side === "query" ? "p.L" : "p.S",
    width,
  });
  const other = (name: string, width: number): Operand => ({
    name,
    head: "otherHead",
    length: side === "query" ? "p.S" : "p.L",
    width,
  });
  const [ownX, ownZ, otherX, otherZ] =
    side === "query"
      ? ([own("q", keyWidth), own("g", valueWidth), other("k", keyWidth), other("v", valueWidth)] as const)
      : ([own("k", keyWidth), own("v", valueWidth), other("q", keyWidth), other("g", valueWidth)] as const);
  return {
    scores: [
      { own: ownX, other: otherX, region: 0 },
      { own: ownZ, other: otherZ, region: 1 },
    ],
    sums: [
      { name: "o", region: 1, other: otherX, width: keyWidth },
      ...(side === "key" ? [{ name: "r", region: 0, other: otherZ, width: valueWidth }] : []),
    ],
  };
}

/** log2 of what dS is multiplied with beside exponents: it holds sums of V products of two numbers below 2^13, twice, and is below 2^15 then. */
export const headroom = (valueWidth: number): number => 15 - 26 - 2 - Math.ceil(Math.log2(valueWidth));
/** The same of weights. */
const LIFT = 15;

const resultsOf = (side: Side): readonly string[] => (side === "query" ? ["dq"] : ["dk", "dv"]);

export function backwardBindings(
  { side, seeing, K, V, pairs, keeps }: BackwardCode,
  engine: Engine,
  products: Products,
): Binding[] {
  const operands = new Map(
    products.scores.flatMap(({ own, other }) => [own, other]).map((operand) => [operand.name, operand]),
  );
  return [
    ...["q", "k", "v", "g"].flatMap((name): Binding[] => [
      { name, access: "read", type: engine.operandType(operands.get(name)!) },
      ...(engine.scaled ? [{ name: `${name}e`, access: "read", type: "f32" } as const] : []),
    ]),
    { name: "facts", access: "read", type: side === "key" && pairs ? "vec4<f32>" : "vec2<f32>" },
    ...(isLabelled(seeing) ? [{ name: "labels", access: "read", type: "vec2<i32>" } as const] : []),
    ...resultsOf(side).map((name): Binding => ({
      name,
      access: "read_write",
      type: (name === "dv" ? V : K) % 4 === 0 ? "vec4<f32>" : "f32",
    })),
    ...(keeps ? [{ name: "slopes", access: "read_write", type: "vec4<u32>" } as const] : []),
  ];
}

/** Bindings as listed by {@link backwardBindings}, parameters as of the forward pass. */
export function backwardCode(
  code: BackwardCode,
  engine: Engine,
  products: Products,
  parameters: GpuParameters,
): string {
  const { side, seeing, K, V, stretch, keeps } = code;
  const { rows, columns, threads, scaled } = engine;
  const byQuery = side === "query";
  const labelled = isLabelled(seeing);
  const bindings = backwardBindings(code, engine, products);
  const [ownX, ownZ, otherX, otherZ] = byQuery ? ["q", "g", "k", "v"] : ["k", "v", "q", "g"];
  const [ownChunks, otherChunks] = byQuery ? ["p.chunksL", "p.chunksS"] : ["p.chunksS", "p.chunksL"];
  const room = headroom(code.valueWidth);

  // blocks of one chunk have the same exponents, which are read while the chunk before is worked on
  const exponentsAt = (chunk: string): string =>
    `exponentsOf(otherHead * ${otherChunks} + min(${chunk}, ${otherChunks} - 1))`;
  const factors = scaled
    ? lines(
        `if ((first % ${CHUNK} == 0) | (first == begin)) {`,
        "  factor = rowFactor * exp2(-exponents.x);",
        "  zFactor = rowPower * exp2(-exponents.y);",
        "  slopePower = rowSlope * exp2(least.x - exponents.x);",
        byQuery ? "" : `  weightPower = exp2(${LIFT}.0 + least.y - exponents.y);`,
        keeps ? "  keptPower = rowKept * exp2(exponents.y);" : "",
        `  exponents = ${exponentsAt(`first / ${CHUNK} + 1`)};`,
        "}",
      )
    : "";
  const weigh = weighText(code, engine);
  const bring = (factor: (name: string) => string): string =>
    lines(
      resultsOf(side).map((name) =>
        engine.bring(name === "dv" ? "r" : "o", "end", (row, column, sum) =>
          bringText(name, name === "dv" ? V : K, row, column, sum, () => factor(name)),
        ),
      ),
    );
  const slopeScale = scaled
    ? `${seeing.scale} * exp2(-(${room}.0 + least.x + ${byQuery ? `ge[ownHead * ${ownChunks} + target_ / ${CHUNK}] + least.y` : "least.z"}))`
    : `f32(${seeing.scale})`;
  const block = lines(
    factors,
    engine.enter("next", "end"),
    engine.scores(),
    "workgroupBarrier();",
    labelled ? "" : raggedText(engine, side, seeing),
    weigh,
    "workgroupBarrier();",
    engine.sums(),
    engine.leave(),
    stretch === undefined
      ? ""
      : lines(
          "gone += 1;",
          `if (gone == ${stretch / columns}) {`,
          indent(
            lines(
              "gone = 0;",
              bring(() => "1.0"),
              engine.clear(),
              "flushed = true;",
              "workgroupBarrier();",
            ),
          ),
          "}",
        ),
  );
  const walk = lines(
    byQuery
      ? "let otherHead = batch * p.G + head / p.share;"
      : "let otherHead = batch * p.H + groupOf * p.share + n;\nlet head = groupOf * p.share + n;",
    seeing.alibi ? ALIBI_SLOPE : "",
    scaled ? `var exponents = ${exponentsAt(`begin / ${CHUNK}`)};` : "",
    "if (begin < end) {",
    indent(engine.ask("begin")),
    "}",
    `for (var first = begin; first < end; first += ${columns}) {`,
    `  let next = first + ${columns};`,
    indent(block),
    "}",
  );
  const body = lines(
    placeText("turnOfHead", byQuery ? "longest last" : "longest first"),
    "let ownHead = p.from_ + turnOfHead;",
    byQuery
      ? "let batch = ownHead / p.H;\nlet head = ownHead % p.H;\nlet ownLength = p.L;"
      : "let batch = ownHead / p.G;\nlet groupOf = ownHead % p.G;\nlet ownLength = p.S;",
    `let firstRow = tile * ${rows};`,
    `let row = lane % ${rows};`,
    `let part = lane / ${rows};`,
    "let ownRow = min(firstRow + row, ownLength - 1);",
    "let behind = p.S - p.L;",
    ownLabel(seeing, side, "ownRow"),
    byQuery ? "let ownFacts = facts[ownHead * p.L + ownRow];" : "",
    rangeText(engine, side, seeing),
    scaled
      ? exponents(byQuery, { ownX: ownX!, ownZ: ownZ!, ownChunks, room, scale: seeing.scale, threads, keeps })
      : `let factor = f32(${seeing.scale * Math.LOG2E});`,
    scaled
      ? lines(
          ["factor", "zFactor", "slopePower", ...(byQuery ? [] : ["weightPower"]), ...(keeps ? ["keptPower"] : [])].map(
            (name) => `var ${name} = 0.0;`,
          ),
        )
      : "",
    "var flushed = false;",
    stretch === undefined ? "" : "var gone = 0;",
    engine.begin(),
    byQuery ? walk : `for (var n = 0; n < p.share; n++) {\n${indent(walk)}\n}`,
    bring((name) => (name === "dv" ? (scaled ? `exp2(-${LIFT}.0 - least.y)` : "1.0") : slopeScale)),
  );
  return [
    ...bindings.map(({ name, access, type }, k) => declare(k, name, access, type)),
    declareParameters(bindings.length, parameters),
    engine.declarations(),
    scaled
      ? `fn exponentsOf(chunk: i32) -> vec2<f32> { return vec2<f32>(${otherX}e[chunk], ${otherZ}e[chunk]); }\n`
      : "",
    entryPoint(threads, body, engine.builtin),
  ].join("");
}

/** Parts of two neighbours' facts. */
const pairOf = { x: "xz", y: "yw" } as const;

/** Weights and dS of four rows of the other side a vector, in the place of their scores. */
function weighText({ side, seeing, pairs, keeps }: BackwardCode, engine: Engine): string {
  const { scaled } = engine;
  const byQuery = side === "query";
  const otherSide = byQuery ? "key" : "query";
  const each = (engine.columns * engine.rows) / engine.threads;
  const quads = range(each / 4);
  const fact = (e: number, part: "x" | "y"): string =>
    byQuery
      ? `vec4<f32>(ownFacts.${part})`
      : `vec4<f32>(${range(4)
          .map((n) => (pairs ? `facts${e}_${n >> 1}.${pairOf[part][n % 2]}` : `facts${e}_${n}.${part}`))
          .join(", ")})`;
  const factsOf = (e: number): string[] =>
    pairs
      ? [0, 1].map(
          (n) => `let facts${e}_${n} = facts[(otherHead * p.L + min(otherFirst + ${4 * e + 2 * n}, p.L - 2)) / 2];`,
        )
      : range(4).map((n) => `let facts${e}_${n} = facts[otherHead * p.L + min(other${e}[${n}], p.L - 1)];`);
  const by = (text: string): string => (scaled ? ` * ${text}` : "");
  return lines(
    `let otherFirst = first + part * ${each};`,
    `let scoresAt = ${engine.scoreAt(0, "row")} + part * ${each / 4};`,
    `let slopesAt = ${engine.scoreAt(1, "row")} + part * ${each / 4};`,
    quads.flatMap((e) => [
      `var s${e} = bitcast<vec4<f32>>(tiles[scoresAt + ${e}]) * factor;`,
      otherLabels(seeing, otherSide, e),
      seeing.alibi ? `s${e} -= slope * vec4<f32>(abs(vec4<i32>(place) - place${e}));` : "",
      ...(byQuery ? [] : factsOf(e)),
      `var w${e} = exp2(s${e} - ${fact(e, "x")});`,
    ]),
    isLabelled(seeing) ? "{" : "if (ragged) {",
    quads.map((e) => `  w${e} = select(vec4<f32>(), w${e}, ${seenText(seeing, otherSide, e)});`),
    "}",
    quads.flatMap((e) => [
      `let u${e} = w${e} * (bitcast<vec4<f32>>(tiles[slopesAt + ${e}])${by("zFactor")} - ${fact(e, "y")});`,
      `let d${e} = u${e}${by("slopePower")};`,
    ]),
    keeps ? keepText(engine) : "",
    byQuery || !scaled ? [] : quads.map((e) => `w${e} *= weightPower;`),
    each < engine.narrowest ? "workgroupBarrier();" : "",
    range(each / 8).flatMap((h) => {
      const eighth = `(part * ${each / 8} + ${h})`;
      return [
        byQuery ? "" : engine.putWeights(0, "row", eighth, `w${2 * h}`, `w${2 * h + 1}`),
        engine.putWeights(1, "row", eighth, `d${2 * h}`, `d${2 * h + 1}`),
      ];
    }),
  );
}

/** dS of the block goes to memory, 16 queries of a key side by side. */
function keepText({ rows, columns, threads, keep }: Engine): string {
  const each = (columns * rows) / threads;
  return lines(
    `let keptAt = (((turnOfHead * p.share + n) * p.tiles + tile) * p.blocks + first / 16) * ${2 * rows} + 2 * row;`,
    range(each / 8).map((h) => {
      const eighth = `(part * ${each / 8} + ${h})`;
      const at = `keptAt + ${eighth} / 2 * ${2 * rows} + ${eighth} % 2`;
      return keep(at, `u${2 * h} * keptPower`, `u${2 * h + 1} * keptPower`);
    }),
  );
}

interface ExponentTexts {
  readonly ownX: string;
  readonly ownZ: string;
  readonly ownChunks: string;
  readonly room: number;
  readonly scale: number;
  readonly threads: number;
  readonly keeps: boolean | undefined;
}

/** Factors of a row, and the exponents of what is largest on the other side, so that what is summed has one exponent. */
function exponents(byQuery: boolean, { ownX, ownZ, ownChunks, room, scale, threads, keeps }: ExponentTexts): string {
  const each = byQuery
    ? `for (var c = begin / ${CHUNK} + lane; c * ${CHUNK} < end; c += ${threads}) {
  let chunk = (batch * p.G + head / p.share) * p.chunksS + c;
  ownLeast = min(ownLeast, vec4<f32>(ke[chunk], ve[chunk], 200.0, 200.0));
}`
    : `for (var n = 0; n < p.share; n++) {
  for (var c = begin / ${CHUNK} + lane; c * ${CHUNK} < end; c += ${threads}) {
    let chunk = (batch * p.H + groupOf * p.share + n) * p.chunksL + c;
    ownLeast = min(ownLeast, vec4<f32>(qe[chunk] + ge[chunk], ge[chunk], 200.0, 200.0));
  }
}
// deltas hold values of all keys
for (var c = lane; c < p.chunksS; c += ${threads}) {
  let chunk = ownHead * p.chunksS + c;
  ownLeast.z = min(ownLeast.z, ve[chunk]);${keeps ? "\n  ownLeast.w = min(ownLeast.w, ke[chunk]);" : ""}
}`;
  return lines(
    `let ownChunk = ownHead * ${ownChunks} + ownRow / ${CHUNK};`,
    `let rowFactor = ${scale * Math.LOG2E} * exp2(-${ownX}e[ownChunk]);`,
    `let rowPower = exp2(-${ownZ}e[ownChunk]);`,
    "var ownLeast = vec4<f32>(200.0);",
    each,
    leastOfAll("ownLeast", threads),
    byQuery ? `let rowSlope = exp2(${room}.0 + ge[ownChunk] + least.y);` : `let rowSlope = exp2(${room}.0 + least.z);`,
    keeps ? `let rowKept = exp2(${room}.0 + least.z + least.w - ke[ownChunk]);` : "",
  );
}

function rangeText(engine: Engine, side: Side, seeing: Seeing): string {
  const { begin, end } = rangeOf(engine, side, seeing, "firstRow");
  return `let begin = ${begin};\nlet end = ${end};`;
}

/** Rows [begin, end) of the other side that some row of a tile meets, from a multiple of the block on. @param first The tile's first row. */
export function rangeOf(
  { rows, columns }: Pick<Engine, "rows" | "columns">,
  side: Side,
  seeing: Seeing,
  first: string,
): { readonly begin: string; readonly end: string } {
  const { causal, window } = seeing;
  const all = side === "query" ? "p.S" : "p.L";
  if (!isOrdered(seeing)) return { begin: "0", end: all };
  const at = side === "query" ? `(${first} + behind)` : `(${first} - behind)`;
  const before = side === "query" ? window > 0 : causal || window > 0;
  const after = side === "query" ? causal || window > 0 : window > 0;
  // none beyond the own place on the side that a causal mask cuts
  const reach = (isCut: boolean): number => (isCut ? 0 : window - 1);
  return {
    begin: before ? `max(0, ${at} - ${reach(causal && side === "key")}) / ${columns} * ${columns}` : "0",
    end: after ? `min(${all}, ${at} + ${rows + reach(causal && side === "query")})` : all,
  };
}

/** Whether some pair of a block is not seen. */
function raggedText({ rows, columns }: Engine, side: Side, { causal, window }: Seeing): string {
  const own = ["firstRow", `(firstRow + ${rows - 1})`] as const;
  const other = ["first", `(first + ${columns - 1})`] as const;
  const [queries, keys] = side === "query" ? [own, other] : [other, own];
  const [firstQuery, lastQuery] = queries.map((text) => `(${text} + behind)`) as [string, string];
  const conditions = [
    `(first + ${columns} > ${side === "query" ? "p.S" : "p.L"})`,
    causal ? `(${keys[1]} > ${firstQuery})` : "",
    window > 0 ? `(${lastQuery} - ${keys[0]} >= ${window})` : "",
    window > 0 && !causal ? `(${keys[1]} - ${firstQuery} >= ${window})` : "",
  ];
  return `let ragged = ${conditions.filter(Boolean).join(" | ")};`;
}
