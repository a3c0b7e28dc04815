/**
 * Products of some tens of rows: a workgroup has a tile of the result and steps along k with slices of both operands in
 * its memory. Each subgroup of 32 threads computes the whole tile for a part of every slice, so that a thread has many sums
 * for what it reads; the parts are summed at the end.
 */
import type { RowProduct, RowProgram } from "./row-products.js";
import { indent } from "./program.js";

/** What a workgroup computes at a time. */
export interface SharedTile {
  /** Rows of x, a multiple of four times `across`. */
  readonly rows: number;
  /** Columns of the result, a multiple of four times 32 / `across`. */
  readonly columns: number;
  /** Of the 32 threads of a subgroup, those that lie along the rows. */
  readonly across: number;
  /** Steps along k, a multiple of 8. */
  readonly depth: number;
}

const LANES = 32,
  SUBGROUPS = 8,
  THREADS = LANES * SUBGROUPS;

const vectorsOf = ({ rows, columns, depth }: SharedTile): { staged: number; summed: number } => ({
  staged: (depth * (rows + columns)) / 4,
  // Half of the subgroups put their sums where the others find them.
  summed: (SUBGROUPS / 2) * ((rows * columns) / 4),
});

/** Bytes of workgroup memory. */
export function sharedTileBytes(tile: SharedTile): number {
  const { staged, summed } = vectorsOf(tile);
  return 16 * Math.max(staged, summed);
}

/** A product in tiles. */
export function sharedTileProgram(product: RowProduct, tile: SharedTile): RowProgram {
  const { m, n } = product;
  const { staged, summed } = vectorsOf(tile);
  return {
    threads: THREADS,
    groups: Math.ceil(m / tile.rows) * Math.ceil(n / tile.columns),
    bytes: sharedTileBytes(tile),
    memory: `var<workgroup> shared_: array<vec4<f32>, ${Math.max(staged, summed)}>;\n`,
    body: (finish) => text(product, tile, finish),
  };
}

function text({ m, n, k, half }: RowProduct, { rows, columns, across, depth }: SharedTile, finish: string): string {
  const rowsEach = rows / across;
  const columnsEach = columns / (LANES / across);
  const four = k / 4;
  const [i, j] = [range(rowsEach), range(columnsEach / 4)];
  const sums = i.flatMap((r) => j.map((c) => `s${r}_${c}`));
  const slices = Math.ceil(k / depth);
  const stages = [
    stage({ name: "x", lines: rows, first: "firstRow", last: m - 1, from: 0, half: false }, depth, four),
    stage(
      {
        name: "w",
        lines: columns,
        first: "firstColumn",
        last: n - 1,
        from: (depth * rows) / 4,
        half,
      },
      depth,
      four,
    ),
  ];
  const own = depth / SUBGROUPS;
  const step = [
    ...range(rowsEach / 4).map((r) => `let a${r} = shared_[at * ${rows / 4} + across * ${rowsEach / 4} + ${r}];`),
    ...j.map(
      (c) => `let b${c} = shared_[${(depth * rows) / 4} + at * ${columns / 4} + down * ${columnsEach / 4} + ${c}];`,
    ),
    ...i.flatMap((r) => j.map((c) => `s${r}_${c} = fma(vec4<f32>(a${r >> 2}[${r % 4}]), b${c}, s${r}_${c});`)),
  ].join("\n");
  const place = (e: number, subgroup: string): string => `(${subgroup} * ${sums.length} + ${e}) * ${LANES} + lane`;
  const outputs = rows * columns;
  return `let rowBlocks = ${Math.ceil(m / rows)};
let firstRow = i32(group) % rowBlocks * ${rows};
let firstColumn = i32(group) / rowBlocks * ${columns};
let subgroup = i32(thread) / ${LANES};
let lane = i32(thread) % ${LANES};
let across = lane % ${across};
let down = lane / ${across};
${stages.map(({ declared }) => declared).join("\n")}
${sums.map((s) => `var ${s} = vec4<f32>(0);`).join("\n")}
for (var slice = 0; slice <= ${slices}; slice++) {
  // The next slice is on its way while this one is multiplied.
  if (slice > 0) {
    workgroupBarrier();
${indent(stages.map(({ put }) => put).join("\n"), 2)}
    workgroupBarrier();
  }
  if (slice < ${slices}) {
${indent(stages.map(({ read }) => read).join("\n"), 2)}
  }
  if (slice > 0) {
    for (var q = 0; q < ${own}; q++) {
      let at = subgroup * ${own} + q;
${indent(step, 3)}
    }
  }
}
workgroupBarrier();
if (subgroup >= ${SUBGROUPS / 2}) {
${indent(sums.map((s, e) => `shared_[${place(e, `(subgroup - ${SUBGROUPS / 2})`)}] = ${s};`).join("\n"))}
}
workgroupBarrier();
if (subgroup < ${SUBGROUPS / 2}) {
${indent(sums.map((s, e) => `shared_[${place(e, "subgroup")}] += ${s};`).join("\n"))}
}
workgroupBarrier();
for (var output = i32(thread); output < ${outputs}; output += ${THREADS}) {
  let r = output / ${columns};
  let c = output % ${columns};
  let row = firstRow + r;
  let column = firstColumn + c;
  if ((row < ${m}) & (column < ${n})) {
    let e = r % ${rowsEach} * ${columnsEach / 4} + c % ${columnsEach} / 4;
    let from_ = e * ${LANES} + r / ${rowsEach} + ${across} * (c / ${columnsEach});
    var value = 0f;
    for (var other = 0; other < ${SUBGROUPS / 2}; other++) { value += shared_[from_ + other * ${sums.length * LANES}][c % 4]; }
${indent(finish, 2)}
  }
}`;
}

