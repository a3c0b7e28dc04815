/**
 * The gradient of the decay. With D_t the derivative by the logarithm of a_t,
 *
 *     D_t = sum over s >= t of the chunk (y_s . dy_s - v_s . dv_s) + <adjoint behind the chunk, states at its end>,
 *
 * where pairs of a step with itself are left out on both sides, and nothing comes from beyond a step whose decay is 0. Where
 * products are of rounded numbers, what v . dv has of the adjoint states is summed from the other end, beside states before the chunk:
 *
 *     D_t = sum over s >= t (y_s . dy_s - v_s . dv_s within the chunk) + sum over s < t (v_s . dv_s of the adjoint states)
 *           + <adjoint behind the chunk, states before it> times the chunk's decay.
 */
import { entryPoint, type GpuPass } from "@seqmix/tensor/wgsl";
import {
  distinct,
  baseText,
  declarations,
  passOf,
  readState,
  splitHeads,
  stateFunctions,
  stateType,
  strideOf,
  tableAt,
  type Bound,
  type Chunks,
  type Place,
} from "./layout.js";

import { magnitudeAt } from "./magnitudes.js";

const DOT_THREADS = 64;

/** [heads, chunks]: adjoint behind a chunk times the states at its end; with a table, times those before it and its decay. */
export function stateDotsPass(
  chunks: Chunks,
  {
    states,
    adjoints,
    final,
    table,
    to,
  }: {
    readonly states: number;
    readonly adjoints: number;
    /** The last states, if their cotangent is not 0. */
    readonly final: number | undefined;
    readonly table: number | undefined;
    readonly to: number;
  },
): GpuPass {
  const { count, H, K, V4, Q } = chunks;
  const each = K * V4;
  const bound: Bound[] = [
    { name: "states", buffer: states, type: stateType(chunks) },
    { name: "adjoints", buffer: adjoints, type: stateType(chunks) },
    ...(chunks.halfStates ? [{ name: "magnitudes", buffer: chunks.magnitudes!, type: "f32" } as const] : []),
    ...(table === undefined
      ? final === undefined
        ? []
        : [{ name: "last", buffer: final, type: "vec4<f32>" } as const]
      : [{ name: "table", buffer: table, type: "f32" } as const]),
    { name: "dots", buffer: to, type: "f32", access: "read_write" },
  ];
  const atEnd = `if (at % ${count} == ${count - 1}) {
  ${final === undefined ? "" : `for (var e = lane; e < ${each}; e += ${DOT_THREADS}) { sum += adjoints[at * ${each} + e] * last[(at / ${count}${chunks.slices > 1 ? " + p.firstHead" : ""}) * ${each} + e]; }`}
} else {
  for (var e = lane; e < ${each}; e += ${DOT_THREADS}) { sum += adjoints[at * ${each} + e] * states[(at + 1) * ${each} + e]; }
}`;
  const before = `for (var e = lane; e < ${each}; e += ${DOT_THREADS}) { sum += ${readState(chunks, `adjoints[at * ${each} + e]`)} * ${readState(chunks, `states[at * ${each} + e]`)}; }
${
  chunks.halfStates
    ? `sum = sum * inversePower(${magnitudeAt(chunks, "current", "before", "0", "at")}) * inversePower(${magnitudeAt(chunks, "adjoint", "before", "0", "at")});\n`
    : ""
}let whole = table[${tableAt(chunks, `at % ${count}`, 1, `(at / ${count})`)} + ${chunks.table.before + Q - 1}];
sum = select(vec4<f32>(), sum * whole, whole != 0.0);`;
  const body = `let at = i32(group);
if (at >= ${H * count}) { return; }
let lane = i32(thread);
var sum = vec4<f32>();
${table === undefined ? atEnd : before}
partial[lane] = dot(sum, vec4<f32>(1.0));
workgroupBarrier();
for (var n = ${DOT_THREADS / 2}; n > 0; n /= 2) {
  if (lane < n) { partial[lane] += partial[lane + n]; }
  workgroupBarrier();
}
if (lane == 0) { dots[at] = partial[0]; }`;
  return passOf(
    chunks,
    bound,
    H * count,
    `${declarations(bound)}${stateFunctions(chunks)}var<workgroup> partial: array<f32, ${DOT_THREADS}>;\n${entryPoint(DOT_THREADS, body)}`,
  );
}

