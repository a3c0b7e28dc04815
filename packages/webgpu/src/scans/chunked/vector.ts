/**
 * What is different where every key has a decay of its own: decays between steps are vectors, and they stand inside the products
 * of keys. Blocks of four steps make one of three factors each, none of them above what the recurrence itself has: from a block's
 * beginning to a step, from a step to its block's end, and over the blocks between. Pairs within a block are taken one by one.
 */
import type { Operand } from "@seqmix/tensor/backend";
import { entryPoint, type GpuPass } from "@seqmix/tensor/wgsl";
import {
  baseText,
  declarations,
  passOf,
  readState,
  readVector,
  stateFunctions,
  stateType,
  strideOf,
  vectorsOf,
  type Bound,
  type Chunks,
  type Place,
} from "./layout.js";
import { magnitudeAt } from "./magnitudes.js";

const THREADS = 64;
/** Four of anything: steps or keys of a block. */
export const FOUR = [0, 1, 2, 3] as const;
export const ONES = "vec4<f32>(1.0)";
export const NONE = "vec4<f32>()";

export const vectors = (place: Place): Pick<Bound, "buffer" | "type"> => ({
  buffer: place.buffer,
  type: vectorsOf(place),
});

/** A text that reads a chunk's own row of an operand. */
export function rowText(chunks: Chunks, operand: Operand, name: string): (step: string, column: string) => string {
  const place = chunks.operands.get(operand)!;
  return (step, column) =>
    readVector(place, `${name}[${baseText(chunks, place, 4)} + (${step}) * ${strideOf(chunks, place, 4)} + ${column}]`);
}

/** Threads of a row of states. */
const SHARE = 8;

/** [heads, chunks, keys]: adjoint behind a chunk times the states at its end, summed over values. */
export function stateRowDotsPass(
  chunks: Chunks,
  {
    states,
    adjoints,
    final,
    to,
    first,
  }: {
    readonly states: number;
    readonly adjoints: number;
    /** The last states, if their cotangent is not 0. */
    readonly final: number | undefined;
    /** They lie in the buffer from `first` on. */
    readonly to: number;
    readonly first: number;
  },
): GpuPass {
  const { count, H, K, V4 } = chunks;
  const total = H * count * K;
  const bound: Bound[] = [
    { name: "states", buffer: states, type: stateType(chunks) },
    { name: "adjoints", buffer: adjoints, type: stateType(chunks) },
    ...(chunks.halfStates ? [{ name: "magnitudes", buffer: chunks.magnitudes!, type: "f32" } as const] : []),
    ...(final === undefined ? [] : [{ name: "last", buffer: final, type: "vec4<f32>" } as const]),
    { name: "dots", buffer: to, type: "f32", access: "read_write" },
  ];
  const rows = THREADS / SHARE;
  const body = `if (i32(group) * ${rows} >= ${total}) { return; }
let lane = i32(thread);
let at = min(i32(group) * ${rows} + lane / ${SHARE}, ${total - 1});
let c = at / ${K} % ${count};
var sum = vec4<f32>();
if (c == ${count - 1}) {
${
  final === undefined
    ? ""
    : `  let end = ((at / ${K * count}${chunks.slices > 1 ? " + p.firstHead" : ""}) * ${K} + at % ${K}) * ${V4};
  for (var e = lane % ${SHARE}; e < ${V4}; e += ${SHARE}) { sum += adjoints[at * ${V4} + e] * last[end + e]; }`
}
} else {
  for (var e = lane % ${SHARE}; e < ${V4}; e += ${SHARE}) { sum += ${readState(chunks, `adjoints[at * ${V4} + e]`)} * ${readState(chunks, `states[(at + ${K}) * ${V4} + e]`)}; }
${chunks.halfStates ? `  sum = sum * inversePower(${magnitudeAt(chunks, "adjoint", "before", "0", `at / ${K}`)}) * inversePower(${magnitudeAt(chunks, "current", "before", "0", `(at / ${K} + 1)`)});\n` : ""}}
partial[lane] = dot(sum, ${ONES});
workgroupBarrier();
if (lane % ${SHARE} == 0) {
  var total = 0.0;
  for (var k = 0; k < ${SHARE}; k++) { total += partial[lane + k]; }
  if (i32(group) * ${rows} + lane / ${SHARE} < ${total}) { dots[${first} + at] = total; }
}`;
  return passOf(
    chunks,
    bound,
    Math.ceil(total / rows),
    `${declarations(bound)}${stateFunctions(chunks)}var<workgroup> partial: array<f32, ${THREADS}>;\n${entryPoint(THREADS, body)}`,
  );
}
