/** Sums of powers on the WebGPU device: a workgroup makes the powers that it sums, a^(32 c + j) = a^(32 c) a^j. */
import type { GpuVariant, KernelCase } from "@seqmix/tensor";
import {
  bytesOf,
  declare,
  declareParameters,
  entryPoint,
  type GpuParameters,
  type GpuPass,
  type GpuProgram,
} from "@seqmix/tensor/wgsl";

type Case = KernelCase<{ readonly length: number }>;

/** Modes of a round, steps of the fine level, and multiples of that of a tile: a tile is 1,024 places. */
const SIDE = 32;
const TILE = SIDE * SIDE;
/** Invocations of a workgroup: one of 32 steps (or modes) and one of 4 parts of the tile's multiples. */
const THREADS = 128;
const OWN = 8;
/** Workgroups that fill a large GPU. */
const FULL = 1024;
/** Multiples of an angle up to this many steps are exact: 12 bits of a turn times so many fit into 32 bits. */
const LONGEST = 2 ** 18;

const STEPS_PER_TURN = 4096;
const STEP = (2 * Math.PI) / STEPS_PER_TURN;
/** {@link STEP} in two parts: products of the first with up to 12 bits are exact. */
const HIGH = Math.round(STEP * 2 ** 21) / 2 ** 21;

const range = (count: number): number[] => Array.from({ length: count }, (_, k) => k);
const lines = (count: number, text: (k: number) => string): string => range(count).map(text).join("\n");

/**
 * e^(k z) with errors of a few units, whatever the adapter's own functions are good for. Whole turns are taken off as
 * integers: the angle is a number of steps and a small rest.
 */
const POWER = `fn times(a: vec2f, b: vec2f) -> vec2f { return vec2f(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }
fn power(z: vec2f, k: u32) -> vec2f {
  let steps = floor(z.y * ${STEPS_PER_TURN / (2 * Math.PI)});
  let rest = (z.y - steps * ${HIGH}) - steps * ${STEP - HIGH};
  let within = u32(steps - ${STEPS_PER_TURN}.0 * floor(steps * ${1 / STEPS_PER_TURN}));
  let angle = f32((within * k) % ${STEPS_PER_TURN}u) * ${STEP} + rest * f32(k);
  // what is left of quarter turns, pi / 2 in three parts
  let quarters = round(angle * 0.636619772);
  let r = ((angle - quarters * 1.5703125) - quarters * 4.837512969970703125e-4) - quarters * 7.549789948768648e-8;
  let s = r * r;
  let sine = ((-1.951463e-4 * s + 8.332156e-3) * s - 0.16666655) * s * r + r;
  let cosine = (((2.4432413e-5 * s - 1.3887309e-3) * s + 4.1666646e-2) * s * s - s * 0.5) + 1.0;
  let quadrant = i32(quarters);
  let turned = select(vec2f(cosine, sine), vec2f(-sine, cosine), (quadrant & 1) != 0);
  // the size as a power of two and what is left of it
  let given = z.x * f32(k);
  let x = select(select(given, -87.5, given < -87.5), 89.0, given > 89.0);
  let n = floor(x * 1.44269504);
  let size = exp2(((x - n * 0.693359375) + n * 2.12194440e-4) * 1.44269504) * bitcast<f32>((i32(n) + 127) << 23u);
  return select(size, -size, (quadrant & 2) != 0) * turned;
}
fn decay(h: u32, n: u32) -> vec2f { let at = h * u32(p.N) + n; return vec2f(zr[at], zi[at]); }
`;

