/**
 * updates [rows, inner] added into zeros [size, inner] by index, for many result rows: the rows are put in order by their
 * index, and each result row adds up those that are its own, in their order, so that sums are the same at every run.
 *
 * 1. count: how often each index occurs in each tile of rows (whole numbers, in any order);
 * 2. along: what comes before each tile, and sums over 256 indices;
 * 3. starts: where the rows of each index start;
 * 4. place: a row's place is its start, what earlier tiles have of the index, and how often it occurs before in its own tile;
 * 5. add, one window of the updates and of the result after another where they are larger than a binding.
 */
import {
  bytesOf,
  declare,
  declareParameters,
  entryPoint,
  WINDOW_ALIGNMENT,
  type GpuBinding,
  type GpuLimits,
  type GpuPass,
  type GpuProgram,
  type GpuParameters,
  type GpuWindow,
} from "@seqmix/tensor/wgsl";

const THREADS = 256;
/** Rows of a tile: of few rows, and of many, where the counts would take too much memory. */
const TILE = 4096,
  LARGE_TILE = 16384,
  MANY_ROWS = 65536;

interface Shape {
  readonly rows: number;
  readonly inner: number;
  readonly size: number;
}

const [UPDATES, INDICES, RESULT, COUNTS, STARTS, SUMS, ORDER] = [0, 1, 2, 3, 4, 5, 6] as const;
const INDEX = "clamp(indices[row], 0, p.size - 1)";

/** Buffers: updates, indices, result. */
export function sortedScatterProgram({ rows, inner, size }: Shape, limits: Pick<GpuLimits, "bytes">): GpuProgram {
  const tile = rows > MANY_ROWS ? LARGE_TILE : TILE;
  const tiles = Math.max(1, Math.ceil(rows / tile));
  const blocks = Math.ceil(size / THREADS);
  const parameters = { rows, size, tile, tiles, blocks };
  const groups = (count: number): number => Math.ceil(count / THREADS);
  const zero = pass(zeroCode, parameters, { counts: [COUNTS, "read_write", "u32"] }, groups(tiles * size));
  const order = [
    pass(
      countCode,
      parameters,
      { indices: [INDICES, "read", "i32"], counts: [COUNTS, "read_write", "atomic<u32>"] },
      groups(rows),
    ),
  ];
  const place = pass(
    placeCode,
    parameters,
    {
      indices: [INDICES, "read", "i32"],
      counts: [COUNTS, "read", "u32"],
      starts: [STARTS, "read", "u32"],
      order: [ORDER, "read_write", "u32"],
    },
    groups(rows),
  );
  const starts = [
    pass(
      alongCode,
      parameters,
      {
        counts: [COUNTS, "read_write", "u32"],
        starts: [STARTS, "read_write", "u32"],
        sums: [SUMS, "read_write", "u32"],
      },
      blocks,
    ),
    pass(startsCode, parameters, { starts: [STARTS, "read_write", "u32"], sums: [SUMS, "read", "u32"] }, blocks),
  ];
  return {
    name: `scatterAdd ${rows} into ${size} rows of ${inner}, in order`,
    passes: [
      zero,
      ...(rows > 0 ? order : []),
      ...starts,
      ...(rows > 0 ? [place] : []),
      ...addPasses({ rows, inner, size }, limits),
    ],
    scratch: [tiles * size, size, blocks, rows].map((count) => bytesOf(count)),
  };
}

/** Elements [from, to) of rows, as many as fit into a binding and start where windows may. */
function windowsOf(rows: number, inner: number, limit: number): { readonly from: number; readonly to: number }[] {
  if (bytesOf(rows * inner) <= limit) return [{ from: 0, to: rows }];
  let step = WINDOW_ALIGNMENT / 4;
  while (step > 1 && ((step / 2) * inner) % (WINDOW_ALIGNMENT / 4) === 0) step /= 2;
  const count = Math.max(step, Math.floor(limit / (4 * inner) / step) * step);
  return Array.from({ length: Math.ceil(rows / count) }, (_, k) => ({
    from: k * count,
    to: Math.min(rows, (k + 1) * count),
  }));
}

function addPasses({ rows, inner, size }: Shape, limits: Pick<GpuLimits, "bytes">): GpuPass[] {
  const threads = inner > 128 ? 256 : inner > 64 ? 128 : 64;
  const blocks = Math.ceil(inner / threads);
  const window = ({ from, to }: { from: number; to: number }): GpuWindow => ({
    from: 4 * from * inner,
    bytes: bytesOf((to - from) * inner),
  });
  const sources = windowsOf(rows, inner, limits.bytes);
  return windowsOf(size, inner, limits.bytes).flatMap((target) =>
    sources.map((source, k) =>
      pass(
        addCode(threads, k > 0),
        {
          rows,
          inner,
          size,
          blocks,
          first: source.from,
          last: source.to,
          start: target.from,
          targets: target.to - target.from,
        },
        {
          updates: [UPDATES, "read", "f32", window(source)],
          starts: [STARTS, "read", "u32"],
          order: [ORDER, "read", "u32"],
          result: [RESULT, "read_write", "f32", window(target)],
        },
        (target.to - target.from) * blocks,
      ),
    ),
  );
}

