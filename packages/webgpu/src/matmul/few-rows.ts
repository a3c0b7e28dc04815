/**
 * Products with few rows, as of a decoding step: B, the weights, is read once at the speed of memory, and nothing is shared
 * but the sums. Where B lies along k, 32 threads share a column and step through k together; where it lies along the
 * columns, a thread has four of them and the groups of 32 threads share k. Groups meet in workgroup memory.
 */
import { product, type Epilogue, type MatmulSpec } from "@seqmix/tensor/backend";
import {
  bytesOf,
  declare,
  declareParameters,
  entryPoint,
  indent,
  type GpuLimits,
  type GpuPass,
  type GpuProgram,
  type GpuParameters,
} from "@seqmix/tensor/wgsl";
import { epilogueCode, epilogueLength, FEW_ROWS, partsOf, storedAs, sumOfParts } from "./program.js";
import { batchStart, finishFunction, type EpilogueCode } from "./text.js";

const LANES = 32,
  GROUPS = 4,
  THREADS = LANES * GROUPS;
/** Neighbouring columns, where they are few, are left to so few threads that there are many workgroups; the others share k. */
const FEWEST_LANES = 1,
  MANY_BLOCKS = 128;
/** Workgroups that keep a large GPU busy, and steps along k below which dividing it is not worth another dispatch, which takes the host longer than they take the GPU. */
const BUSY = 528,
  SHORTEST_PART = 1024;
/** Steps along k at most that a part sums one after another. */
const LONGEST_PART = 8192;

/** How B is read: along k, or along the columns; several elements at once or one. */
interface Form {
  readonly alongDepth: boolean;
  readonly unit: 4 | 1;
  readonly half: boolean;
  /** Threads side by side that go through k together, or have neighbouring columns. */
  readonly lanes: number;
}

/**
 * Its buffers: both operands, the epilogue's inputs, the result.
 * @returns undefined for more rows, or operands with no neighbours in memory.
 */
export function fewRowsProgram(spec: MatmulSpec, limits: GpuLimits, epilogue?: Epilogue): GpuProgram | undefined {
  const { batch, m, n, k } = spec;
  const batches = product(batch);
  const form = formOf(spec);
  const extra = epilogue?.inputs.map((_, q) => 2 + q) ?? [];
  if (!form || m > FEW_ROWS || batches * m * n * k === 0 || extra.length + 3 > limits.buffers) return undefined;
  if (THREADS > limits.threads || 4 * sumsOf(m, form) > limits.workgroupBytes) return undefined;
  const blocks = Math.ceil(n / columnsOf(form));
  const step = form.alongDepth ? 4 * LANES : THREADS / form.lanes;
  const shortest = form.alongDepth ? 2 * SHORTEST_PART : SHORTEST_PART;
  const busy = Math.min(Math.floor(k / shortest), Math.ceil(BUSY / (blocks * batches)));
  const wanted = Math.max(busy, Math.ceil(k / LONGEST_PART));
  const slice = wanted < 2 ? k : Math.ceil(k / wanted / step) * step;
  const parts = Math.ceil(k / slice);
  const parameters: GpuParameters = {
    m,
    n,
    k,
    slice,
    parts,
    batches,
    blocks,
    ...strides("a", spec, { ...form, unit: form.alongDepth ? form.unit : 1 }),
    ...strides("b", spec, form),
    ...Object.fromEntries(batch.map((extent, axis) => [`batch${axis}`, extent])),
  };
  const own = epilogue && parts === 1 ? epilogueCode(epilogue) : undefined;
  const result = 2 + extra.length;
  const pass: GpuPass = {
    code: text(spec, form, parameters, own, parts === 1 ? storedAs(epilogue) : "f32"),
    buffers: [
      { buffer: 0, access: "read" },
      { buffer: 1, access: "read" },
      { buffer: parts > 1 ? result + 1 : result, access: "read_write" },
      ...(own ? extra.map((buffer) => ({ buffer, access: "read" }) as const) : []),
    ],
    parameters,
    groups: batches * blocks * parts,
  };
  const name = `matmul ${batches > 1 ? `${batches} x ` : ""}${m}x${n}x${k}, few rows${epilogue ? `, then ${epilogueLength(epilogue)}` : ""}`;
  if (parts === 1) return { name, passes: [pass], scratch: [] };
  const size = batches * m * n;
  return {
    name: `${name}, k in ${parts} parts`,
    passes: [pass, sumOfParts(size, parts, epilogue, extra, result + 1, result)],
    scratch: [bytesOf(size * parts)],
    ...partsOf(parts, epilogue),
  };
}

