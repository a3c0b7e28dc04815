/** Sums over poles on the WebGPU device: a thread sums for a few points forward, and for one pole backward. */
import type { GpuVariant, KernelCase, KernelTable } from "@seqmix/tensor";
import {
  bytesOf,
  declare,
  declareParameters,
  entryPoint,
  type GpuBinding,
  type GpuLimits,
  type GpuPass,
  type GpuProgram,
} from "@seqmix/tensor/wgsl";

type Case = KernelCase<{ readonly length: number }>;

/** Sums that share the denominators of a thread. */
const SUMS = 4;
/** Invocations of a workgroup, and points of each forward. */
const THREADS = 128;
const POINTS = 4;
/** Poles (forward) or points (backward) that wait in workgroup memory. */
const TILE = 64;
/** Workgroups that fill a large GPU, and the least points that one of them is worth starting for. */
const FULL = 1024;
const WORTH = 256;

interface Sizes {
  readonly K: number;
  readonly H: number;
  readonly N: number;
  readonly F: number;
  /** Sums of a thread, and blocks of so many. */
  readonly own: number;
  readonly blocks: number;
}

function sizesOf({ dims }: Case): Sizes {
  const { K, H, N, F } = dims as Record<"K" | "H" | "N" | "F", number>;
  const own = Math.min(K, SUMS);
  return { K, H, N, F, own, blocks: Math.ceil(K / own) };
}

const range = (count: number): number[] => Array.from({ length: count }, (_, k) => k);
const lines = (of: readonly number[], text: (k: number) => string): string => of.map(text).join("\n");

/** Of a point: the parts of 1 / (R^2 d - 4 S^2 - 2 i S R s) as `X` and `Y`, from `a` = (R^2, 4 S^2, 2 S R). */
const reciprocal = (a: string, s: string, d: string): string => `let x = fma(${a}.x, ${d}, -${a}.y);
let y = ${a}.z * ${s};
let inverse = 1.0 / fma(x, x, y * y);
let X = x * inverse;
let Y = y * inverse;`;

function pass(
  bound: readonly (readonly [name: string, buffer: number, type: string, access?: "read_write"])[],
  parameters: Readonly<Record<string, number>>,
  { threads, groups, memory, body }: { threads: number; groups: number; memory: string; body: string },
): GpuPass {
  return {
    code: `${bound.map(([name, , type, access], k) => declare(k, name, access ?? "read", type)).join("")}${declareParameters(bound.length, parameters)}${memory}${entryPoint(threads, body)}`,
    buffers: bound.map(([, buffer, , access]): GpuBinding => ({ buffer, access: access ?? "read" })),
    parameters,
    groups,
  };
}

