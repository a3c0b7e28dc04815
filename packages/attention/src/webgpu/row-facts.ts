/**
 * What the gradients need of a query: its logSumExp to the base 2, and delta = dO . O less the cotangent of logSumExp, which
 * takes the place of the sum over keys of P dP.
 */
import { declare, declareParameters, entryPoint, type GpuBinding, type GpuPass } from "@seqmix/tensor/wgsl";

const THREADS = 256;
/** Threads of a row. */
const SHARE = 16;

/** Numbers of the pass's buffers: dO, O, logSumExp, its cotangent, the facts [rows, 2]. */
export interface RowFactsBuffers {
  readonly g: number;
  readonly y: number;
  readonly logSumExp: number;
  readonly dLogSumExp: number | undefined;
  readonly facts: number;
}

export function rowFactsPass(
  { rows, width }: { readonly rows: number; readonly width: number },
  { g, y, logSumExp, dLogSumExp, facts }: RowFactsBuffers,
): GpuPass {
  const parameters = { rows };
  const vectors = width % 4 === 0;
  const [count, type, product] = vectors
    ? [width / 4, "vec4<f32>", "dot(g[at], y[at])"]
    : [width, "f32", "g[at] * y[at]"];
  const body = `let lane = i32(thread);
let row = i32(group) * ${THREADS / SHARE} + lane / ${SHARE};
var sum = 0.0;
if (row < p.rows) {
  for (var c = lane % ${SHARE}; c < ${count}; c += ${SHARE}) {
    let at = row * ${count} + c;
    sum += ${product};
  }
}
sums[lane] = sum;
workgroupBarrier();
if ((lane % ${SHARE} == 0) & (row < p.rows)) {
  for (var e = 1; e < ${SHARE}; e++) { sum += sums[lane + e]; }
  facts[row] = vec2<f32>(logSumExp[row] * ${Math.LOG2E}, sum${dLogSumExp === undefined ? "" : " - dLogSumExp[row]"});
}`;
  const used = [
    ["g", g, type],
    ["y", y, type],
    ["logSumExp", logSumExp, "f32"],
    ...(dLogSumExp === undefined ? [] : [["dLogSumExp", dLogSumExp, "f32"] as const]),
    ["facts", facts, "vec2<f32>"],
  ] as const;
  const access = (name: string): GpuBinding["access"] => (name === "facts" ? "read_write" : "read");
  return {
    code: `${used.map(([name, , element], k) => declare(k, name, access(name), element)).join("")}${declareParameters(used.length, parameters)}var<workgroup> sums: array<f32, ${THREADS}>;\n${entryPoint(THREADS, body)}`,
    buffers: used.map(([name, buffer]) => ({ buffer, access: access(name) })),
    parameters,
    groups: Math.ceil((rows * SHARE) / THREADS),
  };
}