const columnsOf = ({ alongDepth, unit, lanes }: Form): number => (alongDepth ? GROUPS : lanes * unit);

/** Threads beside each other in the columns. */
function lanesOf(columns: number, batches: number): number {
  let lanes = LANES;
  while (lanes > FEWEST_LANES && batches * Math.ceil(columns / lanes) < MANY_BLOCKS) lanes /= 2;
  return lanes;
}

/** Sums in workgroup memory. */
const sumsOf = (m: number, { alongDepth, unit }: Form): number => m * THREADS * (alongDepth ? 1 : unit);

function formOf({ operands, batch, m, n, k, a, b }: MatmulSpec): Form | undefined {
  const half = operands === "f16";
  const inner = k === 1 ? 1 : b.row;
  const line = n === 1 ? 1 : b.column;
  const aligned = (...values: readonly number[]): boolean => values.every((value) => value % 4 === 0);
  const whole = aligned(b.offset ?? 0, ...b.batch.filter((_, axis) => batch[axis]! > 1));
  if (inner === 1) {
    const rows = m === 1 ? 0 : a.row;
    const four = whole && aligned(line, k, a.offset ?? 0, rows, ...a.batch) && a.column === 1;
    return { alongDepth: true, unit: four ? 4 : 1, half, lanes: LANES };
  }
  if (line !== 1) return undefined;
  const unit = whole && aligned(inner, n) ? 4 : 1;
  return { alongDepth: false, unit, half, lanes: lanesOf(n / unit, product(batch)) };
}

/** Offset and strides of an operand, counted in what is read at once. */
function strides(name: "a" | "b", spec: MatmulSpec, { alongDepth, unit }: Form): GpuParameters {
  const operand = spec[name];
  const [line, inner] = name === "a" ? [operand.row, operand.column] : [operand.column, operand.row];
  return {
    [`${name}Offset`]: (operand.offset ?? 0) / unit,
    // What is read at once lies along one of the two, whose stride is then one.
    [`${name}Line`]: !alongDepth && unit > 1 ? 1 : line / unit,
    [`${name}Inner`]: alongDepth && unit > 1 ? 1 : inner / unit,
    ...Object.fromEntries(operand.batch.map((stride, axis) => [`${name}Batch${axis}`, stride / unit])),
  };
}

