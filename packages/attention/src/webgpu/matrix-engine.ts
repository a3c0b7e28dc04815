/**
 * Tiles on matrix units. Subgroups share a block of scores [rows, columns] and the sums [rows, width] as grids; own rows wait
 * in registers as fragments, blocks of the other side come through workgroup memory, the next while one is worked on. Operands
 * are f16: those of f32 one number (10 bits of mantissa, as tf32) or two, of which three products are taken.
 */
import { FRAGMENT, indent, type FragmentTexts } from "@seqmix/tensor/wgsl";
import type { Engine, Products } from "./engine.js";
import {
  eachSubgroup,
  layoutOf,
  othersOf,
  ownsOf,
  scorePitch,
  sumNames,
  threadsOf,
  VECTOR,
  weightPitch,
  weightStride,
  type MatrixTile,
  type Terms,
  type Unit,
} from "./matrix-layout.js";
import { bringText, scoresText, sumsText } from "./matrix-products.js";
import { keepRows, stageBlock } from "./matrix-rows.js";
import { lines, PACKING } from "./text.js";

/** @param scaled Whether operands have exponents; those that are f16 by themselves may have none. */
export function matrixEngine(
  tile: MatrixTile,
  terms: Terms,
  fragments: FragmentTexts,
  products: Products,
  scaled: boolean,
): Engine {
  const { rows, columns } = tile;
  const threads = threadsOf(tile);
  const layout = layoutOf(tile, terms, products);
  const pitch = scorePitch(tile);
  const unit: Unit = { tile, terms, fragments, products, layout };
  const staged = othersOf(products).map((operand) => stageBlock(unit, operand));
  const sums = products.sums.flatMap((sum) => sumNames(tile, sum));
  return {
    rows,
    columns,
    threads,
    builtin: fragments.builtin,
    scaled,
    lift: 7,
    narrowest: tile.apart ? 0 : FRAGMENT,
    operandType: () => "vec4<u32>",
    declarations: () =>
      `var<workgroup> tiles: array<vec4<u32>, ${layout.size}>;\n${fragments.declare("tiles")}${PACKING}`,
    begin: () =>
      lines(
        `let own = i32(${fragments.subgroup});`,
        terms === 3
          ? [
              ...new Map(
                [...ownsOf(products), ...othersOf(products)].map((operand) => [operand.name, operand]),
              ).values(),
            ].map(
              ({ name, length, width }) =>
                `let ${name}Low = p.B * ${length === "p.L" ? "p.H" : "p.G"} * ${length} * ${width / VECTOR};`,
            )
          : "",
        sums.map((name) => `var ${name} = ${fragments.zero};`),
        ownsOf(products).map((operand) => keepRows(unit, operand)),
        staged.map((each) => each.begin),
      ),
    ask: (first) => lines(staged.map((each) => each.ask(first))),
    enter: (next, end) =>
      lines(
        staged.map((each) => each.store),
        "workgroupBarrier();",
        `if (${next} < ${end}) {`,
        indent(lines(staged.map((each) => each.ask(next)))),
        "}",
      ),
    scores: () => eachSubgroup(tile, (q) => lines(products.scores.map((product) => scoresText(unit, product, q)))),
    scoreAt: (region, row) => `(${layout.regions[region]!} + (${row}) * ${pitch})`,
    putWeights(region, row, eighth, x, y) {
      const at = `${layout.weights[region]!} + ${row} * ${weightPitch(tile, terms)} + ${eighth} / 2 * ${weightStride(tile, terms)} + ${eighth} % 2`;
      return storeParts(terms, `tiles[${at}]`, `tiles[${at} + 2]`, x, y);
    },
    keep: (at, x, y) => storeParts(terms, `slopes[${at}]`, `slopes[${at} + p.slopesLow]`, x, y),
    sums: () => eachSubgroup(tile, (q) => lines(products.sums.map((product) => sumsText(unit, product, q)))),
    clear: () => lines(sums.map((name) => `${name} = ${fragments.zero};`)),
    bring: (name, where, take) =>
      bringText(
        unit,
        products.sums.find((sum) => sum.name === name)!,
        where === "loop" ? layout.first : layout.size,
        take,
      ),
    leave: () => "workgroupBarrier();",
  };
}

/** Stores 8 numbers as f16, or the parts that have eleven bits and what is left of them. */
const storeParts = (terms: Terms, to: string, low: string, x: string, y: string): string =>
  terms === 1
    ? `${to} = pack8(${x}, ${y});`
    : lines(
        "{",
        `  let x = highPart(${x});`,
        `  let y = highPart(${y});`,
        `  ${to} = pack8(x, y);`,
        `  ${low} = pack8(${x} - x, ${y} - y);`,
        "}",
      );