/** Buffers: p, q, s, d, points, re, im. */
function forward(kase: Case): GpuProgram {
  const { K, H, N, F, own, blocks } = sizesOf(kase);
  const stretches = Math.ceil(F / (THREADS * POINTS));
  const parameters = { K, H, N, F, stretches };
  const [points, sums] = [range(POINTS), range(own)];
  const each = (text: (v: number, k: number) => string): string => lines(points, (v) => lines(sums, (k) => text(v, k)));
  const body = `let stretch = group % u32(p.stretches);
let h = group / u32(p.stretches) % u32(p.H);
let first = group / u32(p.stretches * p.H) * ${own}u;
if (first >= u32(p.K)) { return; }
let N = u32(p.N);
${lines(
  points,
  (v) => `let f${v} = stretch * ${THREADS * POINTS}u + ${v * THREADS}u + thread;
let point${v} = points[min(f${v}, u32(p.F) - 1u)];
let a${v} = vec3f(point${v}.y * point${v}.y, 4.0 * point${v}.x * point${v}.x, 2.0 * point${v}.x * point${v}.y);`,
)}
${each((v, k) => `var x${v}_${k} = vec2f(); var y${v}_${k} = vec2f();`)}
for (var n0 = 0u; n0 < N; n0 += ${TILE}u) {
  workgroupBarrier();
  for (var i = thread; i < ${TILE * (own + 1)}u; i += ${THREADS}u) {
    let j = i % ${own + 1}u;
    let n = min(n0 + i / ${own + 1}u, N - 1u);
    let at = h * N + n;
    let source = min(first + max(j, 1u) - 1u, u32(p.K) - 1u) * u32(p.H) * N + at;
    var two = vec2f(s[at], d[at]);
    if (j > 0u) { two = vec2f(numerator[source], turned[source]); }
    poles[i / ${own + 1}u][j] = two;
  }
  workgroupBarrier();
  let count = min(${TILE}u, N - n0);
  for (var j = 0u; j < count; j++) {
    let sd = poles[j][0];
    ${lines(sums, (k) => `let v${k} = poles[j][${k + 1}];`)}
    ${lines(
      points,
      (v) => `{ ${reciprocal(`a${v}`, "sd.x", "sd.y")}
    ${lines(sums, (k) => `x${v}_${k} = fma(v${k}, vec2f(X), x${v}_${k}); y${v}_${k} = fma(v${k}, vec2f(Y), y${v}_${k});`)} }`,
    )}
  }
}
${lines(
  points,
  (v) => `if (f${v} < u32(p.F)) {
${lines(
  sums,
  (k) => `  if (first + ${k}u < u32(p.K)) {
    let at = ((first + ${k}u) * u32(p.H) + h) * u32(p.F) + f${v};
    re[at] = -point${v}.y * x${v}_${k}.y - 2.0 * point${v}.x * y${v}_${k}.x;
    im[at] = 2.0 * point${v}.x * x${v}_${k}.x - point${v}.y * y${v}_${k}.y;
  }`,
)}
}`,
)}`;
  return {
    name: `${own} sums of ${POINTS} points a thread`,
    passes: [
      pass(
        [
          ["numerator", 0, "f32"],
          ["turned", 1, "f32"],
          ["s", 2, "f32"],
          ["d", 3, "f32"],
          ["points", 4, "vec2f"],
          ["re", 5, "f32", "read_write"],
          ["im", 6, "f32", "read_write"],
        ],
        parameters,
        {
          threads: THREADS,
          groups: stretches * H * blocks,
          memory: `var<workgroup> poles: array<array<vec2f, ${own + 1}>, ${TILE}>;\n`,
          body,
        },
      ),
    ],
    scratch: [],
  };
}

/** Buffers: p, q, s, d, cotangents, points, their gradients, and sums over parts of the points. */
function backward(kase: Case, { bytes }: GpuLimits): GpuProgram {
  const sizes = sizesOf(kase);
  const { H, F, own, blocks } = sizes;
  const { poles, columns } = columnsOf(sizes);
  const allowed = Math.floor(bytes / sumsOf(sizes, 1));
  const stretches = Math.max(1, Math.min(Math.ceil(FULL / (H * blocks * columns)), Math.floor(F / WORTH), allowed));
  const layout: Layout = { ...sizes, poles, columns, stretches, parts: stretches * (THREADS / poles) };
  return {
    name: `${own} sums of a pole a thread, points in ${layout.parts} parts`,
    passes: [partsPass(kase, layout), sumsPass(kase, layout)],
    scratch: [sumsOf(sizes, stretches)],
  };
}

/** Poles of a workgroup, and workgroups for all poles of a channel. */
function columnsOf({ N }: Sizes): { readonly poles: number; readonly columns: number } {
  const poles = Math.min(THREADS, 2 ** Math.ceil(Math.log2(N)));
  return { poles, columns: Math.ceil(N / poles) };
}

/** Bytes of the sums over parts of the points where so many workgroups share them. */
const sumsOf = (sizes: Sizes, stretches: number): number =>
  bytesOf(sizes.blocks * (sizes.own + 1) * 2 * stretches * (THREADS / columnsOf(sizes).poles) * sizes.H * sizes.N);

