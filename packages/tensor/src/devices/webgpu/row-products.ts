/**
 * Products of a few rows with weights whose rows lie along k, as when decoding: y[r, c] = sum_k x[r, k] w[c, k]. The weights
 * are read once, and each sum is finished where it is made. Threads share a workgroup's outputs and divide k among them,
 * and meet in workgroup memory.
 */
import { indent } from "./program.js";
import { sharedTileProgram, type SharedTile } from "./row-tiles.js";

/** What is multiplied. */
export interface RowProduct {
  /** Rows of x. */
  readonly m: number;
  /** Rows of the weights. */
  readonly n: number;
  /** Length of both, a multiple of 4. */
  readonly k: number;
  /** Whether the weights are f16. */
  readonly half: boolean;
}

/** A product as a kernel. */
export interface RowProgram {
  /** Threads of a workgroup. */
  readonly threads: number;
  /** Workgroups. */
  readonly groups: number;
  /** Bytes of workgroup memory. */
  readonly bytes: number;
  /** Declarations of the workgroup's memory. */
  readonly memory: string;
  /**
   * Statements of the body of an entry point, with `group` and `thread` in scope and buffers `x` and `w` of vectors of four.
   * @param finish Statements for an output, with `row`, `column` and `value` in scope: i32, i32, f32.
   */
  body(finish: string): string;
}

/** What a workgroup and its threads compute. */
interface RowTile {
  /** Outputs of a workgroup: rows of x. */
  readonly rows: number;
  /** Outputs of a workgroup: columns of the result. */
  readonly columns: number;
  /** Rows of a thread, which divide `rows`. */
  readonly rowsEach: number;
  /** Columns of a thread, which divide `columns`. */
  readonly columnsEach: number;
  /** Threads of a workgroup: a multiple of those that have the workgroup's outputs. */
  readonly threads: number;
}

/** Threads that sum what the parts of k have for an output. */
const HELPERS = 16;

/** Outputs that a workgroup computes side by side, and the parts into which it divides k. */
const partsOf = ({ rows, columns, rowsEach, columnsEach, threads }: RowTile): { spots: number; parts: number } => {
  const spots = (rows / rowsEach) * (columns / columnsEach);
  return { spots, parts: threads / spots };
};

/** Rows up to which weights go straight to the threads. */
const FEW = 8;

/**
 * A product as a kernel: of few rows each thread reads weights for all of them; of more, a workgroup keeps slices in its memory.
 * @param workgroupBytes What a workgroup may take.
 * @returns undefined where that is too little.
 */
export function rowProgram(product: RowProduct, workgroupBytes: number): RowProgram | undefined {
  const choices = product.m <= FEW ? [fewRowsProgram(product, tileOf(product))] : sharedTiles(product);
  return choices.find(({ bytes }) => bytes <= workgroupBytes);
}

/** From the fastest to the one that takes least memory. */
const sharedTiles = (product: RowProduct): RowProgram[] => {
  const rows = product.m <= 16 ? 16 : product.m <= 32 ? 32 : 64;
  const columns = product.n >= 2048 ? 32 : 16;
  const across = rows === 16 ? 4 : 8;
  const tiles: SharedTile[] = [
    ...(product.k >= 1024 ? [{ rows, columns: rows === 16 ? 32 : columns, across, depth: 128 }] : []),
    { rows, columns: rows === 16 ? 32 : columns, across, depth: 64 },
    { rows: Math.min(32, rows), columns: rows === 16 ? 32 : 16, across, depth: 32 },
  ];
  return tiles.map((tile) => sharedTileProgram(product, tile));
};

/** Tiles for few rows: weights are read by as many threads as it takes to keep a large GPU's memory busy. */
function tileOf({ m, n, k }: RowProduct): RowTile {
  const columnsEach = n >= 2048 ? 2 : 1;
  return { rows: m, columns: columnsEach, rowsEach: m, columnsEach, threads: k >= 1024 && n < 256 ? 128 : 64 };
}

