/** The products of a tile on matrix units, and how sums get to memory. */
import { FRAGMENT, indent } from "@seqmix/tensor/wgsl";
import type { ScoreProduct, SumProduct, Take } from "./engine.js";
import {
  corner,
  fragmentNames,
  keptName,
  loadFragment,
  multiplied,
  partsOf,
  pitchOf,
  scoreBlock,
  scorePitch,
  stripPitch,
  stripSize,
  SUBGROUP,
  sumBlock,
  VECTOR,
  weightPitch,
  weightStride,
  type Unit,
} from "./matrix-layout.js";
import { lines, range } from "./text.js";

/** Scores of a subgroup, stored in their region. */
export function scoresText(unit: Unit, { own, other, region }: ScoreProduct, subgroup: number): string {
  const { tile, terms, fragments, layout } = unit;
  const parts = partsOf(terms);
  const pitch = scorePitch(tile);
  const block = scoreBlock(tile);
  const { down, across } = block;
  const [row, column] = corner(tile.scores, block, subgroup);
  const places = layout.places.get(other.name)!;
  const otherPitch = pitchOf(other.width);
  const name = `t${region}_`;
  return lines(
    fragmentNames(name, block).map((each) => `var ${each} = ${fragments.zero};`),
    range(own.width / FRAGMENT).map((step) =>
      lines(
        "{",
        range(across).flatMap((j) =>
          parts.map(
            (part) =>
              `  let b${part}_${j} = ${loadFragment(unit, "right", "col_major", places[part]! + (column + FRAGMENT * j) * otherPitch + (step * FRAGMENT) / VECTOR, otherPitch)};`,
          ),
        ),
        range(down).flatMap((i) =>
          range(across).flatMap((j) =>
            multiplied(
              unit,
              `${name}${i}_${j}`,
              (part) => keptName(own, part, i, step),
              (part) => `b${part}_${j}`,
            ).map((text) => `  ${text}`),
          ),
        ),
        "}",
      ),
    ),
    range(down).flatMap((i) =>
      range(across).map((j) =>
        fragments.store(
          "tiles",
          `${layout.regions[region]! + (row + FRAGMENT * i) * pitch + (column + FRAGMENT * j) / 4}u`,
          `${name}${i}_${j}`,
          `${pitch}u`,
        ),
      ),
    ),
  );
}

/** Weights lie in the place of the scores they come from: of 16 neighbours the high parts, then the low ones. */
export function sumsText(unit: Unit, product: SumProduct, subgroup: number): string {
  const { tile, terms, layout } = unit;
  const pitch = weightPitch(tile, terms);
  return addedText(unit, product, subgroup, (part, row, step) => {
    const place = layout.weights[product.region]! + row * pitch + step * weightStride(tile, terms);
    return loadFragment(unit, "left", "row_major", place + (part * FRAGMENT) / VECTOR, pitch);
  });
}

/**
 * Products of a block on the left with rows of the other operand, added to a subgroup's sums.
 * @param left Loads a fragment of the block's part, from a row on, at a step along the tile's columns.
 */
export function addedText(
  unit: Unit,
  { name, other }: Pick<SumProduct, "name" | "other">,
  subgroup: number,
  left: (part: number, row: number, step: number) => string,
): string {
  const { tile, terms, layout } = unit;
  const parts = partsOf(terms);
  const { down, across } = sumBlock(tile, other.width);
  const [row, column] = corner(tile.sums, { down, across }, subgroup);
  const places = layout.places.get(other.name)!;
  const pitch = pitchOf(other.width);
  const right = (part: number, step: number, j: number): string => {
    const place = places[part]! + step * FRAGMENT * pitch + (column + FRAGMENT * j) / VECTOR;
    return loadFragment(unit, "right", "row_major", place, pitch);
  };
  return lines(
    range(tile.columns / FRAGMENT).map((step) =>
      lines(
        "{",
        range(down).flatMap((i) =>
          parts.map((part) => `  let a${part}_${i} = ${left(part, row + FRAGMENT * i, step)};`),
        ),
        range(across).flatMap((j) => [
          ...parts.map((part) => `  let b${part}_${j} = ${right(part, step, j)};`),
          ...range(down).flatMap((i) =>
            multiplied(
              unit,
              `${name}${i}_${j}`,
              (part) => `a${part}_${i}`,
              (part) => `b${part}_${j}`,
            ).map((text) => `  ${text}`),
          ),
        ]),
        "}",
      ),
    ),
  );
}

/** Blocks of `wide` fragments of each subgroup at a time go through workgroup memory at `place`. */
export function bringText(unit: Unit, sum: SumProduct, available: number, take: Take): string {
  const { tile, fragments } = unit;
  const { down, across } = sumBlock(tile, sum.other.width);
  const wide = range(across)
    .map((n) => across - n)
    .find((n) => n === 1 || stripSize(tile, n) <= available)!;
  const strip = stripPitch(wide);
  const quads = 4 * wide;
  return lines(
    "{",
    `  let strip = own * ${FRAGMENT * strip};`,
    range(down).flatMap((i) =>
      range(Math.ceil(across / wide)).map((n) => {
        const some = range(Math.min(wide, across - n * wide));
        return indent(
          lines(
            "workgroupBarrier();",
            some.map((j) =>
              fragments.store("tiles", `u32(strip + ${4 * j})`, `${sum.name}${i}_${n * wide + j}`, `${strip}u`),
            ),
            "workgroupBarrier();",
            `for (var e = lane % ${SUBGROUP}; e < ${FRAGMENT * quads}; e += ${SUBGROUP}) {`,
            `  let quad = e % ${quads};`,
            some.length < wide ? `  if (quad >= ${4 * some.length}) { continue; }` : "",
            `  let sumRow = own / ${tile.sums.across} * ${down * FRAGMENT} + ${FRAGMENT * i} + e / ${quads};`,
            `  let sumColumn = own % ${tile.sums.across} * ${across * FRAGMENT} + ${FRAGMENT * n * wide} + 4 * quad;`,
            indent(take("sumRow", "sumColumn", `bitcast<vec4<f32>>(tiles[strip + e / ${quads} * ${strip} + quad])`)),
            "}",
          ),
        );
      }),
    ),
    "}",
  );
}
