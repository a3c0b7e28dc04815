/**
 * Tiles of multiply-adds in f32, for adapters without matrix units: a thread has 4 x 4 scores, and of the sums 4 rows and every
 * so many columns. Slices of operands come through workgroup memory, of which 16 KiB are enough.
 */
import { indent } from "@seqmix/tensor/wgsl";
import type { Engine, Operand, Products, ScoreProduct, SumProduct } from "./engine.js";
import { lines, range } from "./text.js";

/** Entries of rows, and rows of blocks, in workgroup memory at a time. */
const DEPTH = 16;
const sliceRows = (width: number): number => (width > 128 ? 4 : 8);

export interface FmaTile {
  readonly rows: 32 | 64;
  readonly columns: 32;
}

const pitchOf = ({ columns }: FmaTile): number => columns / 4 + 1;
const threadsOf = ({ rows, columns }: FmaTile): number => (rows / 4) * (columns / 4);
/** Columns of sums that all threads of a row have together, and how many rounds of them a width takes. */
const roundsOf = (width: number, { columns }: FmaTile): number => Math.ceil(width / columns);

function sizes(tile: FmaTile, { scores, sums }: Products): { readonly slices: number; readonly regions: number } {
  const widest = Math.max(...sums.map(({ width }) => width));
  const regions = new Set([...scores, ...sums].map(({ region }) => region)).size;
  return {
    slices: Math.max(
      (DEPTH * (tile.rows + tile.columns)) / 4,
      (sliceRows(widest) * roundsOf(widest, tile) * tile.columns) / 4,
    ),
    regions,
  };
}

/** Bytes of workgroup memory. */
export function fmaBytes(tile: FmaTile, products: Products): number {
  const { slices, regions } = sizes(tile, products);
  return 16 * (slices + regions * tile.rows * pitchOf(tile)) + 4 * (tile.rows + threadsOf(tile)) + 16;
}

const vectors = ({ width }: Operand): boolean => width % 4 === 0;
/** Four entries of a row, zeros beyond its end. */
function reader(operand: Operand): string {
  const { name, width } = operand;
  const each = range(4).map(
    (n) => `select(0.0, f32(${name}[row * ${width} + min(d + ${n}, ${width - 1})]), d + ${n} < ${width})`,
  );
  const text = vectors(operand)
    ? `if (d >= ${width}) { return vec4<f32>(); }
  return vec4<f32>(${name}[(row * ${width} + d) / 4]);`
    : `return vec4<f32>(${each.join(", ")});`;
  return `fn read_${name}(row: i32, d: i32) -> vec4<f32> {\n  ${text}\n}\n`;
}

