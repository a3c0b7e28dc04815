/**
 * Tiles on matrix units. Subgroups share a block of scores [rows, columns] and the sums [rows, width] as grids; own rows wait
 * in registers as fragments, blocks of the other side come through workgroup memory, the next while one is worked on. Operands
 * are f16: those of f32 one number (10 bits of mantissa, as tf32) or two, of which three products are taken.
 */
import { FRAGMENT, indent, type FragmentTexts } from "@seqmix/tensor/wgsl";
import type { Engine, Operand, Products, ScoreProduct, SumProduct, Take } from "./engine.js";
import { lines, PACKING, range } from "./text.js";

/** How subgroups share a tile. */
export interface Grid {
  readonly down: number;
  readonly across: number;
}

/** How many products of f16 stand for one of f32. */
export type Terms = 1 | 3;

export interface MatrixTile {
  readonly rows: number;
  readonly columns: number;
  readonly scores: Grid;
  readonly sums: Grid;
}

const SUBGROUP = 32;
/** f16 numbers of a vector of workgroup memory, and those that a row of an operand has more, against bank conflicts. */
export const VECTOR = 8;
const PADDING = 8;

const subgroupsOf = ({ scores }: MatrixTile): number => scores.down * scores.across;
const threadsOf = (tile: MatrixTile): number => SUBGROUP * subgroupsOf(tile);
/** Vectors from one row of an operand of this width to the next, and from one row of scores. */
const pitchOf = (width: number): number => (width + PADDING) / VECTOR;
const scorePitch = ({ columns }: MatrixTile): number => columns / 4 + 1;
const partsOf = (terms: Terms): number[] => range(terms === 3 ? 2 : 1);

/** Vectors between rows of a strip of sums of so many fragments. */
const stripPitch = (wide: number): number => (wide === 1 ? 4 : 4 * wide + 1);
const stripSize = (tile: MatrixTile, wide: number): number => subgroupsOf(tile) * FRAGMENT * stripPitch(wide);

interface Layout {
  /** First vectors of the blocks by operand, of high and low parts. */
  readonly places: ReadonlyMap<string, readonly number[]>;
  readonly regions: readonly number[];
  /** Vectors of the first block, through which sums leave in the loop. */
  readonly first: number;
  readonly size: number;
}

const othersOf = ({ scores, sums }: Products): Operand[] => [
  ...new Map([...scores, ...sums].map(({ other }) => [other.name, other])).values(),
];
const ownsOf = ({ scores }: Products): Operand[] => [...new Map(scores.map(({ own }) => [own.name, own])).values()];

function layoutOf(tile: MatrixTile, terms: Terms, products: Products): Layout {
  let size = 0;
  let first = 0;
  const places = new Map<string, readonly number[]>();
  for (const { name, width } of othersOf(products)) {
    const block = tile.columns * pitchOf(width);
    places.set(
      name,
      partsOf(terms).map((part) => size + part * block),
    );
    size += partsOf(terms).length * block;
    if (places.size === 1) size = first = Math.max(size, stripSize(tile, 1));
  }
  const count = new Set(products.scores.map(({ region }) => region)).size;
  const regions = range(count).map((n) => size + n * tile.rows * scorePitch(tile));
  size += count * tile.rows * scorePitch(tile);
  const owns = ownsOf(products).map(({ width }) => tile.rows * pitchOf(width));
  return { places, regions, first, size: Math.max(size, ...owns) };
}