interface Layout extends Sizes {
  /** Poles of a workgroup, and workgroups for all poles of a channel. */
  readonly poles: number;
  readonly columns: number;
  /** Workgroups that share the points, and threads that do. */
  readonly stretches: number;
  readonly parts: number;
}

/** Buffers behind the inputs: cotangents, points, then gradients of p, q, s, d and the sums. */
function numbersOf({ cotangents }: Case): {
  readonly points: number;
  readonly gradients: number;
  readonly sums: number;
} {
  const points = 4 + cotangents.size;
  return { points, gradients: points + 1, sums: points + 5 };
}

/** Sums [block, own + 1, part, H, N] of pairs: gradients of p and q by sum, then those of s and d. */
function partsPass(kase: Case, { K, H, N, F, own, blocks, poles, columns, stretches, parts }: Layout): GpuPass {
  const [hasRe, hasIm] = [kase.cotangents.has("re"), kase.cotangents.has("im")];
  const numbers = numbersOf(kase);
  const parameters = { K, H, N, F, stretches, length: Math.ceil(F / stretches), parts };
  const sums = range(own);
  const body = `let stretch = group % u32(p.stretches);
let column = group / u32(p.stretches) % ${columns}u;
let h = group / (u32(p.stretches) * ${columns}u) % u32(p.H);
let block = group / (u32(p.stretches * p.H) * ${columns}u);
if (block >= ${blocks}u) { return; }
let first = block * ${own}u;
let n = column * ${poles}u + thread % ${poles}u;
let lane = thread / ${poles}u;
let at = h * u32(p.N) + min(n, u32(p.N) - 1u);
let sd = vec2f(s[at], d[at]);
${lines(
  sums,
  (k) => `let source${k} = min(first + ${k}u, u32(p.K) - 1u) * u32(p.H * p.N) + at;
let v${k} = select(vec2f(), vec2f(numerator[source${k}], turned[source${k}]), first + ${k}u < u32(p.K));
var sum${k} = vec2f();`,
)}
var below = vec2f();
let end = min(u32(p.F), (stretch + 1u) * u32(p.length));
for (var f0 = stretch * u32(p.length); f0 < end; f0 += ${TILE}u) {
  workgroupBarrier();
  for (var i = thread; i < ${TILE * (own + 1)}u; i += ${THREADS}u) {
    let j = i % ${own + 1}u;
    let f = min(f0 + i / ${own + 1}u, u32(p.F) - 1u);
    let point = points[f];
    let source = (min(first + max(j, 1u) - 1u, u32(p.K) - 1u) * u32(p.H) + h) * u32(p.F) + f;
    let g = vec2f(${hasRe ? "re[source]" : "0.0"}, ${hasIm ? "im[source]" : "0.0"});
    let wide = vec4f(point.y * g, 2.0 * point.x * g);
    tile[i / ${own + 1}u][j] = select(vec4f(point.y * point.y, 4.0 * point.x * point.x, 2.0 * point.x * point.y, 0.0), wide, j > 0u);
  }
  workgroupBarrier();
  let count = min(${TILE}u, end - f0);
  for (var j = lane; j < count; j += ${THREADS / poles}u) {
    let a = tile[j][0];
    ${reciprocal("a", "sd.x", "sd.y")}
    var G = vec2f();
    ${lines(
      sums,
      (k) => `{ let g = tile[j][${k + 1}];
    sum${k} += vec2f(fma(g.w, X, -g.z * Y), -fma(g.x, X, g.y * Y));
    G += vec2f(fma(v${k}.x, g.w, -v${k}.y * g.x), fma(v${k}.x, g.z, v${k}.y * g.y)); }`,
    )}
    let square = vec2f(fma(X, X, -Y * Y), 2.0 * X * Y);
    below -= vec2f(a.z * fma(G.x, square.y, G.y * square.x), a.x * fma(G.x, square.x, -G.y * square.y));
  }
}
if (n < u32(p.N)) {
  let part = stretch * ${THREADS / poles}u + lane;
  let row = u32(p.H * p.N);
  let to = (block * ${own + 1}u * u32(p.parts) + part) * row + at;
  ${lines(sums, (k) => `sums[to + ${k}u * u32(p.parts) * row] = sum${k};`)}
  sums[to + ${own}u * u32(p.parts) * row] = below;
}`;
  return pass(
    [
      ["numerator", 0, "f32"],
      ["turned", 1, "f32"],
      ["s", 2, "f32"],
      ["d", 3, "f32"],
      ...(hasRe ? [["re", 4, "f32"] as const] : []),
      ...(hasIm ? [["im", hasRe ? 5 : 4, "f32"] as const] : []),
      ["points", numbers.points, "vec2f"],
      ["sums", numbers.sums, "vec2f", "read_write"],
    ],
    parameters,
    {
      threads: THREADS,
      groups: stretches * columns * H * blocks,
      memory: `var<workgroup> tile: array<array<vec4f, ${own + 1}>, ${TILE}>;\n`,
      body,
    },
  );
}

