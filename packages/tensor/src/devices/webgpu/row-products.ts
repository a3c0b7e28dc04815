/**
 * Products of a few rows with weights whose rows lie along k, as when decoding: y[r, c] = sum_k x[r, k] w[c, k]. The weights
 * are read once, and each sum is finished where it is made. The threads of a workgroup divide k among them and meet in
 * workgroup memory.
 */
import { indent } from "./program.js";
import { MOST_ROWS } from "./most-rows.js";

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
  /** Declarations of the workgroup's memory. */
  readonly memory: string;
  /**
   * Statements of the body of an entry point, with `group` and `thread` in scope and buffers `x` and `w` of vectors of four.
   * @param finish Statements for an output, with `row`, `column` and `value` in scope: i32, i32, f32.
   */
  body(finish: string): string;
}

/** Threads that sum what all have for an output. */
const HELPERS = 16;

/**
 * A product of up to {@link MOST_ROWS} rows as a kernel.
 * @param workgroupBytes What a workgroup may take.
 * @returns undefined for more rows, or where that is too little.
 */
export function rowProgram(product: RowProduct, workgroupBytes: number): RowProgram | undefined {
  const { m, n, k } = product;
  if (m > MOST_ROWS) return undefined;
  // After products on an H200: as many threads as keep its memory busy.
  const columns = m <= 4 && n >= 2048 ? 2 : 1;
  const threads = k >= 1024 && n < 256 ? 128 : 64;
  const outputs = m * columns;
  const bytes = 4 * outputs * (threads + HELPERS);
  if (bytes > workgroupBytes) return undefined;
  return {
    threads,
    groups: Math.ceil(n / columns),
    memory: `var<workgroup> sums: array<f32, ${outputs * threads}>;
var<workgroup> parts: array<f32, ${outputs * HELPERS}>;
`,
    body: (finish) => text(product, columns, threads, finish),
  };
}

function text({ m, n, k, half }: RowProduct, columns: number, threads: number, finish: string): string {
  const four = k / 4;
  const rows = Array.from({ length: m }, (_, row) => row);
  const across = Array.from({ length: columns }, (_, column) => column);
  const outputs = rows.flatMap((row) => across.map((column) => [row, column] as const));
  const step = [
    ...across.map((c) => `let w${c} = ${half ? `vec4<f32>(w[at${c} + q])` : `w[at${c} + q]`};`),
    ...rows.map((r) => `let x${r} = x[${r * four} + q];`),
    ...outputs.map(
      ([r, c]) =>
        `s${r}_${c} = fma(x${r}.x, w${c}.x, fma(x${r}.y, w${c}.y, fma(x${r}.z, w${c}.z, fma(x${r}.w, w${c}.w, s${r}_${c}))));`,
    ),
  ].join("\n");
  return `let firstColumn = i32(group) * ${columns};
${across.map((c) => `let at${c} = min(firstColumn + ${c}, ${n - 1}) * ${four};`).join("\n")}
${outputs.map(([r, c]) => `var s${r}_${c} = 0f;`).join("\n")}
for (var round = 0; round < ${Math.ceil(four / threads)}; round++) {
  let q = round * ${threads} + i32(thread);
${four % threads === 0 ? indent(step) : `  if (q < ${four}) {\n${indent(step, 2)}\n  }`}
}
${outputs.map(([r, c], output) => `sums[${output * threads} + i32(thread)] = s${r}_${c};`).join("\n")}
workgroupBarrier();
for (var each = i32(thread); each < ${outputs.length * HELPERS}; each += ${threads}) {
  let first = each % ${outputs.length} * ${threads};
  var sum = 0f;
  for (var other = each / ${outputs.length}; other < ${threads}; other += ${HELPERS}) { sum += sums[first + other]; }
  parts[each] = sum;
}
workgroupBarrier();
if (i32(thread) < ${outputs.length}) {
  let row = i32(thread) / ${columns};
  let column = firstColumn + i32(thread) % ${columns};
  if (column < ${n}) {
    var value = 0f;
    for (var other = 0; other < ${HELPERS}; other++) { value += parts[other * ${outputs.length} + i32(thread)]; }
${indent(finish, 2)}
  }
}`;
}