type Bound = readonly [buffer: number, access: GpuBinding["access"], type: string, window?: GpuWindow];

function pass(
  code: string,
  parameters: GpuParameters,
  bound: Readonly<Record<string, Bound>>,
  groups: number,
): GpuPass {
  const list = Object.entries(bound);
  return {
    code: `${list.map(([name, [, access, type]], k) => declare(k, name, access, type)).join("")}${declareParameters(list.length, parameters)}${code}`,
    parameters,
    buffers: list.map(([, [buffer, access, , window]]): GpuBinding => ({ buffer, access, ...(window && { window }) })),
    groups,
  };
}

const zeroCode = entryPoint(
  THREADS,
  `let at = i32(group * ${THREADS}u + thread);
if (at < p.tiles * p.size) { counts[at] = 0u; }`,
);

const countCode = entryPoint(
  THREADS,
  `let row = i32(group * ${THREADS}u + thread);
if (row < p.rows) { atomicAdd(&counts[row / p.tile * p.size + ${INDEX}], 1u); }`,
);

/** Sums in shared memory of what is in `part` before each thread: after it, \`part[thread]\` includes the thread's own. */
const scanned = `part[thread] = own;
workgroupBarrier();
for (var distance = 1u; distance < ${THREADS}u; distance *= 2u) {
  var before = 0u;
  if (thread >= distance) { before = part[thread - distance]; }
  workgroupBarrier();
  part[thread] += before;
  workgroupBarrier();
}`;
const shared = (name: string, type: string): string => `var<workgroup> ${name}: array<${type}, ${THREADS}>;\n`;

const alongCode = `${shared("part", "u32")}${entryPoint(
  THREADS,
  `let index = i32(group * ${THREADS}u + thread);
var own = 0u;
if (index < p.size) {
  for (var tile = 0; tile < p.tiles; tile++) {
    let at = tile * p.size + index;
    let count = counts[at];
    counts[at] = own;
    own += count;
  }
  starts[index] = own;
}
${scanned}
if (thread == ${THREADS - 1}u) { sums[group] = part[thread]; }`,
)}`;

const startsCode = `${shared("part", "u32")}${shared("earlier", "u32")}${entryPoint(
  THREADS,
  `var sum = 0u;
for (var block = thread; block < group; block += ${THREADS}u) { sum += sums[block]; }
earlier[thread] = sum;
let index = i32(group * ${THREADS}u + thread);
var own = 0u;
if (index < p.size) { own = starts[index]; }
${scanned}
for (var distance = ${THREADS / 2}u; distance > 0u; distance /= 2u) {
  if (thread < distance) { earlier[thread] += earlier[thread + distance]; }
  workgroupBarrier();
}
if (index < p.size) { starts[index] = earlier[0] + part[thread] - own; }`,
)}`;

const placeCode = `${shared("seen", "i32")}${entryPoint(
  THREADS,
  `let row = i32(group * ${THREADS}u + thread);
let tile = i32(group) * ${THREADS} / p.tile;
var own = -1;
if (row < p.rows) { own = ${INDEX}; }
var rank = 0u;
for (var start = tile * p.tile; start <= i32(group) * ${THREADS}; start += ${THREADS}) {
  var other = -2;
  if (start + i32(thread) < p.rows) { other = clamp(indices[start + i32(thread)], 0, p.size - 1); }
  seen[thread] = other;
  workgroupBarrier();
  let before = min(${THREADS}, row - start);
  for (var k = 0; k < before; k++) { rank += select(0u, 1u, seen[k] == own); }
  workgroupBarrier();
}
if (row < p.rows) { order[starts[own] + counts[tile * p.size + own] + rank] = u32(row); }`,
)}`;

/** @param more Whether sums of earlier rows are in the result already. */
const addCode = (threads: number, more: boolean): string =>
  entryPoint(
    threads,
    `let place = i32(group) / p.blocks;
let column = i32(group) % p.blocks * ${threads} + i32(thread);
if ((place >= p.targets) | (column >= p.inner)) { return; }
let index = p.start + place;
var end = u32(p.rows);
if (index + 1 < p.size) { end = starts[index + 1]; }
var at = starts[index];
let out = place * p.inner + column;
var sum = ${more ? "result[out]" : "0.0"};
for (; at + 4u <= end; at += 4u) {
  let a = value(order[at], column);
  let b = value(order[at + 1u], column);
  let c = value(order[at + 2u], column);
  let d = value(order[at + 3u], column);
  sum = (((sum + a) + b) + c) + d;
}
for (; at < end; at++) { sum += value(order[at], column); }
result[out] = sum;`,
  ) +
  `fn value(row: u32, column: i32) -> f32 {
  let at = i32(row);
  return select(0.0, updates[(at - p.first) * p.inner + column], (at >= p.first) & (at < p.last));
}
`;
