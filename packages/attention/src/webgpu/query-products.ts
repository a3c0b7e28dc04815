/**
 * Gradients of queries from what the pass over keys kept: dq = dS K, one product. The blocks of dS lie as the fragments of
 * matrix units want them, 16 queries of a key side by side.
 */
import { declare, declareParameters, entryPoint, FRAGMENT, indent, type GpuParameters } from "@seqmix/tensor/wgsl";
import { headroom, rangeOf } from "./backward.js";
import type { Binding, Operand } from "./engine.js";
import { bringText, placeText } from "./forward.js";
import {
  eachSubgroup,
  loadFragment,
  partsOf,
  pitchOf,
  stripSize,
  sumNames,
  threadsOf,
  VECTOR,
  type MatrixTile,
  type Unit,
} from "./matrix-layout.js";
import { addedText, bringText as bringSums } from "./matrix-products.js";
import { stageBlock } from "./matrix-rows.js";
import type { Seeing } from "./seen.js";
import { CHUNK, leastOfAll, lines, PACKING, range } from "./text.js";

export interface QueryProductsCode {
  readonly seeing: Seeing;
  /** Entries of keys in the results, and of values as stored. */
  readonly K: number;
  readonly valueWidth: number;
  /** Tile of the pass that kept dS. */
  readonly kept: Pick<MatrixTile, "rows" | "columns">;
  /** Keys after which sums go to the results and begin anew. */
  readonly stretch?: number;
}

/** Vectors from one key of a block of 16 queries to the next: two, and one against bank conflicts. */
const PITCH = 3;

const keyOperand = (width: number): Operand => ({ name: "k", head: "otherHead", length: "p.S", width });

/** The pass's tile with the places of its blocks in workgroup memory: dS, then keys. */
export function queryProductsUnit(
  tile: MatrixTile,
  { terms, fragments }: Pick<Unit, "terms" | "fragments">,
  keyWidth: number,
): Unit {
  const parts = partsOf(terms).length;
  const slopes = (tile.rows / FRAGMENT) * tile.columns * PITCH;
  const keys = tile.columns * pitchOf(keyWidth);
  const places = new Map([["k", partsOf(terms).map((part) => parts * slopes + part * keys)]]);
  const regions = partsOf(terms).map((part) => part * slopes);
  const size = Math.max(parts * (slopes + keys), stripSize(tile, 1), threadsOf(tile));
  const sum = { name: "o", region: 0, other: keyOperand(keyWidth), width: keyWidth };
  return {
    tile,
    terms,
    fragments,
    products: { scores: [], sums: [sum] },
    layout: { places, regions, weights: [], first: size, size },
  };
}

export function queryProductsBindings({ K }: QueryProductsCode): Binding[] {
  return [
    { name: "slopes", access: "read", type: "vec4<u32>" },
    { name: "k", access: "read", type: "vec4<u32>" },
    ...["ke", "ve", "ge"].map((name): Binding => ({ name, access: "read", type: "f32" })),
    { name: "dq", access: "read_write", type: K % 4 === 0 ? "vec4<f32>" : "f32" },
  ];
}