/** A workgroup takes some tiles of a row of K. Powers lie at places turned by their mode, so that threads of both meanings use different banks. */
function forward({ dims }: Case): GpuProgram {
  const { M, H, N, L } = dims as Record<"M" | "H" | "N" | "L", number>;
  const tiles = Math.ceil(L / TILE);
  const share = Math.min(tiles, Math.max(1, Math.floor((M * H * tiles) / FULL)));
  const stretches = Math.ceil(tiles / share);
  const parameters = { M, H, N, L, tiles, share, stretches };
  const body = `let row = group / u32(p.stretches);
if (row >= u32(p.M * p.H)) { return; }
let stretch = group % u32(p.stretches);
let h = row % u32(p.H);
let N = u32(p.N);
let j = thread % ${SIDE}u;
let own = thread / ${SIDE}u;
let last = min(u32(p.tiles), (stretch + 1u) * u32(p.share));
for (var tile = stretch * u32(p.share); tile < last; tile++) {
  let first = tile * ${SIDE}u;
  ${lines(OWN, (c) => `var sum${c} = 0.0;`)}
  for (var n0 = 0u; n0 < N; n0 += ${SIDE}u) {
    workgroupBarrier();
    // A thread makes a quarter of a mode's powers (here j is the mode), each of the one before it.
    let n = min(n0 + j, N - 1u);
    let a = decay(h, n);
    if ((N > ${SIDE}u) | (tile == stretch * u32(p.share))) {
      let one = power(a, 1u);
      var next = power(a, own * ${OWN}u);
      for (var k = 0u; k < ${OWN}u; k++) {
        fine[j * ${SIDE}u + ((own * ${OWN}u + k) ^ j)] = next;
        next = times(next, one);
      }
    }
    let at = row * N + n;
    let w = select(vec2f(), vec2f(Wr[at], Wi[at]), n0 + j < N);
    let stride = power(a, ${SIDE}u);
    var far = times(w, power(a, (first + own * ${OWN}u) * ${SIDE}u));
    for (var k = 0u; k < ${OWN / 2}u; k++) {
      let after = times(far, stride);
      coarse[j * ${SIDE / 2}u + ((own * ${OWN / 2}u + k) ^ (j % ${SIDE / 2}u))] = vec4f(far, after);
      far = times(after, stride);
    }
    workgroupBarrier();
    for (var n = 0u; n < min(${SIDE}u, N - n0); n++) {
      let a = fine[n * ${SIDE}u + (j ^ n)];
      ${lines(
        OWN / 2,
        (q) =>
          `{ let w = coarse[n * ${SIDE / 2}u + ((own * ${OWN / 2}u + ${q}u) ^ (n % ${SIDE / 2}u))]; sum${2 * q} = fma(w.x, a.x, fma(-w.y, a.y, sum${2 * q})); sum${2 * q + 1} = fma(w.z, a.x, fma(-w.w, a.y, sum${2 * q + 1})); }`,
      )}
    }
  }
  ${lines(OWN, (c) => `{ let l = (first + own * ${OWN}u + ${c}u) * ${SIDE}u + j; if (l < u32(p.L)) { K[row * u32(p.L) + l] = sum${c}; } }`)}
}`;
  return program(`powers of ${SIDE} modes at a time`, [...INPUTS, "K"], INPUTS.length, {
    memory: `var<workgroup> fine: array<vec2f, ${TILE}>;
var<workgroup> coarse: array<vec4f, ${TILE / 2}>;
`,
    body,
    parameters,
    groups: M * H * stretches,
  });
}

const INPUTS = ["Wr", "Wi", "zr", "zi"];

/** A program of one pass over named buffers, of which the first `read` are inputs. */
function program(
  name: string,
  names: readonly string[],
  read: number,
  {
    memory,
    body,
    ...pass
  }: Pick<GpuPass, "groups"> & {
    readonly memory: string;
    readonly body: string;
    readonly parameters: GpuParameters;
  },
): GpuProgram {
  const access = (k: number): "read" | "read_write" => (k < read ? "read" : "read_write");
  const declarations = names.map((each, k) => declare(k, each, access(k), "f32")).join("");
  const code = `${declarations}${declareParameters(names.length, pass.parameters)}${memory}${POWER}${entryPoint(THREADS, body)}`;
  return {
    name,
    passes: [{ ...pass, code, buffers: names.map((_, k) => ({ buffer: k, access: access(k) })) }],
    scratch: [],
  };
}

/** Vectors of four that the cotangents of a step take, one of them left out so that threads write to different banks. */
const ROW = SIDE / 4 + 1;

/**
 * With S = sum_l g_l e^(l z) and T = sum_l l g_l e^(l z) the gradients are conj(S) of W, and the sum over rows of conj(W T) of z.
 * A workgroup takes a channel.
 */