export function fmaEngine(tile: FmaTile, products: Products, halves: ReadonlySet<string>): Engine {
  const { rows, columns } = tile;
  const threads = threadsOf(tile);
  const across = columns / 4;
  const pitch = pitchOf(tile);
  const { slices, regions } = sizes(tile, products);
  const operands = new Map<string, Operand>();
  for (const { own, other } of products.scores) operands.set(own.name, own).set(other.name, other);
  for (const { other } of products.sums) operands.set(other.name, other);
  const typeOf = (operand: Operand): string => {
    const element = halves.has(operand.name) ? "f16" : "f32";
    return vectors(operand) ? `vec4<${element}>` : element;
  };
  const sumNames = ({ name, width }: SumProduct): string[] =>
    range(4).flatMap((r) => range(roundsOf(width, tile)).map((j) => `${name}${r}_${j}`));

  const rowOf = ({ head, length }: Operand, row: string): string => `${head} * ${length} + min(${row}, ${length} - 1)`;

  /** A slice of rows: blocks of 4 x 4 entries are turned, so that four rows of an entry are neighbours. */
  const slice = (operand: Operand, first: string, count: number, place: number): string => {
    const blocks = (count / 4) * (DEPTH / 4);
    return `for (var e = lane; e < ${blocks}; e += ${threads}) {
  let block = e / ${DEPTH / 4} * 4;
  let depth = e % ${DEPTH / 4} * 4;
${range(4)
  .map((r) => `  let x${r} = read_${operand.name}(${rowOf(operand, `${first} + block + ${r}`)}, d + depth);`)
  .join("\n")}
${range(4)
  .map(
    (d) =>
      `  slices[${place} + (depth + ${d}) * ${count / 4} + block / 4] = vec4<f32>(x0[${d}], x1[${d}], x2[${d}], x3[${d}]);`,
  )
  .join("\n")}
}`;
  };
  const scoresOf = ({ own, other, region }: ScoreProduct): string => {
    const place = (DEPTH * rows) / 4;
    return `{
  var t0 = vec4<f32>();
  var t1 = vec4<f32>();
  var t2 = vec4<f32>();
  var t3 = vec4<f32>();
  for (var d = 0; d < ${own.width}; d += ${DEPTH}) {
    workgroupBarrier();
${indent(slice(own, "firstRow", rows, 0), 2)}
${indent(slice(other, "first", columns, place), 2)}
    workgroupBarrier();
    for (var e = 0; e < ${DEPTH}; e++) {
      let a = slices[e * ${rows / 4} + ty];
      let b = slices[${place} + e * ${columns / 4} + tx];
${range(4)
  .map((r) => `      t${r} = fma(vec4<f32>(a[${r}]), b, t${r});`)
  .join("\n")}
    }
  }
${range(4)
  .map((r) => `  tiles[${region * rows * pitch} + (4 * ty + ${r}) * ${pitch} + tx] = bitcast<vec4<u32>>(t${r});`)
  .join("\n")}
}`;
  };
  const sumsOf = (sum: SumProduct): string => {
    const { name, region, other, width } = sum;
    const rounds = roundsOf(width, tile);
    const whole = rounds * across;
    const depth = sliceRows(width);
    const steps = range(4).map((e) =>
      lines(
        range(rounds).map((j) => `let z${j} = slices[(h + ${e}) * ${whole} + tx + ${across * j}];`),
        range(4).flatMap((r) =>
          range(rounds).map((j) => `${name}${r}_${j} = fma(vec4<f32>(a${r}[${e}]), z${j}, ${name}${r}_${j});`),
        ),
      ),
    );
    return `for (var d = 0; d < ${columns}; d += ${depth}) {
  workgroupBarrier();
  for (var e = lane; e < ${depth * whole}; e += ${threads}) {
    slices[e] = read_${other.name}(${rowOf(other, `first + d + e / ${whole}`)}, e % ${whole} * 4);
  }
  workgroupBarrier();
  for (var h = 0; h < ${depth}; h += 4) {
${range(4)
  .map(
    (r) =>
      `    let a${r} = bitcast<vec4<f32>>(tiles[${region * rows * pitch} + (4 * ty + ${r}) * ${pitch} + (d + h) / 4]);`,
  )
  .join("\n")}
${steps.map((text) => `    {\n${indent(text, 3)}\n    }`).join("\n")}
  }
}`;
  };
  return {
    rows,
    columns,
    threads,
    builtin: [],
    scaled: false,
    lift: 0,
    narrowest: 0,
    operandType: typeOf,
    declarations: () =>
      `var<workgroup> slices: array<vec4<f32>, ${slices}>;
var<workgroup> tiles: array<vec4<u32>, ${regions * rows * pitch}>;
${[...operands.values()].map(reader).join("")}`,
    begin: () =>
      lines(
        `let tx = lane % ${across};`,
        `let ty = lane / ${across};`,
        products.sums.flatMap(sumNames).map((name) => `var ${name} = vec4<f32>();`),
      ),
    ask: () => "",
    enter: () => "",
    scores: () => lines(products.scores.map(scoresOf)),
    scoreAt: (region, row) => `(${region * rows * pitch} + (${row}) * ${pitch})`,
    putWeights: (region, row, eighth, x, y) =>
      lines(
        `tiles[${region * rows * pitch} + ${row} * ${pitch} + 2 * ${eighth}] = bitcast<vec4<u32>>(${x});`,
        `tiles[${region * rows * pitch} + ${row} * ${pitch} + 2 * ${eighth} + 1] = bitcast<vec4<u32>>(${y});`,
      ),
    keep() {
      throw new TypeError("attention on multiply-adds: expected a pass that keeps nothing");
    },
    sums: () => lines(products.sums.map(sumsOf)),
    clear: () => lines(products.sums.flatMap(sumNames).map((name) => `${name} = vec4<f32>();`)),
    bring(wanted, _, take) {
      const sum = products.sums.find(({ name }) => name === wanted)!;
      return lines(
        range(4).flatMap((r) =>
          range(roundsOf(sum.width, tile)).map(
            (j) => `{\n${indent(take(`(4 * ty + ${r})`, `(4 * tx + ${columns * j})`, `${wanted}${r}_${j}`))}\n}`,
          ),
        ),
      );
    },
    leave: () => "workgroupBarrier();",
  };
}