/** Bindings as listed by {@link queryProductsBindings}. */
export function queryProductsCode(code: QueryProductsCode, unit: Unit, parameters: GpuParameters): string {
  const { seeing, K, valueWidth, stretch } = code;
  const { tile, fragments, layout, products } = unit;
  const { rows, columns } = tile;
  const [sum] = products.sums as [(typeof products.sums)[number]];
  const names = sumNames(tile, sum);
  const bindings = queryProductsBindings(code);
  const keys = stageBlock(unit, sum.other);
  const slopes = stageSlopes(code, unit);
  const clear = names.map((name) => `${name} = ${fragments.zero};`);
  const bring = (factor: string): string =>
    bringSums(unit, sum, layout.size, (row, column, value) => bringText("dq", K, row, column, value, () => factor));
  const room = headroom(valueWidth);
  const { begin, end } = rangeOf({ rows, columns }, "query", seeing, "firstRow");
  const block = lines(
    keys.store,
    slopes.store,
    "workgroupBarrier();",
    "let next = first + " + columns + ";",
    "if (next < end) {",
    indent(lines(keys.ask("next"), slopes.ask("next"))),
    "}",
    eachSubgroup(tile, (subgroup) => productText(unit, subgroup)),
    "workgroupBarrier();",
    stretch === undefined
      ? ""
      : lines(
          `if ((next - begin) % ${stretch} == 0) {`,
          indent(lines(bring("1.0"), clear, "flushed = true;", "workgroupBarrier();")),
          "}",
        ),
  );
  const body = lines(
    placeText("turnOfHead", "longest last"),
    "let ownHead = p.from_ * p.share + turnOfHead;",
    "let otherHead = ownHead / p.share;",
    "let ownLength = p.L;",
    `let firstRow = tile * ${rows};`,
    "let behind = p.S - p.L;",
    `let begin = ${begin};`,
    `let end = ${end};`,
    "var ownLeast = vec4<f32>(200.0);",
    `for (var c = lane; c < p.chunksS; c += ${threadsOf(tile)}) {`,
    "  let chunk = otherHead * p.chunksS + c;",
    "  ownLeast = min(ownLeast, vec4<f32>(ke[chunk], ve[chunk], 200.0, 200.0));",
    "}",
    leastOfAll("ownLeast", threadsOf(tile)),
    `let own = i32(${fragments.subgroup});`,
    unit.terms === 3 ? `let kLow = p.B * p.G * p.S * ${sum.other.width / VECTOR};` : "",
    names.map((name) => `var ${name} = ${fragments.zero};`),
    "var flushed = false;",
    keys.begin,
    slopes.begin,
    "if (begin < end) {",
    indent(lines(keys.ask("begin"), slopes.ask("begin"))),
    "}",
    `for (var first = begin; first < end; first += ${columns}) {`,
    indent(block),
    "}",
    bring(`${seeing.scale} * exp2(-(${room}.0 + least.x + ge[ownHead * p.chunksL + target_ / ${CHUNK}] + least.y))`),
  );
  return [
    ...bindings.map(({ name, access, type }, k) => declare(k, name, access, type)),
    declareParameters(bindings.length, parameters),
    `var<workgroup> tiles: array<vec4<u32>, ${layout.size}>;\n${fragments.declare("tiles")}${PACKING}`,
    entryPoint(threadsOf(tile), body, fragments.builtin),
  ].join("");
}

/** dS K: the slopes of 16 queries lie side by side, a key behind the other. */
function productText(unit: Unit, subgroup: number): string {
  const { tile, layout, products } = unit;
  const [sum] = products.sums as [(typeof products.sums)[number]];
  return addedText(unit, sum, subgroup, (part, row, step) => {
    const place = layout.regions[part]! + ((row / FRAGMENT) * tile.columns + step * FRAGMENT) * PITCH;
    return loadFragment(unit, "left", "col_major", place, PITCH);
  });
}

/** How blocks of dS come from memory through registers to workgroup memory; zeros where the pass over keys was not. */
function stageSlopes({ seeing, kept }: QueryProductsCode, { tile, terms, layout }: Unit) {
  const { rows, columns } = tile;
  const threads = threadsOf(tile);
  const parts = partsOf(terms);
  const each = 2 * columns;
  const some = range(Math.ceil(((rows / FRAGMENT) * each) / threads));
  const { begin, end } = rangeOf(kept, "key", seeing, `(keyTile * ${kept.rows})`);
  const place = (q: number): string => (q === 0 ? "lane" : `(lane + ${q * threads})`);
  return {
    begin: lines(some.flatMap((q) => parts.map((part) => `var slope${q}_${part} = vec4<u32>();`))),
    ask: (first: string): string =>
      lines(
        some.flatMap((q) => [
          "{",
          `  let block = firstRow / ${FRAGMENT} + ${place(q)} / ${each};`,
          `  let key = ${first} + ${place(q)} % ${each} / 2;`,
          `  let keyTile = key / ${kept.rows};`,
          `  let beginOfTile = ${begin};`,
          `  let endOfTile = ${end};`,
          `  let isKept = (block * ${FRAGMENT} >= beginOfTile) & (block * ${FRAGMENT} / ${kept.columns} * ${kept.columns} < endOfTile) & (key < p.S);`,
          `  let source = select(0, (((turnOfHead * p.keyTiles + keyTile) * p.blocks + block) * ${kept.rows} + key % ${kept.rows}) * 2 + ${place(q)} % 2, isKept);`,
          ...parts.map(
            (part) =>
              `  slope${q}_${part} = select(vec4<u32>(), slopes[source${part === 1 ? " + p.slopesLow" : ""}], isKept);`,
          ),
          "}",
        ]),
      ),
    store: lines(
      some.flatMap((q) =>
        parts.map(
          (part) =>
            `tiles[${layout.regions[part]!} + ${place(q)} / 2 * ${PITCH} + ${place(q)} % 2] = slope${q}_${part};`,
        ),
      ),
    ),
  };
}