function backward({ dims }: Case): GpuProgram {
  const { M, H, N, L } = dims as Record<"M" | "H" | "N" | "L", number>;
  const parameters = { M, H, N, L, tiles: Math.ceil(L / TILE) };
  const body = `let h = group;
if (h >= u32(p.H)) { return; }
let N = u32(p.N);
let L = u32(p.L);
let mode = thread % ${SIDE}u;
let own = thread / ${SIDE}u;
for (var n0 = 0u; n0 < N; n0 += ${SIDE}u) {
  let n = min(n0 + mode, N - 1u);
  let a = decay(h, n);
  var dz = vec2f();
  workgroupBarrier();
  let one = power(a, 1u);
  let stride = power(a, ${SIDE}u);
  var next = power(a, own * ${OWN}u);
  for (var k = 0u; k < ${OWN}u; k++) {
    fine[(own * ${OWN}u + k) * ${SIDE}u + mode] = next;
    next = times(next, one);
  }
  for (var m = 0u; m < u32(p.M); m++) {
    let row = m * u32(p.H) + h;
    var S = vec2f();
    var T = vec2f();
    for (var tile = 0u; tile < u32(p.tiles); tile++) {
      workgroupBarrier();
      for (var i = thread; i < ${TILE}u; i += ${THREADS}u) {
        let l = tile * ${TILE}u + i;
        let c = i / ${SIDE}u;
        given[i % ${SIDE}u * ${ROW}u + c / 4u][c % 4u] = select(0.0, g[row * L + min(l, L - 1u)], l < L);
      }
      workgroupBarrier();
      ${lines(OWN, (c) => `var s${c} = vec2f(); var t${c} = vec2f();`)}
      for (var j = 0u; j < ${SIDE}u; j++) {
        let f = fine[j * ${SIDE}u + mode];
        let e = f32(j) * f;
        ${lines(
          OWN / 4,
          (q) =>
            `{ let four = given[j * ${ROW}u + own * ${OWN / 4}u + ${q}u]; ${range(4)
              .map(
                (k) =>
                  `s${4 * q + k} = fma(vec2f(four[${k}]), f, s${4 * q + k}); t${4 * q + k} = fma(vec2f(four[${k}]), e, t${4 * q + k});`,
              )
              .join(" ")} }`,
        )}
      }
      let before = (tile * ${SIDE}u + own * ${OWN}u) * ${SIDE}u;
      var far = power(a, before);
      ${lines(
        OWN,
        (c) =>
          `S += times(far, s${c}); T += times(far, fma(vec2f(f32(before + ${c * SIDE}u)), s${c}, t${c})); far = times(far, stride);`,
      )}
    }
    parts[thread] = vec4f(S, T);
    workgroupBarrier();
    if (thread < ${SIDE}u) {
      let all = parts[mode] + parts[mode + ${SIDE}u] + parts[mode + ${2 * SIDE}u] + parts[mode + ${3 * SIDE}u];
      let at = row * N + n;
      let w = times(vec2f(Wr[at], Wi[at]), all.zw);
      dz += vec2f(w.x, -w.y);
      if (n0 + mode < N) { dWr[at] = all.x; dWi[at] = -all.y; }
    }
  }
  if ((thread < ${SIDE}u) & (n0 + mode < N)) {
    dzr[h * N + n] = dz.x;
    dzi[h * N + n] = dz.y;
  }
}`;
  const names = [...INPUTS, "g", ...INPUTS.map((name) => `d${name}`)];
  return program(`${SIDE} modes at a time`, names, INPUTS.length + 1, {
    memory: `var<workgroup> fine: array<vec2f, ${TILE}>;
var<workgroup> given: array<vec4f, ${SIDE * ROW}>;
var<workgroup> parts: array<vec4f, ${THREADS}>;
`,
    body,
    parameters,
    groups: H,
  });
}

/** Buffers that the backward pass binds. */
const BACKWARD_BUFFERS = 2 * INPUTS.length + 1;

/** Of {@link powerSumsKernel}. */
export const powerSumsOnGpu: GpuVariant<{ readonly length: number }> = {
  device: "webgpu",
  name: "powers where they are summed",
  needs: `${BACKWARD_BUFFERS} buffers a pass`,
  supports: ({ dims, cotangents }, { bytes, buffers }) => {
    const { M = 0, H = 0, N = 0, L = 0 } = dims;
    if (cotangents.size > 0 && buffers < BACKWARD_BUFFERS)
      return `expected ${BACKWARD_BUFFERS} buffers a pass, got ${buffers}`;
    if (M * H * N * L === 0) return "expected at least one sum, mode and place, got none";
    if (L > LONGEST) return `expected at most ${LONGEST} places, got ${L}`;
    const most = bytesOf(M * H * Math.max(N, L));
    return most <= bytes ? true : `expected tensors of at most ${bytes} bytes, got ${most}`;
  },
  forward,
  backward,
};
