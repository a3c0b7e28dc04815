/** Operands for matrix units: rows of f32 (or f16) as f16, one number or two, with one exponent for every 64 rows. */
import { declare, declareParameters, entryPoint, type GpuBinding, type GpuPass } from "@seqmix/tensor/wgsl";
import { VECTOR, type Terms } from "./matrix-layout.js";
import { CHUNK, PACKING } from "./text.js";

const THREADS = 256;

/** Sizes as bits; an infinity or NaN is what it is with any exponent, and must not spoil its neighbours'. */
const FINITE = `fn finite(x: vec4<f32>) -> vec4<u32> {
  let bits = bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu);
  return select(bits, vec4<u32>(), bits >= vec4<u32>(0x7f800000u));
}
`;

/** What is narrowed: [count, rows, width] of f32 or f16 to [count, rows, stored width], the low parts behind the high ones. */
export interface Narrowing {
  readonly count: number;
  readonly rows: number;
  readonly width: number;
  readonly stored: number;
  readonly terms: Terms;
  readonly half: boolean;
}

/** @param buffers The source, f16 numbers, exponents. */
export function narrowPass(
  { count, rows, width, stored, terms, half }: Narrowing,
  buffers: readonly [number, number, number],
): GpuPass {
  const vectors = width % VECTOR === 0;
  const parameters = { count, rows, chunks: Math.ceil(rows / CHUNK) };
  const across = stored / VECTOR;
  const each = (CHUNK * across) / THREADS;
  const read = (element: string): string => (half ? `vec4<f32>(${element})` : element);
  const single = (n: number): string =>
    `select(0.0, f32(x[min(start + r * ${width} + c * ${VECTOR} + ${n}, last)]), c * ${VECTOR} + ${n} < ${width})`;
  const load = vectors
    ? `let beyond = ${stored > width ? `c * ${VECTOR} >= ${width}` : "false"};
    let from_ = (start + r * ${width}) / 4 + select(2 * c, 0, beyond);
    let lo = select(${read("x[from_]")}, vec4<f32>(), beyond);
    let hi = select(${read("x[from_ + 1]")}, vec4<f32>(), beyond);`
    : `let last = p.count * p.rows * ${width} - 1;
    let lo = vec4<f32>(${[0, 1, 2, 3].map(single).join(", ")});
    let hi = vec4<f32>(${[4, 5, 6, 7].map(single).join(", ")});`;
  const body = `let chunk = i32(group) % p.chunks;
let n = i32(group) / p.chunks;
if (n >= p.count) { return; }
let lane = i32(thread);
let first = chunk * ${CHUNK};
let start = (n * p.rows + first) * ${width};
var low: array<vec4<f32>, ${Math.ceil(each)}>;
var high: array<vec4<f32>, ${Math.ceil(each)}>;
var most = 0u;
for (var k = 0; k < ${Math.ceil(each)}; k++) {
  let e = lane + k * ${THREADS};
  let r = e / ${across};
  let c = e % ${across};
  if ((first + r < p.rows) & (r < ${CHUNK})) {
    ${load}
    low[k] = lo;
    high[k] = hi;
    let m = max(finite(lo), finite(hi));
    most = max(most, max(max(m.x, m.y), max(m.z, m.w)));
  }
}
largest[lane] = most;
workgroupBarrier();
for (var step = ${THREADS / 2}; step > 0; step /= 2) {
  if (lane < step) { largest[lane] = max(largest[lane], largest[lane + step]); }
  workgroupBarrier();
}
let exponent = clamp(139 - i32(largest[0] >> 23u), -60, 60);
let power = bitcast<f32>((127 + exponent) << 23u);
if (lane == 0) { exponents[n * p.chunks + chunk] = f32(exponent); }
for (var k = 0; k < ${Math.ceil(each)}; k++) {
  let e = lane + k * ${THREADS};
  let r = e / ${across};
  let c = e % ${across};
  if ((first + r < p.rows) & (r < ${CHUNK})) {
    let at = (n * p.rows + first + r) * ${across} + c;
    let x = low[k] * power;
    let y = high[k] * power;
${
  terms === 1
    ? "    y16[at] = pack8(x, y);"
    : `    let u = highPart(x);
    let v = highPart(y);
    y16[at] = pack8(u, v);
    y16[at + p.count * p.rows * ${across}] = pack8(x - u, y - v);`
}
  }
}`;
  const type = vectors ? (half ? "vec4<f16>" : "vec4<f32>") : half ? "f16" : "f32";
  const bindings: GpuBinding[] = [
    { buffer: buffers[0], access: "read" },
    { buffer: buffers[1], access: "read_write" },
    { buffer: buffers[2], access: "read_write" },
  ];
  return {
    code: `${declare(0, "x", "read", type)}${declare(1, "y16", "read_write", "vec4<u32>")}${declare(2, "exponents", "read_write", "f32")}${declareParameters(3, parameters)}var<workgroup> largest: array<u32, ${THREADS}>;\n${PACKING}${FINITE}${entryPoint(THREADS, body)}`,
    buffers: bindings,
    parameters,
    groups: count * parameters.chunks,
  };
}