/** Adds up the parts: a thread for p and q of a sum and a pole, or for s and d of a pole. */
function sumsPass(kase: Case, { K, H, N, own, blocks, parts }: Layout): GpuPass {
  const { gradients, sums } = numbersOf(kase);
  const parameters = { K, row: H * N, parts };
  const body = `let i = group * ${THREADS}u + thread;
let row = u32(p.row);
if (i >= (u32(p.K) + 1u) * row) { return; }
let k = i / row;
let at = i % row;
let below = k == u32(p.K);
let first = select(k / ${own}u, 0u, below);
let last = select(first, ${blocks - 1}u, below);
let place = select(k % ${own}u, ${own}u, below);
var total = vec2f();
for (var block = first; block <= last; block++) {
  for (var part = 0u; part < u32(p.parts); part++) {
    total += sums[((block * ${own + 1}u + place) * u32(p.parts) + part) * row + at];
  }
}
if (below) { ds[at] = total.x; dd[at] = total.y; } else { dp[i] = total.x; dq[i] = total.y; }`;
  return pass(
    [
      ["sums", sums, "vec2f"],
      ["dp", gradients, "f32", "read_write"],
      ["dq", gradients + 1, "f32", "read_write"],
      ["ds", gradients + 2, "f32", "read_write"],
      ["dd", gradients + 3, "f32", "read_write"],
    ],
    parameters,
    { threads: THREADS, groups: Math.ceil(((K + 1) * H * N) / THREADS), memory: "", body },
  );
}

/** Sine and cosine of half the angles 2 pi k / L, in pairs. */
function tables({ options: { length }, dims }: Case): readonly KernelTable[] {
  return [
    {
      name: `half angles ${length}`,
      values: () =>
        Float32Array.from({ length: 2 * dims["F"]! }, (_, i) => {
          const k = i >> 1;
          return Math.sin((Math.PI * (i % 2 === 0 ? k : length / 2 - k)) / length);
        }),
    },
  ];
}

/** Of {@link cauchyKernel}. */
export const cauchyOnGpu: GpuVariant<{ readonly length: number }> = {
  device: "webgpu",
  name: "poles in workgroup memory",
  supports: (kase, { bytes }) => {
    const sizes = sizesOf(kase);
    const { K, H, N, F } = sizes;
    const most = Math.max(bytesOf(K * H * Math.max(F, N)), kase.cotangents.size > 0 ? sumsOf(sizes, 1) : 0);
    if (K * H * N === 0) return "expected at least one sum and one pole, got none";
    return most <= bytes ? true : `expected tensors of at most ${bytes} bytes, got ${most}`;
  },
  tables,
  forward,
  backward,
};