const range = (count: number): number[] => Array.from({ length: count }, (_, each) => each);

interface Operand {
  readonly name: "x" | "w";
  /** Rows of x or w in a tile. */
  readonly lines: number;
  readonly first: string;
  /** The last there is. */
  readonly last: number;
  /** Where its slice begins in workgroup memory. */
  readonly from: number;
  readonly half: boolean;
}

/** Threads read squares of four lines and four steps, and put them down the other way round. */
function stage(
  { name, lines, first, last, from, half }: Operand,
  depth: number,
  four: number,
): { readonly declared: string; readonly read: string; readonly put: string } {
  const wide = lines / 4;
  const squares = (wide * depth) / 4;
  const rounds = range(Math.ceil(squares / THREADS));
  const value = (index: string): string => (half ? `vec4<f32>(${name}[${index}])` : `${name}[${index}]`);
  const ofSquare = (round: number, body: string): string => {
    const square = `let square = i32(thread) + ${round * THREADS};\nlet wide = square % ${wide};\nlet deep = square / ${wide};`;
    return (round + 1) * THREADS > squares
      ? `if (i32(thread) < ${squares - round * THREADS}) {\n${indent(`${square}\n${body}`)}\n}`
      : `{\n${indent(`${square}\n${body}`)}\n}`;
  };
  const held = (round: number, line: number): string => `${name}${round}_${line}`;
  return {
    declared: rounds.flatMap((round) => range(4).map((line) => `var ${held(round, line)} = vec4<f32>(0);`)).join("\n"),
    read: rounds
      .map((round) =>
        ofSquare(
          round,
          `let q = slice * ${depth / 4} + deep;
let isInside = q < ${four};
${range(4)
  .map(
    (line) =>
      `${held(round, line)} = select(vec4<f32>(0), ${value(`min(${first} + wide * 4 + ${line}, ${last}) * ${four} + min(q, ${four - 1})`)}, isInside);`,
  )
  .join("\n")}`,
        ),
      )
      .join("\n"),
    put: rounds
      .map((round) =>
        ofSquare(
          round,
          range(4)
            .map(
              (deep) =>
                `shared_[${from} + (deep * 4 + ${deep}) * ${wide} + wide] = vec4<f32>(${range(4)
                  .map((line) => `${held(round, line)}[${deep}]`)
                  .join(", ")});`,
            )
            .join("\n"),
        ),
      )
      .join("\n"),
  };
}