function text(
  { batch, m }: MatmulSpec,
  form: Form,
  parameters: GpuParameters,
  epilogue: EpilogueCode | undefined,
  result: "f32" | "f16",
): string {
  const { alongDepth, unit, half, lanes } = form;
  const groups = THREADS / lanes;
  const vector = (count: number): string => (count === 1 ? "f32" : `vec${count}<f32>`);
  const memory = (count: number): string => (half ? (count === 1 ? "f16" : `vec${count}<f16>`) : vector(count));
  const read = (buffer: string, index: string, count: number): string =>
    half ? `${vector(count)}(${buffer}[${index}])` : `${buffer}[${index}]`;
  const aUnit = alongDepth ? unit : 1;
  const rows = Array.from({ length: m }, (_, i) => i);
  const steps = rows.map((i) => {
    const x = read("a", `aAt + ${i} * p.aLine`, aUnit);
    return `s${i} = fma(${alongDepth || unit === 1 ? x : `vec4<f32>(${x})`}, w, s${i});`;
  });
  const [first, stride] = alongDepth ? [`part * p.slice / ${unit} + lane`, LANES] : ["part * p.slice + own", groups];
  const last = `min(p.k, (part + 1) * p.slice)${alongDepth ? ` / ${unit}` : ""}`;
  const column = alongDepth ? `block * ${GROUPS} + own` : `block * ${lanes} + lane`;
  const columns = alongDepth || unit === 1 ? "p.n" : "p.n / 4";
  const body = `let at = i32(group);
let part = at / (p.blocks * p.batches);
if (part >= p.parts) { return; }
let batch = at / p.blocks % p.batches;
let block = at % p.blocks;
let own = i32(thread) / ${lanes};
let lane = i32(thread) % ${lanes};
// A column beyond the result is computed as the last one, and not stored.
let column = min(${column}, ${columns} - 1);
var aAt = ${batchStart("a", batch.length)} + (${first}) * p.aInner;
var bAt = ${batchStart("b", batch.length)} + column * p.bLine + (${first}) * p.bInner;
${rows.map((i) => `var s${i} = ${vector(unit)}(0);`).join("\n")}
for (var k = ${first}; k < ${last}; k += ${stride}) {
  let w = ${read("b", "bAt", unit)};
${indent(steps.join("\n"))}
  aAt += ${stride} * p.aInner;
  bAt += ${stride} * p.bInner;
}
${rows.map((i) => `sums[${i * THREADS} + i32(thread)] = ${alongDepth && unit === 4 ? `dot(s${i}, vec4<f32>(1))` : `s${i}`};`).join("\n")}
workgroupBarrier();
let start = (part * p.batches + batch) * p.m * p.n;
${alongDepth ? storeColumns(m) : storeVectors(m, form)}`;
  return `${declare(0, "a", "read", memory(aUnit))}${declare(1, "b", "read", memory(unit))}${declare(2, "c", "read_write", result)}${epilogue?.declarations ?? ""}${declareParameters(3 + (epilogue?.buffers ?? 0), parameters)}var<workgroup> sums: array<${alongDepth ? "f32" : vector(unit)}, ${m * THREADS}>;
${epilogue ? finishFunction(epilogue) : ""}${storeFunction(epilogue !== undefined, result)}${entryPoint(THREADS, body)}`;
}

/** A thread sums what 32 have of one row and column. */
const storeColumns = (m: number): string => `if (i32(thread) < ${m * GROUPS}) {
  let row = i32(thread) / ${GROUPS};
  let q = i32(thread) % ${GROUPS};
  var sum = 0f;
  for (var e = 0; e < ${LANES}; e++) { sum += sums[row * ${THREADS} + q * ${LANES} + e]; }
  store(start, row, block * ${GROUPS} + q, sum);
}`;

/** Threads that share the groups' sums of one row and column, at most. */
const SHARING = 16;

/**
 * A thread sums what the groups have of its columns, for one row in as many as there are groups. Of many groups, first
 * threads sum a part each.
 */
function storeVectors(m: number, { unit, lanes }: Form): string {
  const groups = THREADS / lanes;
  const shares = Math.max(1, Math.min(SHARING, groups / 4, THREADS / (FEW_ROWS * lanes)));
  const place = (row: string, group: string): string => `${row} * ${THREADS} + (${group}) * ${lanes} + lane`;
  const shared = `let share = own % ${shares};
for (var row = own / ${shares}; row < ${m}; row += ${groups / shares}) {
  var sum = sums[${place("row", "share")}];
  for (var e = share + ${shares}; e < ${groups}; e += ${shares}) { sum += sums[${place("row", "e")}]; }
  sums[${place("row", "share")}] = sum;
}
workgroupBarrier();
`;
  return `${shares > 1 ? shared : ""}for (var row = own; row < ${m}; row += ${groups}) {
  var sum = sums[${place("row", "0")}];
  for (var e = 1; e < ${shares > 1 ? shares : groups}; e++) { sum += sums[${place("row", "e")}]; }
${indent(
  Array.from(
    { length: unit },
    (_, e) => `store(start, row, (block * ${lanes} + lane) * ${unit} + ${e}, ${unit === 1 ? "sum" : `sum[${e}]`});`,
  ).join("\n"),
)}
}`;
}

const storeFunction = (finished: boolean, result: "f32" | "f16"): string => {
  const value = finished ? "finish(at, value)" : "value";
  return `fn store(start: i32, row: i32, column: i32, value: f32) {
  if (column < p.n) {
    let at = start + row * p.n + column;
    c[at] = ${result === "f16" ? `f16(${value})` : value};
  }
}
`;
};