/** Bytes of workgroup memory. */
export const matrixBytes = (tile: MatrixTile, terms: Terms, products: Products): number =>
  16 * layoutOf(tile, terms, products).size + 4 * (tile.rows + threadsOf(tile)) + 16;

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
  const parts = partsOf(terms);
  const block = (grid: Grid, width: number): Grid => ({
    down: rows / grid.down / FRAGMENT,
    across: width / grid.across / FRAGMENT,
  });
  const scoreBlock = block(tile.scores, columns);
  const corner = (grid: Grid, { down, across }: Grid, subgroup: number): readonly [row: number, column: number] => [
    Math.floor(subgroup / grid.across) * down * FRAGMENT,
    (subgroup % grid.across) * across * FRAGMENT,
  ];
  const names = (name: string, { down, across }: Grid): string[] =>
    range(down).flatMap((i) => range(across).map((j) => `${name}${i}_${j}`));
  const sumBlock = (width: number): Grid => block(tile.sums, width);
  const sumNames = ({ name, other }: SumProduct): string[] => names(name, sumBlock(other.width));
  const keptName = ({ name }: Operand, part: number, i: number, step: number): string =>
    `kept_${name}${part}_${i}_${step}`;

  /** A statement list for every subgroup, so that fragments have constant places. */
  const eachSubgroup = (body: (subgroup: number) => string): string => {
    const cases = range(subgroupsOf(tile)).map(
      (q) => `  ${q === 0 ? "default" : `case ${q}`} {\n${indent(body(q), 2)}\n  }`,
    );
    return `switch own {\n${cases.join("\n")}\n}`;
  };
  const load = (side: "left" | "right", major: "row_major" | "col_major", at: number, rowPitch: number): string =>
    fragments.load(side, major, "tiles", at, rowPitch);
  /** One product of fragments, as one or three of f16. */
  const multiplied = (sum: string, left: (part: number) => string, right: (part: number) => string): string[] => {
    const add = (a: number, b: number): string => `${sum} = ${fragments.multiply(left(a), right(b), sum)};`;
    return terms === 3 ? [add(1, 0), add(0, 1), add(0, 0)] : [add(0, 0)];
  };

  const keep = (operand: Operand): string => {
    const { name, width, head, length } = operand;
    const across = width / VECTOR;
    return lines(
      parts.flatMap((part) =>
        range(scoreBlock.down).flatMap((i) =>
          range(width / FRAGMENT).map(
            (step) => `var ${keptName(operand, part, i, step)}: ${fragments.operand("left")};`,
          ),
        ),
      ),
      parts.map((part) =>
        lines(
          `for (var e = lane; e < ${rows * across}; e += ${threads}) {`,
          `  let source = (${head} * ${length} + min(firstRow + e / ${across}, ${length} - 1)) * ${across} + e % ${across};`,
          `  tiles[e / ${across} * ${pitchOf(width)} + e % ${across}] = ${name}[source${part === 1 ? ` + ${name}Low` : ""}];`,
          "}",
          "workgroupBarrier();",
          eachSubgroup((q) => {
            const [row] = corner(tile.scores, scoreBlock, q);
            return lines(
              range(scoreBlock.down).flatMap((i) =>
                range(width / FRAGMENT).map(
                  (step) =>
                    `${keptName(operand, part, i, step)} = ${load("left", "row_major", (row + FRAGMENT * i) * pitchOf(width) + (step * FRAGMENT) / VECTOR, pitchOf(width))};`,
                ),
              ),
            );
          }),
          "workgroupBarrier();",
        ),
      ),
    );
  };

  /** How a block's rows come from memory through registers to workgroup memory. */
  const staging = ({ name, width, head, length }: Operand) => {
    const across = width / VECTOR;
    const total = columns * across;
    const some = range(Math.ceil(total / threads));
    const only = (q: number, text: string): string =>
      (q + 1) * threads > total ? `if (lane + ${q * threads} < ${total}) { ${text} }` : text;
    const place = (q: number): string => (q === 0 ? "lane" : `(lane + ${q * threads})`);
    const both = (text: (q: number, part: number) => string): string =>
      lines(some.flatMap((q) => parts.map((part) => only(q, text(q, part)))));
    return {
      begin: lines(
        some.flatMap((q) => [
          `let ${name}Row${q} = ${place(q)} / ${across};`,
          `let ${name}Column${q} = ${place(q)} % ${across};`,
          ...parts.map((part) => `var ${name}Read${q}_${part} = vec4<u32>();`),
        ]),
      ),
      ask: (first: string) =>
        both(
          (q, part) =>
            `${name}Read${q}_${part} = ${name}[(${head} * ${length} + min(${first} + ${name}Row${q}, ${length} - 1)) * ${across} + ${name}Column${q}${part === 1 ? ` + ${name}Low` : ""}];`,
        ),
      store: both(
        (q, part) =>
          `tiles[${layout.places.get(name)![part]!} + ${name}Row${q} * ${pitchOf(width)} + ${name}Column${q}] = ${name}Read${q}_${part};`,
      ),
    };
  };
  const staged = othersOf(products).map(staging);

  const scoresOf = ({ own, other, region }: ScoreProduct, subgroup: number): string => {
    const { down, across } = scoreBlock;
    const [row, column] = corner(tile.scores, scoreBlock, subgroup);
    const places = layout.places.get(other.name)!;
    const otherPitch = pitchOf(other.width);
    const name = `t${region}_`;
    return lines(
      names(name, scoreBlock).map((each) => `var ${each} = ${fragments.zero};`),
      range(own.width / FRAGMENT).map((step) =>
        lines(
          "{",
          range(across).flatMap((j) =>
            parts.map(
              (part) =>
                `  let b${part}_${j} = ${load("right", "col_major", places[part]! + (column + FRAGMENT * j) * otherPitch + (step * FRAGMENT) / VECTOR, otherPitch)};`,
            ),
          ),
          range(down).flatMap((i) =>
            range(across).flatMap((j) =>
              multiplied(
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
  };

  /** Weights lie in the place of the scores they come from: of 16 neighbours the high parts, then the low ones. */
  const sumsOf = ({ name, region, other }: SumProduct, subgroup: number): string => {
    const { down, across } = sumBlock(other.width);
    const [row, column] = corner(tile.sums, { down, across }, subgroup);
    const places = layout.places.get(other.name)!;
    const otherPitch = pitchOf(other.width);
    return lines(
      range(columns / FRAGMENT).map((step) =>
        lines(
          "{",
          range(down).flatMap((i) =>
            parts.map(
              (part) =>
                `  let a${part}_${i} = ${load("left", "row_major", layout.regions[region]! + (row + FRAGMENT * i) * pitch + step * (FRAGMENT / 4) + (part * FRAGMENT) / VECTOR, pitch)};`,
            ),
          ),
          range(across).flatMap((j) => [
            ...parts.map(
              (part) =>
                `  let b${part}_${j} = ${load("right", "row_major", places[part]! + step * FRAGMENT * otherPitch + (column + FRAGMENT * j) / VECTOR, otherPitch)};`,
            ),
            ...range(down).flatMap((i) =>
              multiplied(
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
  };

  /** Blocks of `wide` fragments of each subgroup at a time go through workgroup memory at `place`. */
  const bring = (sum: SumProduct, available: number, take: Take): string => {
    const { down, across } = sumBlock(sum.other.width);
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
  };

  return {
    rows,
    columns,
    threads,
    builtin: fragments.builtin,
    scaled,
    lift: 7,
    narrowest: FRAGMENT,
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
        products.sums.flatMap(sumNames).map((name) => `var ${name} = ${fragments.zero};`),
        ownsOf(products).map(keep),
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
    scores: () => eachSubgroup((q) => lines(products.scores.map((product) => scoresOf(product, q)))),
    scoreAt: (region, row) => `(${layout.regions[region]!} + (${row}) * ${pitch})`,
    putWeights(region, row, eighth, x, y) {
      const at = `${row} * ${pitch} + ${eighth} / 2 * 4 + ${eighth} % 2`;
      const place = layout.regions[region]!;
      return terms === 1
        ? `tiles[${place} + ${at}] = pack8(${x}, ${y});`
        : lines(
            "{",
            `  let x = highPart(${x});`,
            `  let y = highPart(${y});`,
            `  tiles[${place} + ${at}] = pack8(x, y);`,
            `  tiles[${place + 2} + ${at}] = pack8(${x} - x, ${y} - y);`,
            "}",
          );
    },
    sums: () => eachSubgroup((q) => lines(products.sums.map((product) => sumsOf(product, q)))),
    clear: () => lines(products.sums.flatMap(sumNames).map((name) => `${name} = ${fragments.zero};`)),
    bring: (name, where, take) =>
      bring(
        products.sums.find((sum) => sum.name === name)!,
        where === "loop" ? layout.first : layout.size,
        take,
      ),
    leave: () => "workgroupBarrier();",
  };
}