/** A product of few rows. */
export function fewRowsProgram(product: RowProduct, tile: RowTile): RowProgram {
  const { m, n } = product;
  const { rowsEach, columnsEach, threads, rows, columns } = tile;
  const [sums, parts] = [rowsEach * columnsEach * threads, rows * columns * Math.min(HELPERS, partsOf(tile).parts)];
  return {
    threads,
    groups: Math.ceil(m / rows) * Math.ceil(n / columns),
    bytes: 4 * (sums + parts),
    memory: `var<workgroup> sums: array<f32, ${sums}>;
var<workgroup> parts: array<f32, ${parts}>;
`,
    body: (finish) => text(product, tile, finish),
  };
}

function text(product: RowProduct, tile: RowTile, finish: string): string {
  const { m, n, k, half } = product;
  const { rows, columns, rowsEach, columnsEach, threads } = tile;
  const { spots, parts } = partsOf(tile);
  const helpers = Math.min(HELPERS, parts);
  const across = rows / rowsEach;
  const four = k / 4;
  const i = Array.from({ length: rowsEach }, (_, each) => each);
  const j = Array.from({ length: columnsEach }, (_, each) => each);
  const pairs = i.flatMap((row) => j.map((column) => [row, column] as const));
  const step = [
    ...j.map((c) => `let w${c} = ${half ? `vec4<f32>(w[at${c} + q])` : `w[at${c} + q]`};`),
    ...i.map((r) => `let x${r} = x[from${r} + q];`),
    ...pairs.map(
      ([r, c]) =>
        `s${r}_${c} = fma(x${r}.x, w${c}.x, fma(x${r}.y, w${c}.y, fma(x${r}.z, w${c}.z, fma(x${r}.w, w${c}.w, s${r}_${c}))));`,
    ),
  ].join("\n");
  const rounds = Math.ceil(four / parts);
  const whole = four % parts === 0;
  const outputs = rows * columns;
  return `let rowBlocks = ${Math.ceil(m / rows)};
let firstRow = i32(group) % rowBlocks * ${rows};
let firstColumn = i32(group) / rowBlocks * ${columns};
let spot = i32(thread) % ${spots};
let part = i32(thread) / ${spots};
${i.map((r) => `let from${r} = min(firstRow + spot % ${across} * ${rowsEach} + ${r}, ${m - 1}) * ${four};`).join("\n")}
${j.map((c) => `let at${c} = min(firstColumn + spot / ${across} * ${columnsEach} + ${c}, ${n - 1}) * ${four};`).join("\n")}
${pairs.map(([r, c]) => `var s${r}_${c} = 0f;`).join("\n")}
for (var round = 0; round < ${rounds}; round++) {
  let q = round * ${parts} + part;
${whole ? indent(step) : `  if (q < ${four}) {\n${indent(step, 2)}\n  }`}
}
${pairs.map(([r, c]) => `sums[${(r * columnsEach + c) * threads} + i32(thread)] = s${r}_${c};`).join("\n")}
workgroupBarrier();
for (var each = i32(thread); each < ${outputs * helpers}; each += ${threads}) {
  let output = each % ${outputs};
  let r = output / ${columns};
  let c = output % ${columns};
  let first = (r % ${rowsEach} * ${columnsEach} + c % ${columnsEach}) * ${threads} + c / ${columnsEach} * ${across} + r / ${rowsEach};
  var sum = 0f;
  for (var other = each / ${outputs}; other < ${parts}; other += ${helpers}) { sum += sums[first + other * ${spots}]; }
  parts[each] = sum;
}
workgroupBarrier();
for (var output = i32(thread); output < ${outputs}; output += ${threads}) {
  let row = firstRow + output / ${columns};
  let column = firstColumn + output % ${columns};
  if ((row < ${m}) & (column < ${n})) {
    var value = 0f;
    for (var other = 0; other < ${helpers}; other++) { value += parts[other * ${outputs} + output]; }
${indent(finish, 2)}
  }
}`;
}