const SUM_THREADS = 32;

/** A buffer of sums [heads, tiles, steps], of which all tiles' are added. */
interface StepSums {
  readonly buffer: number;
  readonly tiles: number;
}

export function decayGradientPass(
  chunks: Chunks,
  {
    forward,
    backward,
    ofStates,
    states,
    to,
  }: {
    /** y . dy, the sum of all, and v . dv. */
    readonly forward: readonly StepSums[];
    readonly backward: StepSums;
    /** Sums of products with the adjoint states, if they are not among those of `backward`. */
    readonly ofStates: (StepSums & { readonly from: number }) | undefined;
    readonly states: number;
    readonly to: Place;
  },
): GpuPass {
  const { parts, operands, count, H, L, Q } = chunks;
  const decay = operands.get(parts.decay)!;
  const { list: bound, nameOf } = distinct([
    ...forward.map(({ buffer }, k) => ({ name: `forward${k}`, buffer, type: "f32" }) as const),
    { name: "backward", buffer: backward.buffer, type: "f32" },
    ...(ofStates ? [{ name: "ofBehind", buffer: ofStates.buffer, type: "f32" } as const] : []),
    { name: "states", buffer: states, type: "f32" },
    { name: "decay", buffer: decay.buffer, type: "f32" },
    { name: "found", buffer: to.buffer, type: "f32", access: "read_write" },
  ]);
  const rows = ({ buffer, tiles }: StepSums, from = 0): string =>
    Array.from({ length: tiles }, (_, k) => `${nameOf(buffer)}[${from} + (h * ${tiles} + ${k}) * ${L} + t]`).join(
      " + ",
    );
  const body = `let at = i32(group);
if (at >= ${H * count}) { return; }
let lane = i32(thread);
let h = at / ${count};
let c = at % ${count};
${splitHeads(chunks, "h", parts.form.heads)}
let t0 = c * ${Q};
for (var f = lane; f < min(${Q}, ${L} - t0); f += ${SUM_THREADS}) {
  let t = t0 + f;
  differences[f] = (${forward.map((each) => rows(each)).join(" + ")}) - (${rows(backward)});
${ofStates ? `  ofStates[f] = ${rows(ofStates, ofStates.from)};\n` : ""}  owns[f] = decay[${baseText(chunks, decay, 1)} + t * ${strideOf(chunks, decay, 1)}];
}
workgroupBarrier();
if (lane == 0) {
  var sum = ${ofStates ? "0.0" : "states[at]"};
  for (var f = min(${Q}, ${L} - t0) - 1; f >= 0; f--) {
    sum = select(sum + differences[f], 0.0, owns[f] == 0.0);
    differences[f] = sum;
  }
${
  ofStates
    ? `  var before = states[at];
  for (var f = 0; f < min(${Q}, ${L} - t0); f++) {
    differences[f] += before;
    before += ofStates[f];
  }
`
    : ""
}}
workgroupBarrier();
for (var f = lane; f < min(${Q}, ${L} - t0); f += ${SUM_THREADS}) {
  found[${baseText(chunks, to, 1)} + (t0 + f) * ${strideOf(chunks, to, 1)}] = select(differences[f] / owns[f], 0.0, owns[f] == 0.0);
}`;
  return passOf(
    chunks,
    bound,
    H * count,
    `${declarations(bound)}var<workgroup> differences: array<f32, ${Q}>;
var<workgroup> owns: array<f32, ${Q}>;
${ofStates ? `var<workgroup> ofStates: array<f32, ${Q}>;\n` : ""}${entryPoint(SUM_THREADS, body)}`,
  );
}
